"""A connection that is not what holdfast_tls asks for is ended before it is used, whoever has made it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.pool import NullPool, Pool, QueuePool, SingletonThreadPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, eventually, read

MODULES = {"mysqldb": "MySQLdb", "pymysql": "pymysql", "mysqlconnector": "mysql.connector"}
IN_CLEAR: dict[str, dict[str, Any]] = {
    "mysqldb": {"ssl_mode": "DISABLED"},
    "pymysql": {"ssl_disabled": True},
    "mysqlconnector": {"ssl_disabled": True, "use_pure": True},
}
UNVERIFIED: dict[str, dict[str, Any]] = {
    "mysqldb": {"ssl_mode": "REQUIRED"},
    "pymysql": {"ssl": {"verify_mode": False, "check_hostname": False}},
    "mysqlconnector": {"use_pure": True},
}


def verified(driver: str, ca: str, *, name: bool) -> dict[str, Any]:
    if driver == "mysqldb":
        return {"ssl": {"ca": ca}, "ssl_mode": "VERIFY_IDENTITY" if name else "REQUIRED"}
    arguments = {"ssl_ca": ca, "ssl_verify_cert": True, "ssl_verify_identity": name}
    return arguments | ({"use_pure": True} if driver == "mysqlconnector" else {})


def creator(server: Server, driver: str, arguments: dict[str, Any]) -> Callable[[], Any]:
    module = importlib.import_module(MODULES[driver])
    place = {"host": server.host, "port": server.port, "user": "app", "password": "app", "database": "test"}
    return lambda: module.connect(**place, **arguments)


def assert_refused(engine: Engine, match: str, server: Server) -> None:
    before = {process.id for process in server.processlist(user="app")}
    with pytest.raises(holdfast.TLSError, match=match) as caught:
        engine.connect()
    assert "the connection was closed before it was used" in str(caught.value)
    # While the error, with its traceback, still exists.
    eventually(lambda: {process.id for process in server.processlist(user="app")} <= before)
    del caught


@pytest.mark.parametrize("pool", [QueuePool, NullPool, StaticPool, SingletonThreadPool])
def test_in_no_pool_is_a_connection_that_was_not_asked_for(
    secure: Server, driver: str, held: EngineFactory, pool: type[Pool]
) -> None:
    make = creator(secure, driver, IN_CLEAR[driver])
    engine = held(secure.url(driver), creator=make, poolclass=pool, holdfast_tls="required")
    for _ in range(2):
        assert_refused(engine, "holdfast_tls=required asks for TLS, and this connection has none", secure)


@pytest.mark.parametrize("given", ["clear", "unverified", "no name", "another authority"])
def test_what_a_creator_makes_is_looked_at(
    secure: Server, other_ca: str, driver: str, held: EngineFactory, given: str
) -> None:
    assert secure.tls_ca is not None
    arguments, ca, match = {
        "clear": (IN_CLEAR[driver], secure.tls_ca, "has none"),
        "unverified": (UNVERIFIED[driver], secure.tls_ca, "this connection's was not"),
        "no name": (verified(driver, secure.tls_ca, name=False), secure.tls_ca, "only verified that an authority"),
        "another authority": (verified(driver, secure.tls_ca, name=True), other_ca, "was signed by another one"),
    }[given]
    asked = {"holdfast_tls": "verify-identity", "holdfast_tls_ca": ca}
    assert_refused(held(secure.url(driver), creator=creator(secure, driver, arguments), **asked), match, secure)


def test_what_a_creator_makes_is_used_when_it_is_enough(secure: Server, driver: str, held: EngineFactory) -> None:
    assert secure.tls_ca is not None
    arguments = verified(driver, secure.tls_ca, name=True)
    for mode in ("required", "verify-ca", "verify-identity"):
        asked = {"holdfast_tls": mode} | ({"holdfast_tls_ca": secure.tls_ca} if mode != "required" else {})
        engine = held(secure.url(driver), creator=creator(secure, driver, arguments), **asked)
        assert read(engine, 3) == 3
    engine = held(secure.url(driver), creator=creator(secure, driver, UNVERIFIED[driver]), holdfast_tls="off")
    assert_refused(engine, "asks for a connection without TLS, and this one has TLSv1.3", secure)


def test_what_a_pool_of_the_applications_makes_is_looked_at(secure: Server, driver: str, held: EngineFactory) -> None:
    pool = QueuePool(creator(secure, driver, IN_CLEAR[driver]))
    assert_refused(held(secure.url(driver), pool=pool, holdfast_tls="required"), "has none", secure)


def test_a_do_connect_listener_does_not_get_around_it(secure: Server, driver: str, held: EngineFactory) -> None:
    """What it adds to the arguments is overruled; what it connects itself is looked at."""
    engine = held(secure.url(driver), holdfast_tls="required")
    own = False

    @event.listens_for(engine, "do_connect")
    def connecting(dialect: Any, record: Any, positional: Any, arguments: dict[str, Any]) -> Any:
        if own:
            return creator(secure, driver, IN_CLEAR[driver])()
        arguments.update(IN_CLEAR[driver])
        return None

    assert read(engine, 4) == 4
    (seen,) = holdfast.status(engine).encryption
    assert seen.version
    engine.dispose()
    own = True
    assert_refused(engine, "has none", secure)


def test_a_connection_that_was_refused_takes_nobodys_place(
    server: Server, driver: str, held: EngineFactory, tmp_path: Any
) -> None:
    """Of the server's connections, the pool's and the budget's."""
    user = f"sparing_{driver}"
    server.create_account(user, user, max_connections=2)
    options = {"holdfast_budget": 3, "holdfast_headroom": 0, "holdfast_budget_directory": str(tmp_path)}
    url = server.url(driver, user=user, password=user)
    engine = held(url, holdfast_tls="required", pool_size=1, max_overflow=0, pool_timeout=5, **options)
    for _ in range(5):
        with pytest.raises((holdfast.TLSError, Exception), match="the server offers no TLS"):
            engine.connect()
    budget = holdfast.status(engine).budget
    assert budget is not None
    assert budget.taken == 0
    eventually(lambda: not server.processlist(user=user))
    other = held(url, holdfast_tls="off", **options)
    open_now = [other.connect() for _ in range(2)]
    for connection in open_now:
        connection.close()


def test_nothing_of_the_applications_is_sent_on_it(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    """mysqlclient sends its own SET NAMES and SET autocommit before anybody can look."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), holdfast_tls="required")
    event.listen(engine, "connect", lambda connection, record: connection.cursor().execute("SELECT 'mine'"))
    with pytest.raises(Exception, match="the server offers no TLS"):
        engine.connect()
    eventually(lambda: not server.processlist(user="app"))
    words = {statement.partition(" ")[0].upper() for statement in proxy.statements}
    assert words <= {"SET"}, proxy.statements


def test_a_reconnect_of_the_drivers_is_looked_at(driver: str, held: EngineFactory) -> None:
    """In place, as ping() and reconnect() do it: the server has lost its TLS meanwhile."""
    with Server(tls=True) as server:
        engine = held(server.url(driver), holdfast_tls="required")
        with engine.connect() as connection:
            own: Any = connection.connection.driver_connection
            server.stop()
            server.options["skip-ssl"] = None
            server.start()
            act = {"pymysql": own.ping, "mysqldb": own.ping, "mysqlconnector": getattr(own, "reconnect", None)}[driver]
            with pytest.raises((holdfast.TLSError, own._holdfast_errors)):
                act()
            with pytest.raises(own._holdfast_errors):
                own.cursor().execute("SELECT 'mine'")
            connection.invalidate()
        assert not server.processlist(user="app")


def test_threads_that_come_at_once_are_each_refused(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), holdfast_tls="required")
    errors: list[BaseException] = []

    def use() -> None:
        try:
            engine.connect()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 6
    assert all("the server offers no TLS" in str(error) for error in errors)


def test_a_unix_socket_has_the_tls_that_was_asked_for(secure: Server, driver: str, held: EngineFactory) -> None:
    def url(mode: str) -> Any:
        query = {"holdfast_tls": mode} | ({"holdfast_tls_ca": secure.tls_ca or ""} if "verify" in mode else {})
        return secure.url(driver, transport="unix", query=query)

    assert read(held(url("off")), 1) == 1
    assert read(held(url("preferred")), 2) == 2
    for mode in ("required", "verify-ca", "verify-identity"):
        engine = held(url(mode))
        if driver == "mysqlconnector":
            assert_refused(
                engine, "it is a unix socket.*remove holdfast_tls for it, or connect to the server's", secure
            )
        else:
            assert read(engine, 3) == 3
            (seen,) = holdfast.status(engine).encryption
            assert seen.unix_socket
            assert seen.version


def test_the_systems_authorities(
    secure: Server, other_ca: str, driver: str, held: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE says which they are, to OpenSSL and to Python."""
    monkeypatch.setenv("SSL_CERT_FILE", other_ca)
    url = secure.url(driver, query={"holdfast_tls": "verify-identity"})
    with pytest.raises(Exception, match="an authority that is not among the trusted ones"):
        held(url).connect()
    monkeypatch.setenv("SSL_CERT_FILE", secure.tls_ca or "")
    engine = held(url, holdfast_tls_ca="system")
    assert read(engine, 1) == 1
    assert [str(seen.verified) for seen in holdfast.status(engine).encryption] == ["authority and name"]


def test_the_systems_authorities_do_not_count_when_a_file_is_named(
    secure: Server, other_ca: str, driver: str, held: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mysql-connector trusts them as well, whatever it is given."""
    monkeypatch.setenv("SSL_CERT_FILE", secure.tls_ca or "")
    before = len(secure.processlist(user="app"))
    url = secure.url(driver, query={"holdfast_tls": "verify-ca", "holdfast_tls_ca": other_ca})
    with pytest.raises(Exception, match=r"was signed by another one|an authority that is not among the trusted ones"):
        held(url).connect()
    eventually(lambda: len(secure.processlist(user="app")) <= before)


def test_a_file_of_authorities_may_be_replaced_under_its_name(
    secure: Server, other_ca: str, driver: str, held: EngineFactory, tmp_path: Any
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(Path(other_ca).read_text())
    url = secure.url(driver, query={"holdfast_tls": "verify-identity", "holdfast_tls_ca": str(ca)})
    engine = held(url, poolclass=NullPool)
    with pytest.raises(Exception, match="an authority that is not among the trusted ones"):
        engine.connect()
    ca.write_text(Path(other_ca).read_text() + Path(secure.tls_ca or "").read_text())
    assert read(engine, 1) == 1


def test_a_client_certificate_goes_with_it(secure: Server, driver: str, held: EngineFactory) -> None:
    secure.execute("CREATE OR REPLACE USER 'known'@'%' IDENTIFIED BY 'known' REQUIRE X509")
    folder = secure.directory
    own = {"ssl_cert": str(folder / "server-valid.pem"), "ssl_key": str(folder / "server-key.pem")}
    asked = {"holdfast_tls": "verify-identity", "holdfast_tls_ca": secure.tls_ca or ""}
    url = secure.url(driver, user="known", password="known", database="", query=own | asked)
    with held(url).connect() as connection:
        assert connection.execute(text("SELECT CURRENT_USER()")).scalar() == "known@%"
    url = secure.url(driver, user="known", password="known", database="", query=asked)
    with pytest.raises(Exception, match="1045"):
        held(url).connect()


def test_no_statement_is_sent_to_find_out(secure: Server, driver: str, held: EngineFactory) -> None:
    def questions() -> int:
        return int(secure.status("Com_select")) + int(secure.status("Com_show_status"))

    engine = held(secure.url(driver), poolclass=NullPool, holdfast_tls="required")
    engine.connect().close()
    plain = held(secure.url(driver), poolclass=NullPool)
    plain.connect().close()
    counts = []
    for each in (engine, plain):
        before = questions()
        for _ in range(3):
            each.connect().close()
        counts.append(questions() - before)
    assert counts[0] == counts[1]
