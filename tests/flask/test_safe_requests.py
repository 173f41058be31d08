"""`HOLDFAST_RETRY_SAFE_REQUESTS`: requests that are run once more, and those that may have committed something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, request, stream_with_context
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, wait_until_ended
from tests.flask.conftest import Names, Site
from tests.transactions.conftest import WRITE


def reading(site: Site) -> Callable[[], str]:
    def view() -> str:
        number = site.db.session.execute(text("SELECT 1")).scalar_one()
        site.lose_first(site.db.session)
        return f"{site.db.session.execute(text('SELECT 41')).scalar_one() + number} {request.method} {site.calls}"

    return view


@pytest.mark.parametrize("testing", [False, True], ids=["", "testing"])
def test_a_get_that_lost_its_connection_is_run_once_more(
    make_site: Callable[..., Site], driver: str, testing: bool, log: Callable[[], list[str]]
) -> None:
    site = make_site(driver, HOLDFAST_RETRY_SAFE_REQUESTS=True, TESTING=testing)
    site.app.add_url_rule("/", "read", reading(site))
    response = site.app.test_client().get("/")
    assert (response.status_code, response.text) == (200, "42 GET 2")
    assert any("GET / is run once more" in line for line in log())


def test_each_run_has_a_context_and_a_session_of_its_own(eager: Site) -> None:
    seen: list[tuple[int, Any]] = []
    ended: list[int] = []
    read = reading(eager)

    @eager.app.get("/")
    def view() -> str:
        seen.append((id(request._get_current_object()), eager.db.session()))  # type: ignore[attr-defined]
        request.environ["left"] = request.environ.get("left", 0) + 1
        return f"{read()} {request.environ['left']}"

    eager.app.teardown_request(lambda error: ended.append(1))
    assert eager.app.test_client().get("/").text == "42 GET 2 1"
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] is not seen[1][1]
    assert len(ended) == 2


def test_it_is_off_unless_it_is_switched_on(site: Site) -> None:
    site.app.add_url_rule("/", "read", reading(site))
    client = site.app.test_client()
    assert client.get("/").status_code == 500
    assert client.get("/").status_code == 200


def test_once_and_no_more(eager: Site) -> None:
    calls = []

    @eager.app.get("/")
    def view() -> str:
        calls.append(1)
        eager.calls = 0
        eager.lose_first(eager.db.session)
        eager.db.session.execute(text("SELECT 1"))
        return "never"

    assert eager.app.test_client().get("/").status_code == 500
    assert len(calls) == 2


def test_other_methods_bodies_and_errors_are_not_repeated(eager: Site, entries: Names) -> None:
    read = reading(eager)
    eager.app.add_url_rule("/", "read", read, methods=["GET", "POST", "PUT", "DELETE"])

    @eager.app.get("/wrong")
    def wrong() -> str:
        eager.calls += 1
        eager.db.session.execute(text("SELECT nonsense"))
        return "never"

    client = eager.app.test_client()
    for method, data in (("POST", None), ("PUT", None), ("DELETE", None), ("GET", "body")):
        eager.calls = 0
        assert client.open("/", method=method, data=data).status_code == 500
        assert eager.calls == 1

    eager.calls = 0
    assert client.get("/wrong").status_code == 500
    assert eager.calls == 1


@pytest.mark.parametrize("way", ["session", "core", "run"])
def test_a_request_that_has_committed_is_not_repeated(eager: Site, entries: Names, way: str) -> None:
    """Also not when it is the COMMIT itself whose outcome is not known."""
    db = eager.db

    def visit() -> None:
        db.session.execute(WRITE, {"name": "visit"})

    def commit() -> None:
        if way == "session":
            visit()
            db.session.commit()
        elif way == "core":
            with db.engine.begin() as connection:
                connection.execute(WRITE, {"name": "visit"})
        else:
            db.run(visit)

    @eager.app.get("/visit")
    def view() -> str:
        commit()
        eager.lose_first(db.session)
        db.session.execute(text("SELECT 1"))
        return "seen"

    assert eager.app.test_client().get("/visit").status_code == 500
    assert (eager.calls, entries()) == (1, ["visit"])


def test_a_lost_commit_is_not_repeated(eager: Site, proxy: Proxy, entries: Names) -> None:
    @eager.app.get("/visit")
    def visit() -> str:
        with eager.db.engine.begin() as connection:
            connection.execute(WRITE, {"name": "visit"})
        return "seen"

    proxy.cut_at("COMMIT", delivered=True)
    assert eager.app.test_client().get("/visit").status_code == 500
    assert entries() == ["visit"]


def test_a_lost_commit_of_another_engine_is_not_repeated(
    eager: Site, proxy: Proxy, entries: Names, held: EngineFactory
) -> None:
    other = held(eager.server.url("pymysql", host=proxy.host, port=proxy.port))

    @eager.app.get("/visit")
    def visit() -> str:
        with other.begin() as connection:
            connection.execute(WRITE, {"name": "visit"})
        return "seen"

    proxy.cut_at("COMMIT", delivered=True)
    assert eager.app.test_client().get("/visit").status_code == 500
    assert entries() == ["visit"]


def test_an_error_that_the_application_handles_is_its_own(eager: Site) -> None:
    eager.app.add_url_rule("/", "read", reading(eager))

    @eager.app.errorhandler(DBAPIError)
    def sorry(error: Exception) -> tuple[str, int]:
        return "sorry", 503

    response = eager.app.test_client().get("/")
    assert (response.status_code, response.text, eager.calls) == (503, "sorry", 1)


def test_an_error_page_for_500_does_not_hide_it(eager: Site) -> None:
    eager.app.add_url_rule("/", "read", reading(eager))
    eager.app.register_error_handler(500, lambda error: ("sorry", 500))
    assert eager.app.test_client().get("/").text == "42 GET 2"


def test_a_stream_that_has_begun_is_not_repeated(eager: Site) -> None:
    @eager.app.get("/")
    def stream() -> Response:
        eager.db.session.execute(text("SELECT 1"))

        def parts() -> Iterator[str]:
            yield "first "
            with eager.db.engine.connect() as connection:
                number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
                eager.server.kill_connection(number)
                wait_until_ended(connection.connection.dbapi_connection)
                connection.execute(text("SELECT 1"))

        eager.calls += 1
        return Response(stream_with_context(parts()))

    with pytest.raises(OperationalError):
        assert eager.app.test_client().get("/").data
    assert eager.calls == 1


def test_switching_it_on_too_late_is_said(server: Server, proxy: Proxy, make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.app.config["HOLDFAST_RETRY_SAFE_REQUESTS"] = True
    with site.app.app_context(), pytest.warns(RuntimeWarning, match="HOLDFAST_RETRY_SAFE_REQUESTS"):
        site.db.session.execute(text("SELECT 1"))


def writes_in_autocommit(site: Site) -> None:
    site.db.session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    site.db.session.execute(WRITE, {"name": "visited"})


def calls_a_procedure(site: Site) -> None:
    site.db.session.execute(text("CALL visited()"))


def commits_a_raw_connection(site: Site) -> None:
    connection = site.db.engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute("INSERT INTO entry (name) VALUES ('visited')")
    cursor.close()
    connection.commit()
    connection.close()


def commits_with_text(site: Site) -> None:
    site.db.session.execute(WRITE, {"name": "visited"})
    site.db.session.execute(text("COMMIT"))


def makes_a_table(site: Site) -> None:
    site.db.session.execute(WRITE, {"name": "visited"})
    site.db.session.execute(text("CREATE OR REPLACE TABLE other (id INT)"))


def does_a_unit_of_work(site: Site) -> None:
    site.db.run(lambda: site.db.session.execute(WRITE, {"name": "visited"}))


def turns_the_drivers_autocommit_on(site: Site) -> None:
    driver_connection: Any = site.db.session.connection().connection.driver_connection
    if callable(getattr(driver_connection, "get_autocommit", None)):
        driver_connection.autocommit(True)
    else:
        driver_connection.autocommit = True
    site.db.session.execute(WRITE, {"name": "visited"})


@pytest.mark.parametrize(
    "write",
    [
        writes_in_autocommit,
        calls_a_procedure,
        commits_a_raw_connection,
        commits_with_text,
        makes_a_table,
        does_a_unit_of_work,
        turns_the_drivers_autocommit_on,
    ],
    ids=lambda write: write.__name__,
)
@pytest.mark.parametrize("driver", ["mysqldb", "pymysql", "mysqlconnector"])
def test_a_request_that_wrote_is_not_run_once_more(
    server: Server, make_site: Callable[..., Site], entries: Names, driver: str, write: Callable[[Site], None]
) -> None:
    server.execute(
        "CREATE OR REPLACE PROCEDURE visited() BEGIN INSERT INTO entry (name) VALUES ('visited'); COMMIT; END",
        database="test",
    )
    site = make_site(driver, HOLDFAST_RETRY_SAFE_REQUESTS=True)

    @site.app.get("/")
    def home() -> str:
        write(site)
        site.lose_first(site.db.session)
        return str(site.db.session.execute(text("SELECT 1")).scalar())

    assert site.app.test_client().get("/").status_code == 500
    assert site.calls == 1
    assert entries() == ["visited"]


def test_a_request_whose_own_connection_was_not_the_one_that_wrote_is_known_as_well(
    make_site: Callable[..., Site], entries: Names
) -> None:
    """Each connection that a request gets is asked, also one that it has returned."""
    site = make_site(HOLDFAST_RETRY_SAFE_REQUESTS=True)

    @site.app.get("/")
    def home() -> str:
        site.calls += 1
        with site.db.engine.connect() as connection:
            connection.execute(text("INSERT INTO entry (name) VALUES ('visited')"))
            connection.exec_driver_sql("COMMIT")
        site.db.session.execute(text("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))
        return "never"

    assert site.app.test_client().get("/").status_code == 500
    assert site.calls == 1
    assert entries() == ["visited"]


def test_an_unknown_commit_is_not_run_once_more(proxy: Proxy, make_site: Callable[..., Site], entries: Names) -> None:
    site = make_site(HOLDFAST_RETRY_SAFE_REQUESTS=True)

    @site.app.get("/")
    def home() -> str:
        site.calls += 1
        proxy.cut_at("COMMIT", delivered=True)
        site.db.run(lambda: site.db.session.execute(WRITE, {"name": "visited"}))
        return "never"

    assert site.app.test_client().get("/").status_code == 500
    assert site.calls == 1
    assert entries() == ["visited"]
