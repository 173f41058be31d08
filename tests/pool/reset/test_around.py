"""A reset beside all else that happens to a connection: it is refused, lost, forked, returned by other ways."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import AssertionPool, NullPool, Pool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.drivers.sockets import borrowed
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id, eventually, read
from tests.fork.children import in_child

ONE = {"holdfast_reset": "changed", "pool_size": 1, "max_overflow": 0}


def tenant(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(text("SELECT @tenant")).scalar()


def change(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET @tenant = 'mine'"))


# -- a reset that is refused ----------------------------------------------------------------------------------


@pytest.fixture
def loses_its_role(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> Engine:
    """An engine whose first connection was set up by a statement that the server no longer accepts."""
    server.execute("CREATE ROLE IF NOT EXISTS fleeting")
    server.execute("GRANT fleeting TO app")
    server.execute("CREATE OR REPLACE TABLE test.written (id INT)")
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), **ONE)
    said: list[str] = []

    @event.listens_for(engine, "connect")
    def set_up(dbapi_connection: Any, record: Any) -> None:
        if not said:
            said.append("SET ROLE fleeting")
            cursor = dbapi_connection.cursor()
            cursor.execute(said[0])
            cursor.close()

    change(engine)
    assert tenant(engine) is None
    server.execute("REVOKE fleeting FROM app")
    return engine


def test_a_connection_that_refused_a_reset_is_replaced(loses_its_role: Engine) -> None:
    engine = loses_its_role
    first = connection_id(engine)
    with engine.connect() as connection:
        connection.execute(text("SET @tenant = 'mine'"))
        state = connection.connection.dbapi_connection._holdfast  # type: ignore[union-attr]
    eventually(state.events)
    assert tenant(engine) is None
    assert connection_id(engine) != first
    assert holdfast.status(engine).counters.replaced == {Cause.RESET_REFUSED: 1}


def test_what_was_sent_behind_a_refused_reset_is_undone(server: Server, proxy: Proxy, loses_its_role: Engine) -> None:
    engine = loses_its_role
    first = connection_id(engine)
    proxy.delay = 0.2
    change(engine)
    with pytest.raises(DBAPIError, match="1959"), engine.begin() as connection:
        connection.execute(text("INSERT INTO written VALUES (1)"))
    proxy.delay = 0
    assert connection_id(engine) != first
    eventually(lambda: first not in [one.id for one in server.processlist()])
    assert server.execute("SELECT * FROM test.written") == []


# -- a connection that is lost --------------------------------------------------------------------------------


def test_a_connection_that_was_closed_after_its_reset_is_replaced(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)
    first = connection_id(engine)
    change(engine)
    server.kill_connection(first)
    assert tenant(engine) is None
    change(engine)
    assert tenant(engine) is None


def test_a_connection_that_ends_when_its_reset_is_to_be_sent_is_replaced(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)
    first = connection_id(engine)

    @event.listens_for(engine, "checkin", insert=True, once=True)
    def cut(dbapi_connection: Any, record: Any) -> None:
        with borrowed(dbapi_connection._holdfast_fd()) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    change(engine)
    assert tenant(engine) is None
    assert connection_id(engine) != first


def test_a_changed_connection_that_is_lost_needs_no_reset(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), **ONE)
    with engine.connect() as connection:
        connection.execute(text("SET @tenant = 'mine'"))
        server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 2"))
    assert tenant(engine) is None


def test_a_unit_that_is_begun_again_sees_nothing_of_the_one_before(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)
    lost: list[object] = []

    def unit(connection: Any) -> object:
        seen = connection.execute(text("SELECT @tenant")).scalar()
        connection.execute(text("SET @tenant = 'mine'"))
        if not lost:
            lost.append(seen)
            server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        connection.execute(text("SELECT 1"))
        return seen

    for _ in range(3):
        assert holdfast.run(engine, unit) is None
    assert holdfast.status(engine).counters.units_repeated


def test_a_child_resets_its_own_connections(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), **ONE)
    first = connection_id(engine)
    change(engine)  # the replies may be on their way at the fork

    def child() -> tuple[Any, ...]:
        before = tenant(engine)
        change(engine)
        return before, tenant(engine), connection_id(engine), holdfast.status(engine).counters.resets

    before, after, number, resets = in_child(child)
    assert (before, after) == (None, None)
    assert number != first
    assert resets >= 1
    assert (tenant(engine), connection_id(engine)) == (None, first)


def test_a_connection_that_was_checked_out_at_the_fork_is_reset_in_the_child(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)
    with engine.connect() as connection:
        connection.execute(text("SET @tenant = 'the parent'"))
        connection.rollback()

        def child() -> tuple[Any, ...]:
            connection.execute(text("SET @tenant = 'the child'"))
            connection.close()
            return tenant(engine), connection_id(engine)

        assert in_child(child)[0] is None
        assert connection.execute(text("SELECT @tenant")).scalar() == "the parent"
    assert tenant(engine) is None


# -- what is not in the text -----------------------------------------------------------------------------------


def test_what_a_trigger_changes_is_put_back(server: Server, driver: str, held: EngineFactory) -> None:
    has_triggers(server, driver, held)


@pytest.mark.mysql
def test_what_a_trigger_changes_is_put_back_on_mysql(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    mysql_server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    has_triggers(mysql_server, driver, held)


def has_triggers(server: Server, driver: str, held: EngineFactory) -> None:
    server.execute("DROP DATABASE IF EXISTS triggered")
    server.execute("CREATE DATABASE triggered")
    server.execute("GRANT ALL ON triggered.* TO app")
    server.execute("CREATE TABLE triggered.one (id INT)")
    server.execute("CREATE TRIGGER sets BEFORE INSERT ON one FOR EACH ROW SET @tenant = 'mine'", database="triggered")
    engine = held(server.url(driver, database="triggered"), **ONE)
    for _ in range(2):
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO one VALUES (1)"))
            assert connection.execute(text("SELECT @tenant")).scalar() == "mine"
        assert tenant(engine) is None
    assert holdfast.status(engine).counters.resets == 2


# -- other ways to return a connection ------------------------------------------------------------------------


@pytest.mark.parametrize("style", [None, "rollback", "commit"])
def test_whatever_the_pool_does_on_return(server: Server, driver: str, held: EngineFactory, style: str | None) -> None:
    engine = held(server.url(driver), pool_reset_on_return=style, **ONE)
    first = connection_id(engine)
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("SET @tenant = 'mine'")
    cursor.close()
    raw.close()
    assert tenant(engine) is None
    assert connection_id(engine) == first


def test_a_connection_that_the_garbage_collector_returns_is_reset(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)
    engine.connect().execute(text("SET @tenant = 'mine'"))
    gc.collect()
    assert tenant(engine) is None


def test_what_listeners_to_the_pools_events_change_is_put_back_too(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), **ONE)

    def say(statement: str) -> Callable[..., None]:
        def listener(dbapi_connection: Any, *rest: Any) -> None:
            cursor = dbapi_connection.cursor()
            cursor.execute(statement)
            cursor.close()

        return listener

    event.listen(engine, "checkin", say("SET @tenant = 'returned'"))
    event.listen(engine, "checkout", say("SET @other = 'handed out'"))
    first = connection_id(engine)
    for _ in range(3):
        assert tenant(engine) is None
        with engine.connect() as connection:
            assert connection.execute(text("SELECT @other")).scalar() == "handed out"
    assert connection_id(engine) == first


@pytest.mark.parametrize("poolclass", [NullPool, AssertionPool])
def test_other_pools(server: Server, driver: str, held: EngineFactory, poolclass: type[Pool]) -> None:
    engine = held(server.url(driver), poolclass=poolclass, holdfast_reset="changed")
    for _ in range(2):
        change(engine)
        assert tenant(engine) is None
    assert (holdfast.status(engine).counters.resets > 0) is (poolclass is AssertionPool)


def test_a_pool_with_several_users_of_one_connection_is_left_alone(
    server: Server, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = held(server.url(), poolclass=StaticPool, holdfast_reset="changed")
    with engine.connect() as other:
        change(engine)
        assert other.execute(text("SELECT @tenant")).scalar() == "mine"
    assert holdfast.status(engine).counters.resets == 0
    assert sum("holdfast_reset=changed has no effect: a StaticPool" in line for line in log()) == 1


# -- where a reset has to wait --------------------------------------------------------------------------------


def test_over_tls(tls_server: Server, driver: str, held: EngineFactory) -> None:
    """mysqlclient's library has no call that sends a reset without waiting, and encrypts what it sends itself."""
    engine = held(tls_server.url(driver, query={"ssl_ca": tls_server.tls_ca or ""}), **ONE)
    first = connection_id(engine)
    for number in range(10):
        with engine.connect() as connection:
            assert connection.execute(text("SELECT @tenant")).scalar() is None
            connection.execute(text("SET @tenant = 'mine'"))
        assert read(engine, number) == number
    assert connection_id(engine) == first
    assert holdfast.status(engine).counters.resets >= 10


@pytest.mark.parametrize("setting", ["holdfast_pipeline", "holdfast_defer_rollback"])
def test_without_sending_ahead(server: Server, driver: str, held: EngineFactory, setting: str) -> None:
    engine = held(server.url(driver), **{setting: False}, **ONE)
    first = connection_id(engine)
    for number in range(10):
        change(engine)
        assert tenant(engine) is None
        assert read(engine, number) == number
    assert connection_id(engine) == first


def test_a_prepared_statement_of_the_drivers_is_forgotten(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("mysqlconnector"), **ONE)
    read(engine)
    before = int(server.status("Prepared_stmt_count"))
    raw = engine.raw_connection()
    cursor = raw.cursor(prepared=True, buffered=False)
    cursor.execute("SELECT %s", (1,))
    cursor.fetchall()
    raw.close()
    read(engine)
    assert holdfast.status(engine).counters.resets == 1
    assert int(server.status("Prepared_stmt_count")) == before


def test_where_the_first_connection_refuses_a_reset_others_are_closed(
    server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    server.execute("CREATE ROLE IF NOT EXISTS fleeting")
    server.execute("GRANT fleeting TO app")
    engine = held(server.url(driver), **ONE)
    said: list[str] = []

    @event.listens_for(engine, "connect")
    def set_up(dbapi_connection: Any, record: Any) -> None:
        if not said:
            said.append("SET ROLE fleeting")
            cursor = dbapi_connection.cursor()
            cursor.execute(said[0])
            cursor.close()
            server.execute("REVOKE fleeting FROM app")

    first = connection_id(engine)
    assert connection_id(engine) == first
    change(engine)
    assert tenant(engine) is None
    assert connection_id(engine) != first
    assert sum("cannot reset them: the server refuses it" in line for line in log()) == 1
