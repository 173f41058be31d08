"""The ways in, what stays as SQLAlchemy made it, and what is said about it."""

from __future__ import annotations

import gc
import importlib
import logging
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, create_engine, create_pool_from_url, engine_from_config, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause, Counters, plugin
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id, read, wait_until_ended

Log = Callable[[], list[str]]
Make = Callable[..., Engine]

CONNECTION_CLASSES = {
    "mysqldb": "MySQLdb.connections:Connection",
    "pymysql": "pymysql.connections:Connection",
    "mysqlconnector": "mysql.connector.connection:MySQLConnection",
}


def connection_class(driver: str) -> type:
    module, _, name = CONNECTION_CLASSES[driver].partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    return found


def is_held(connection: Any) -> bool:
    return hasattr(connection, "_holdfast")


def arguments_for(server: Server, driver: str) -> dict[str, Any]:
    """Keyword arguments of the driver's own connect function."""
    given = {"host": server.host, "port": server.port, "user": "app", "password": "app", "database": "test"}
    return {**given, "use_pure": True} if driver == "mysqlconnector" else given


def driver_module(driver: str) -> Any:
    return importlib.import_module({"mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector"}.get(driver, driver))


def kill_idle(server: Server, engine: Engine) -> int:
    """Kill the connection that waits in the engine's pool; return its id."""
    with engine.connect() as connection:
        idle = connection.connection.driver_connection
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
    server.kill_connection(number)
    wait_until_ended(idle)
    return number


@pytest.fixture
def said_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once a process has not been said yet."""
    monkeypatch.setattr(plugin, "_said", set())


# -- the ways in -------------------------------------------------------------------------------------------------------

WAYS: dict[str, Make] = {
    "in the URL": lambda url, **more: create_engine(url.update_query_dict({"plugin": "holdfast"}), **more),
    "as an argument": lambda url, **more: create_engine(url, plugins=["holdfast"], **more),
    "holdfast.create_engine": lambda url, **more: holdfast.create_engine(url, **more),
    "holdfast.create_engine of text": lambda url, **more: holdfast.create_engine(
        url.render_as_string(hide_password=False), **more
    ),
    "URL and argument": lambda url, **more: create_engine(
        url.update_query_dict({"plugin": "holdfast"}), plugins=["holdfast"], **more
    ),
    "all three": lambda url, **more: holdfast.create_engine(
        url.update_query_dict({"plugin": "holdfast"}), plugins=["holdfast"], **more
    ),
    "engine_from_config": lambda url, **more: engine_from_config(
        {"db.url": url.update_query_dict({"plugin": "holdfast"}), **{f"db.{k}": v for k, v in more.items()}}, "db."
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_attaches_once_and_counts_once(server: Server, way: str, log: Log) -> None:
    engine = WAYS[way](server.url("pymysql"), holdfast_probe_timeout=3, pool_size=2)
    try:
        assert read(engine, 3) == 3
        first = kill_idle(server, engine)
        assert connection_id(engine) != first
        hold = holdfast.status(engine)
        assert hold.active
        assert hold.settings.probe_timeout == 3
        assert hold.counters.connects == 2
        assert hold.counters.replaced == {Cause.CLOSED: 1}
        assert sum("replaced a pooled connection" in line for line in log()) == 1
        assert isinstance(engine.pool, QueuePool)
        assert engine.pool.size() == 2
        assert len(list(engine.pool.dispatch.checkout)) == 1
        assert len(list(engine.pool.dispatch.reset)) == 1
    finally:
        engine.dispose()


def test_the_arguments_of_the_caller_are_not_changed(server: Server) -> None:
    plugins: list[str] = []
    holdfast.create_engine(server.url("pymysql"), plugins=plugins)
    assert plugins == []


def test_another_plugin_may_be_there_too(server: Server) -> None:
    """SQLAlchemy calls each; ours neither hides nor needs the other."""
    seen: list[str] = []

    class Other(sqlalchemy.CreateEnginePlugin):
        def __init__(self, url: sqlalchemy.URL, kwargs: dict[str, Any]) -> None:
            kwargs.pop("other", None)

        def update_url(self, url: sqlalchemy.URL) -> sqlalchemy.URL:
            return url.difference_update_query(["other_key"])

        def engine_created(self, engine: Engine) -> None:
            seen.append(engine.url.render_as_string())

    from sqlalchemy.dialects import plugins as registry

    registry.register("other_for_test", __name__, "unused")
    registry.impls["other_for_test"] = lambda: Other
    url = server.url("pymysql", query={"other_key": "1"}).update_query_dict({"plugin": ["other_for_test", "holdfast"]})
    engine = holdfast.create_engine(url, other=1)
    assert read(engine, 4) == 4
    assert len(seen) == 1
    assert holdfast.status(engine).counters.connects == 1
    engine.dispose()


def test_create_pool_from_url(server: Server, driver: str, log: Log) -> None:
    url = server.url(driver, query={"use_pure": "1"} if driver == "mysqlconnector" else {})
    pool = create_pool_from_url(url.update_query_dict({"plugin": "holdfast"}))
    gc.collect()  # the engine it was made with is nobody's
    fairy = pool.connect()
    assert is_held(fairy.driver_connection)
    assert isinstance(fairy.driver_connection, connection_class(driver))
    idle = fairy.driver_connection
    fairy.close()
    server.kill_connections("app")
    wait_until_ended(idle)
    fairy = pool.connect()
    cursor = fairy.cursor()
    cursor.execute("SELECT 5")
    assert list(cursor.fetchall()) == [(5,)]
    cursor.close()
    fairy.close()
    assert sum("replaced a pooled connection" in line for line in log()) == 1
    pool.dispose()


def test_create_pool_from_url_defers_the_rollback(server: Server) -> None:
    pool = create_pool_from_url(server.url("pymysql").update_query_dict({"plugin": "holdfast"}))
    gc.collect()
    fairy = pool.connect()
    deferring = fairy.driver_connection._holdfast.defer  # type: ignore[union-attr]
    fairy.close()
    pool.dispose()
    assert deferring


# -- what stays --------------------------------------------------------------------------------------------------------


def test_the_connection_is_still_an_instance_of_the_drivers_class(server: Server, driver: str, engine: Engine) -> None:
    with engine.connect() as connection:
        held = connection.connection.driver_connection
        assert isinstance(held, connection_class(driver))
        assert type(held).__name__ == connection_class(driver).__name__
        assert type(held).__module__ == connection_class(driver).__module__
        assert connection.connection.dbapi_connection is held
        assert is_held(held)


def test_creator(server: Server, driver: str, held: EngineFactory) -> None:
    made = []

    def creator() -> Any:
        made.append(driver_module(driver).connect(**arguments_for(server, driver)))
        return made[-1]

    engine = held(server.url(driver), creator=creator)
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert holdfast.status(engine).counters.connects == len(made) == 2
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 1}
    assert is_held(made[-1])


def test_pool(server: Server, driver: str, held: EngineFactory) -> None:
    pool = QueuePool(lambda: driver_module(driver).connect(**arguments_for(server, driver)), pool_size=1)
    engine = held(server.url(driver), pool=pool)
    assert engine.pool is pool
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 1}
    assert holdfast.status(engine).counters.rollbacks_deferred > 0


def test_module(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), module=driver_module(driver))
    assert read(engine, 6) == 6
    assert holdfast.status(engine).counters.connects == 1


def test_a_connection_of_an_unknown_class_is_left_alone_with_one_warning(
    server: Server, held: EngineFactory, log: Log
) -> None:
    class Wrapped:
        """What a home-made tracer hands back: no subclass, and no __wrapped__ to find the connection in."""

        def __init__(self, connection: Any) -> None:
            self.inside = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inside, name)

    engine = held(
        server.url("pymysql"),
        poolclass=NullPool,
        creator=lambda: Wrapped(driver_module("pymysql").connect(**arguments_for(server, "pymysql"))),
    )
    for number in range(3):
        assert read(engine, number) == number
    assert holdfast.status(engine).counters.connects == 0
    assert not holdfast.status(engine).active
    assert [line for line in log() if "Wrapped" in line and "works as in stock SQLAlchemy" in line] == log()
    assert len(log()) == 1


@pytest.mark.parametrize("what", ["looks", "changes", "connects"])
def test_a_do_connect_listener_of_the_application(server: Server, driver: str, held: EngineFactory, what: str) -> None:
    engine = held(server.url(driver))
    calls = []

    @event.listens_for(engine, "do_connect")
    def do_connect(dialect: Any, record: Any, positional: list[Any], arguments: dict[str, Any]) -> Any:
        calls.append(dict(arguments))
        if what == "changes":
            arguments["init_command"] = "SET @mine = 42"
        if what == "connects":
            return dialect.loaded_dbapi.connect(*positional, **arguments, init_command="SET @mine = 42")
        return None

    with engine.connect() as connection:
        assert connection.execute(text("SELECT @mine")).scalar() == (None if what == "looks" else 42)
        assert is_held(connection.connection.driver_connection)
    assert len(calls) == 1
    assert calls[0]["password" if "password" in calls[0] else "passwd"] == "app", "it sees what the driver would"
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert len(calls) == 2


CHARACTER_SET = text("SELECT @@character_set_client, @@character_set_results, @@collation_connection")


def test_the_character_set_is_the_one_that_stock_would_use(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    def connects(dialect: Any, record: Any, positional: list[Any], arguments: dict[str, Any]) -> Any:
        connection = dialect.loaded_dbapi.connect(*positional, **arguments)
        cursor = connection.cursor()
        cursor.execute("SET NAMES latin1")
        cursor.close()
        return connection

    found = []
    for make in (held, stock):
        plain = make(server.url(driver))
        with plain.connect() as connection:
            found.append([tuple(connection.execute(CHARACTER_SET).one())])
        engine = make(server.url(driver))
        event.listen(engine, "do_connect", connects)
        with engine.connect() as connection:
            found[-1].append(tuple(connection.execute(CHARACTER_SET).one()))
    assert found[0] == found[1]


def test_the_applications_listeners_run_as_they_would_and_see_the_held_connection(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    def listen(engine: Engine) -> list[tuple[str, Any]]:
        """Note which event came, and with which connection."""
        seen: list[tuple[str, Any]] = []

        def note(name: str) -> None:
            event.listen(engine, name, lambda connection, *rest: seen.append((name, connection)))

        for name in ("first_connect", "connect", "checkout", "reset", "checkin"):
            note(name)
        return seen

    orders = []
    for make in (held, stock):
        engine = make(server.url(driver))
        seen = listen(engine)
        assert read(engine, 1) == 1
        assert read(engine, 2) == 2
        engine.dispose()
        orders.append([name for name, _ in seen])
        assert all(is_held(connection) is (make is held) for _, connection in seen)
        assert {type(connection).__name__ for _, connection in seen} == {connection_class(driver).__name__}
    assert orders[0] == orders[1]
    assert orders[0].count("checkout") == 2


def test_a_connect_listener_may_run_statements(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET @greeting = 'hello'")
        cursor.close()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, fairy: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 12345")
        assert list(cursor.fetchall()) == [(12345,)]
        cursor.close()

    for number in range(3):
        with engine.connect() as connection:
            assert connection.execute(text("SELECT @greeting")).scalar() == "hello"
        assert read(engine, number) == number


def test_pool_pre_ping_is_honoured_with_one_line(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, log: Log
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    counts = []
    for pre_ping in (False, True):
        engine = held(url, pool_pre_ping=pre_ping)
        read(engine)
        proxy.reset_counts()
        for number in range(3):
            assert read(engine, number) == number
        counts.append(sum(proxy.commands.values()))
    assert counts[1] == counts[0] + 3
    assert sum("pool_pre_ping" in line for line in log()) == 1


def test_pool_pre_ping_is_one_line_when_the_plugin_is_named_twice(server: Server, log: Log) -> None:
    WAYS["URL and argument"](server.url("pymysql"), pool_pre_ping=True)
    assert sum("pool_pre_ping" in line for line in log()) == 1


def test_pool_recycle_still_recycles(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), pool_recycle=3600)
    first = connection_id(engine)
    assert connection_id(engine) == first
    with engine.connect() as connection:
        record: Any = connection.connection._connection_record
    record.starttime -= 3601
    assert connection_id(engine) != first
    assert holdfast.status(engine).counters.replaced == {}, "recycled by SQLAlchemy, not replaced by holdfast"
    assert holdfast.status(engine).counters.connects == 2


def test_after_dispose_the_next_connection_is_held(server: Server, driver: str, engine: Engine) -> None:
    read(engine)
    for close in (True, False):
        old = engine.pool
        engine.dispose(close=close)
        assert engine.pool is not old
        first = kill_idle(server, engine)
        assert connection_id(engine) != first
        old.dispose()
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 2}


def test_two_engines_share_a_pool(server: Server, driver: str, held: EngineFactory, log: Log) -> None:
    one = held(server.url(driver))
    other = held(server.url(driver), pool=one.pool)
    assert read(one, 1) == 1
    assert read(other, 2) == 2
    first = kill_idle(server, other)
    assert connection_id(one) != first
    assert connection_id(other) == connection_id(one)
    assert sum("replaced a pooled connection" in line for line in log()) == 1
    replaced = [holdfast.status(engine).counters.replaced.get(Cause.CLOSED, 0) for engine in (one, other)]
    assert sum(replaced) == 1, "counted once"


def test_a_connection_of_a_shared_pool_is_retired_once(server: Server, held: EngineFactory, log: Log) -> None:
    one = held(server.url("pymysql"))
    other = held(server.url("pymysql"), pool=one.pool)
    with other.connect() as connection, pytest.raises(DBAPIError):
        connection.exec_driver_sql("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1836, MESSAGE_TEXT = 'read-only'")
    assert sum(Cause.EVICTED in line for line in log()) == 1
    assert sum(holdfast.status(engine).counters.replaced.get(Cause.EVICTED, 0) for engine in (one, other)) == 1


# -- stepping aside ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("said_nothing_yet")
def test_sqlite_works_as_before_and_is_mentioned_once(log: Log) -> None:
    engines = [create_engine("sqlite://?plugin=holdfast"), holdfast.create_engine("sqlite://")]
    for engine in engines:
        plain = create_engine("sqlite://")
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (id INTEGER)"))
            connection.execute(text("INSERT INTO numbers VALUES (1), (2)"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT SUM(id) FROM numbers")).scalar() == 3
            assert not is_held(connection.connection.driver_connection)
        assert type(engine.pool) is type(plain.pool)
        for name in ("connect", "checkout", "checkin", "reset"):
            ours, theirs = getattr(engine.pool.dispatch, name), getattr(plain.pool.dispatch, name)
            assert len(list(ours)) == len(list(theirs))
        assert not holdfast.status(engine).active
        assert holdfast.status(engine).reason == "sqlite is not MySQL or MariaDB"
        engine.dispose()
        plain.dispose()
    assert len(log()) == 1
    assert "sqlite is not held: sqlite is not MySQL or MariaDB" in log()[0]


@pytest.mark.usefixtures("said_nothing_yet")
def test_an_asyncio_engine_is_left_as_it_is_and_says_so(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """The engine inside an AsyncEngine, which itself needs greenlet. The module stands in for a driver that is not
    among the project's; nothing is connected."""
    url = "mysql+aiomysql://u:Kx7qZv9w@127.0.0.1/db?plugin=holdfast"
    engine = create_engine(url, module=driver_module("pymysql"), _is_async=True)
    hold = holdfast.status(engine)
    assert not hold.active
    assert hold.reason == "the asyncio driver aiomysql is not supported yet"
    assert holdfast.status(SimpleNamespace(sync_engine=engine)) is hold
    assert list(engine.pool.dispatch.checkout) == []
    assert len(log()) == 1
    assert "aiomysql" in log()[0]
    assert "Kx7qZv9w" not in repr(hold) + log()[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"], "it was asked for"


def test_an_engine_made_from_engine_url_is_held_with_the_same_settings(server: Server, driver: str) -> None:
    url = server.url(driver, query={"plugin": "holdfast", "holdfast_probe_timeout": "3"})
    engine = create_engine(url)
    for again in (create_engine(engine.url), create_engine(str(engine.url.render_as_string(hide_password=False)))):
        assert read(again, 2) == 2
        assert holdfast.status(again).active
        assert holdfast.status(again).settings.probe_timeout == 3
        again.dispose()
    engine.dispose()


def test_where_the_plugin_was_an_argument_such_an_engine_is_not_held_and_the_reason_says_why(
    server: Server, driver: str
) -> None:
    engine = create_engine(server.url(driver), plugins=["holdfast"])
    again = create_engine(engine.url)
    hold = holdfast.status(again)
    assert not hold.active
    assert "engine.url" in hold.reason
    assert "is not held" in repr(hold)
    assert holdfast.status(engine).active


# -- asking ------------------------------------------------------------------------------------------------------------


def test_of_takes_whatever_has_an_engine(server: Server, engine: Engine) -> None:
    hold = holdfast.status(engine)
    assert hold.active
    copy = engine.execution_options(isolation_level="AUTOCOMMIT")
    assert holdfast.status(copy) is hold
    assert holdfast.status(copy.execution_options(foo=1)) is hold
    assert read(copy, 3) == 3
    with engine.connect() as connection:
        assert holdfast.status(connection) is hold
    with sessionmaker(engine)() as session:
        assert session.execute(text("SELECT 4")).scalar() == 4
        assert holdfast.status(session.get_bind()) is hold
        assert holdfast.status(session.connection()) is hold
    assert hold.counters.connects == 1, "all of them share the pool"


def test_status_takes_what_leads_to_an_engine(engine: Engine) -> None:
    known = holdfast.status(engine)
    for given in (
        sessionmaker(engine),
        scoped_session(sessionmaker(engine)),
        Session(engine),
    ):
        assert holdfast.status(given) is known, given
    with engine.connect() as connection, Session(connection) as session:
        assert holdfast.status(connection) is known
        assert holdfast.status(session) is known


WRONG = [None, 5, "mysql://u:Kx7qZv9w@h/db", Session, Session(), sessionmaker(), object()]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
def test_status_refuses_what_has_no_engine(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"status\(\) .*{type(wrong).__name__}") as caught:
        holdfast.status(wrong)
    assert "engine" in str(caught.value)
    assert "Kx7qZv9w" not in str(caught.value)


def test_the_repr_shows_the_place_and_the_counts_and_no_account(engine: Engine, server: Server) -> None:
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    shown = repr(holdfast.status(engine))
    assert f"127.0.0.1:{server.port}/test is held" in shown
    assert f"replaced: 1 {Cause.CLOSED}" in shown
    assert "@" not in shown
    assert "app" not in shown


def test_the_counters_that_were_read_do_not_change_afterwards(server: Server, engine: Engine) -> None:
    read(engine)
    before = holdfast.status(engine).counters
    kept = pickle.loads(pickle.dumps(before))
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert before == kept
    before.connects = 99
    before.replaced["other"] = 1
    after = holdfast.status(engine).counters
    assert after.connects == 2
    assert after.replaced == {Cause.CLOSED: 1}
    assert after.as_dict() == {
        **{name: value for name, value in vars(after).items() if not isinstance(value, dict)},
        f"replaced: {Cause.CLOSED}": 1,
    }
    assert Counters() == Counters().snapshot()


def test_a_replaced_connection_is_one_checkout(server: Server, engine: Engine) -> None:
    kill_idle(server, engine)
    read(engine)
    assert holdfast.status(engine).counters.checkouts == 2


def test_one_line_for_each_absorbed_event_and_none_for_a_checkout(server: Server, engine: Engine, log: Log) -> None:
    for number in range(5):
        assert read(engine, number) == number
    assert [line for line in log() if "wait_timeout" not in line] == []
    assert len(log()) == 1, "what the server allows, said once"
    for _ in range(3):
        first = kill_idle(server, engine)
        assert connection_id(engine) != first
    lines = [line for line in log() if "replaced a pooled connection" in line]
    assert len(lines) == 3
    assert all("no error reached the application" in line for line in lines)
    assert all(f"127.0.0.1:{server.port}/test" in line for line in log())


def test_what_was_absorbed_is_information_and_never_louder(
    server: Server, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "holdfast")
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert {record.levelno for record in caplog.records if record.name.startswith("holdfast")} == {logging.INFO}


# -- errors travel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        holdfast.HoldfastError("what"),
        holdfast.SettingError("what"),
        holdfast.DatabaseURLError("what"),
        holdfast.DriverNotInstalled("what", name="MySQLdb"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_holdfasts_can_be_pickled(error: holdfast.HoldfastError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == "what"
    assert getattr(copy, "name", None) == getattr(error, "name", None)


def test_an_error_with_a_hint_can_be_pickled(server: Server, driver: str, held: EngineFactory) -> None:
    with pytest.raises(DBAPIError) as caught:
        held(server.url(driver, password="Kx7qZv9w")).connect()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value)
    assert "holdfast, connecting to" in str(copy)


def test_a_static_pool_is_held_without_deferring(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), poolclass=StaticPool)
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    counters = holdfast.status(engine).counters
    assert counters.replaced == {Cause.CLOSED: 1}
    assert counters.rollbacks_deferred == 0
