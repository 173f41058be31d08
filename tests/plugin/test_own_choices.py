"""What an application chose for itself stays as SQLAlchemy made it: creators, pools, listeners, pre-ping."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id, read
from tests.plugin.helpers import WAYS, Log, arguments_for, connection_class, driver_module, is_held, kill_idle


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


def test_a_static_pool_is_held_without_deferring(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), poolclass=StaticPool)
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    counters = holdfast.status(engine).counters
    assert counters.replaced == {Cause.CLOSED: 1}
    assert counters.rollbacks_deferred == 0


@pytest.mark.parametrize("name", ["engine_connect", "before_cursor_execute", "commit"])
def test_a_listener_to_all_engines_is_called_that_comes_after_the_engine(
    server: Server, held: EngineFactory, name: str
) -> None:
    engine = held(server.url())
    called: list[object] = []

    def listener(*arguments: object) -> None:
        called.append(arguments)

    event.listen(Engine, name, listener)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        event.remove(Engine, name, listener)
    assert called


def test_an_engine_is_held_whose_status_another_plugin_has_asked_for(server: Server) -> None:
    def asks(plugin: Any, engine: Engine) -> None:
        assert not holdfast.status(engine).active

    from sqlalchemy.dialects import plugins

    other = type("Asks", (CreateEnginePlugin,), {"engine_created": asks, "update_url": lambda plugin, url: url})
    plugins.register("asks_for_status", __name__, "_asks")
    globals()["_asks"] = other
    engine = create_engine(server.url("pymysql").update_query_dict({"plugin": ["asks_for_status", "holdfast"]}))
    assert read(engine, 7) == 7
    assert holdfast.status(engine).active
    engine.dispose()
