"""What holdfast touches of SQLAlchemy without its being documented: a release that changes it fails here."""

from __future__ import annotations

import _thread
import gc
import sqlite3
import sys
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    PoolProxiedConnection,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)
from sqlalchemy.util.queue import Full, Queue

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.pool import queue_pool
from tests.conftest import EngineFactory, inside, read
from tests.lab.helpers import eventually


def test_the_listeners_of_a_dialect_can_be_listed(engine: Engine) -> None:
    """Listeners._is_first: somebody else's do_connect listener leaves them less to assume."""
    before = len(list(engine.dialect.dispatch.do_connect))
    event.listen(engine, "do_connect", lambda *arguments: None)
    assert len(list(engine.dialect.dispatch.do_connect)) == before + 1


def test_the_listeners_of_a_pool_can_be_listed_in_order(engine: Engine) -> None:
    """Listeners._is_first: a connect listener before holdfast's may have sent a SET NAMES of its own."""
    listener = lambda *arguments: None  # noqa: E731
    assert next(iter(engine.pool.dispatch.connect)) == inside(engine)._listeners._on_connect
    event.listen(engine, "connect", listener, insert=True)
    assert next(iter(engine.pool.dispatch.connect)) == listener


# -- sqlalchemy_holdfast.pool.holders: who asked for a connection ---------------------------------------


@pytest.mark.parametrize("pool", [QueuePool, NullPool, StaticPool, SingletonThreadPool, AssertionPool])
def test_between_a_pools_connect_and_a_checkouts_listener_are_two_calls(
    server: Server, held: EngineFactory, pool: type[Pool]
) -> None:
    engine = held(server.url(), poolclass=pool)
    for _ in range(2):  # the first one makes the connection
        connection = engine.pool.connect()
        (holder,) = (state.holder for state in inside(engine)._listeners.connections if state.unusable_because is None)
        assert holder.code is sys._getframe().f_code
        connection.close()


def test_a_connection_that_nobodys_code_asked_for_is_handed_out(engine: Engine) -> None:
    """A thread's or a greenlet's first function may be the pool's own; then there is no frame behind it."""
    found: list[PoolProxiedConnection] = []
    _thread.start_new_thread(found.extend, (map(type(engine.pool).connect, [engine.pool]),))
    eventually(lambda: found)
    found[0].close()
    assert holdfast.status(engine).counters.checkouts == 1


# -- sqlalchemy_holdfast.pool.queue_pool: what becomes of a pool in a forked child ----------------------


def test_a_queue_pool_keeps_idle_connections_in_a_queue_under_a_lock(engine: Engine) -> None:
    pool: Any = engine.pool
    assert type(pool._pool) is Queue
    assert pool._pool.maxsize == 5, "recreate() takes the new pool's size from it"
    assert type(pool._overflow_lock) is type(threading.Lock())
    assert all(isinstance(one, threading.Condition) for one in (pool._pool.not_empty, pool._pool.not_full))
    with pool._pool.not_empty, pool._pool.not_full:
        mutex: Any = pool._pool.mutex
        assert mutex._is_owned()
    with engine.connect():
        assert pool._pool.qsize() == 0
    assert pool._pool.qsize() == 1


def test_a_queue_pool_closes_what_is_returned_while_its_queue_is_full(engine: Engine) -> None:
    class Refusing(Queue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            raise Full

    pool: Any = engine.pool
    closed = []
    event.listen(engine, "close", lambda dbapi_connection, record: closed.append(dbapi_connection))
    with engine.connect() as connection:
        inner = connection.connection.dbapi_connection
        pool._pool = Refusing(pool._pool.maxsize)
    assert closed == [inner]
    assert pool.checkedin() == 0


def test_a_pools_copy_has_its_size_order_and_listeners(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("pymysql"), pool_size=2, max_overflow=3, pool_use_lifo=True)
    seen: list[object] = []
    event.listen(engine, "checkout", lambda *arguments: seen.append(arguments))
    before: Any = engine.pool
    engine.dispose(close=False)
    after: Any = engine.pool
    assert after is not before
    assert (after.size(), after._max_overflow, after._pool.use_lifo) == (2, 3, True)
    with engine.connect():
        assert seen


def test_a_pools_limit_its_recycling_and_its_pings_can_be_read() -> None:
    def pool(**options: int) -> QueuePool:
        return QueuePool(lambda: sqlite3.connect(":memory:"), **options)  # type: ignore[arg-type]

    assert queue_pool.most_connections(pool(pool_size=2, max_overflow=3)) == 5
    assert queue_pool.most_connections(pool(max_overflow=-1)) is None
    assert queue_pool.recycles_after(pool(recycle=280)) == 280
    assert queue_pool.recycles_after(pool()) is None
    assert queue_pool.pings(pool(pre_ping=True))
    assert not queue_pool.pings(pool())


def test_a_record_makes_a_new_connection_after_it_was_invalidated(engine: Engine) -> None:
    with engine.connect() as connection:
        checkout: Any = connection.connection
        record = checkout._connection_record
        before = checkout.dbapi_connection
        assert record.dbapi_connection is before
        record.invalidate()
        assert record.dbapi_connection is None
        after = record.get_connection()
        assert after is record.dbapi_connection is not before
        checkout.dbapi_connection = after
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_detached_checkout_has_no_record(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.detach()
        checkout: Any = connection.connection
        assert checkout._connection_record is None


def test_a_checkout_names_its_pool_whose_listeners_can_be_called(engine: Engine) -> None:
    """queue_pool.replace: checkout listeners are told of a connection that takes another one's place."""
    seen: list[tuple[object, ...]] = []
    with engine.connect() as connection:
        checkout: Any = connection.connection
        assert checkout._pool is engine.pool
        event.listen(engine, "checkout", lambda *arguments: seen.append(arguments))
        arguments = (checkout.dbapi_connection, checkout._connection_record, checkout)
        checkout._pool.dispatch.checkout(*arguments)
        assert seen == [arguments]


def test_the_first_connection_can_be_made_the_first_again(server: Server, driver: str, held: EngineFactory) -> None:
    """queue_pool.initialise_again: what create_engine runs once is found in its listener's closure."""
    engine = held(server.url(driver))
    read(engine)
    version = engine.dialect.server_version_info
    engine.dialect.server_version_info = None
    engine.dispose()
    read(engine)
    assert engine.dialect.server_version_info is None, "SQLAlchemy asks once"
    queue_pool.initialise_again(engine)
    engine.dispose()
    read(engine)
    assert engine.dialect.server_version_info == version


# -- sqlalchemy_holdfast.pool.queue_pool: how checkouts wait --------------------------------------------


def test_a_held_queue_pool_is_one_and_so_is_its_copy(engine: Engine) -> None:
    before: Any = type(engine.pool)
    assert issubclass(before, QueuePool)
    assert before.__name__ == "QueuePool"
    engine.dispose()
    assert type(engine.pool) is before


def test_a_queue_pool_gets_and_returns_by_these_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for name in ("_do_get", "_do_return_conn", "_inc_overflow", "_create_connection"):
        original: Any = getattr(QueuePool, name)

        def noting(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            called.append(name)
            return original(self, *args)

        monkeypatch.setattr(QueuePool, name, noting)
    pool: Any = QueuePool(lambda: sqlite3.connect(":memory:"), pool_size=1)  # type: ignore[arg-type]
    pool.connect().close()
    assert called == ["_do_get", "_inc_overflow", "_create_connection", "_do_return_conn"]
    assert (pool._overflow, pool._max_overflow, pool._pool.qsize()) == (0, 10, 1)
    pool._dec_overflow()
    assert pool._overflow == -1
    pool.dispose()


def test_a_proxy_that_the_garbage_collector_returned_is_gone_by_then(engine: Engine) -> None:
    """Listeners._on_reset tells a connection that was returned from one that was lost."""
    seen = []

    def reset(dbapi_connection: Any, record: Any, state: Any) -> None:
        checkout: Any = dbapi_connection._holdfast.checkout
        seen.append(checkout() is not None)

    event.listen(engine, "reset", reset)
    engine.raw_connection().close()
    connection: Any = engine.raw_connection()
    del connection
    gc.collect()
    assert seen == [True, False]


# -- sqlalchemy_holdfast.transactions.orm ---------------------------------------------------------------


def test_a_sessions_transaction_knows_its_connections(engine: Engine) -> None:
    """There is no public list of them; a unit of work in a current session looks at each."""
    with Session(engine) as session:
        connection = session.connection()
        transaction: Any = session.get_transaction()
        assert {first for first, *_ in transaction._connections.values()} == {connection}
