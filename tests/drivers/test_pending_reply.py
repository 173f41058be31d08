"""A ROLLBACK whose reply has not been read: whatever comes next must not read it as its own."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id, read


def pending(engine: Engine) -> Any:
    """Return a raw pool connection on which a ROLLBACK was just sent."""
    fairy = engine.raw_connection()
    fairy.rollback()  # of what was sent while connecting; this one is waited for
    cursor = fairy.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    cursor.close()
    fairy.rollback()
    assert fairy.dbapi_connection._holdfast.pending  # type: ignore[union-attr]
    return fairy


def answer(connection: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute("SELECT 12345")
    rows = cursor.fetchall()
    cursor.close()
    return rows[0][0]


CALLS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "mysqldb": [
        ("autocommit", lambda c: (c.autocommit(True), c.autocommit(False))),
        ("autocommit unchanged", lambda c: c.autocommit(False)),
        ("begin", lambda c: c.begin()),
        ("change_user", lambda c: c.change_user("app", "app", "test")),
        ("character_set_name", lambda c: c.character_set_name()),
        ("commit", lambda c: c.commit()),
        ("escape", lambda c: c.literal("it's")),
        ("kill", lambda c: _refused(c.kill)),
        ("next_result", lambda c: c.next_result()),
        ("ping", lambda c: c.ping()),
        ("rollback", lambda c: c.rollback()),
        ("select_db", lambda c: c.select_db("test")),
        ("set_character_set", lambda c: c.set_character_set("utf8mb4")),
        ("set_server_option", lambda c: c.set_server_option(0)),
        ("set_sql_mode", lambda c: c.set_sql_mode("ANSI_QUOTES")),
        ("show_warnings", lambda c: c.show_warnings()),
        ("stat", lambda c: c.stat()),
        ("thread_id", lambda c: c.thread_id()),
    ],
    "pymysql": [
        ("autocommit", lambda c: (c.autocommit(True), c.autocommit(False))),
        ("autocommit unchanged", lambda c: c.autocommit(False)),
        ("begin", lambda c: c.begin()),
        ("commit", lambda c: c.commit()),
        ("escape", lambda c: c.escape("it's")),
        ("kill", lambda c: _refused(c.kill)),
        ("ping", lambda c: c.ping(reconnect=False)),
        ("rollback", lambda c: c.rollback()),
        ("select_db", lambda c: c.select_db("test")),
        ("set_character_set", lambda c: c.set_character_set("utf8mb4")),
        ("show_warnings", lambda c: c.show_warnings()),
        ("thread_id", lambda c: c.thread_id()),
    ],
    "mysqlconnector": [
        ("autocommit", lambda c: setattr(c, "autocommit", False)),
        ("autocommit read", lambda c: c.autocommit),
        ("cmd_change_user", lambda c: c.cmd_change_user("app", "app", "test")),
        ("cmd_init_db", lambda c: c.cmd_init_db("test")),
        ("cmd_ping", lambda c: c.cmd_ping()),
        ("cmd_process_kill", lambda c: _refused(c.cmd_process_kill)),
        ("cmd_query", lambda c: (c.cmd_query("SELECT 3"), c.get_rows())),
        ("cmd_query_iter", lambda c: [c.get_rows() for _ in c.cmd_query_iter("SELECT 4; SELECT 5")]),
        ("cmd_reset_connection", lambda c: c.cmd_reset_connection()),
        ("cmd_statistics", lambda c: c.cmd_statistics()),
        ("commit", lambda c: c.commit()),
        ("database", lambda c: c.database),
        ("info_query", lambda c: c.info_query("SELECT 6")),
        ("is_connected", lambda c: c.is_connected()),
        ("ping", lambda c: c.ping()),
        ("prepared", lambda c: _prepared(c)),
        ("reconnect", lambda c: c.reconnect()),
        ("reset_session", lambda c: c.reset_session()),
        ("rollback", lambda c: c.rollback()),
        ("set_charset_collation", lambda c: c.set_charset_collation("utf8mb4")),
        ("sql_mode", lambda c: setattr(c, "sql_mode", "ANSI_QUOTES")),
        ("start_transaction", lambda c: c.start_transaction()),
        ("time_zone", lambda c: setattr(c, "time_zone", "+00:00")),
    ],
}


def _refused(kill: Callable[[int], Any]) -> None:
    with pytest.raises(Exception, match="Unknown thread id"):
        kill(999_999_999)


def _prepared(connection: Any) -> None:
    cursor = connection.cursor(prepared=True, buffered=False)
    cursor.execute("SELECT %s", (3,))
    assert cursor.fetchall() == [(3,)]
    cursor.close()


@pytest.mark.parametrize(
    ("driver", "call"),
    [pytest.param(driver, call, id=f"{driver} {name}") for driver, calls in CALLS.items() for name, call in calls],
)
def test_any_method_of_the_driver_may_come_next(
    server: Server, held: EngineFactory, driver: str, call: Callable[[Any], Any]
) -> None:
    engine = held(server.url(driver))
    fairy = pending(engine)
    call(fairy.driver_connection)
    assert answer(fairy) == 12345
    fairy.close()
    assert read(engine, 9) == 9
    assert holdfast.status(engine).counters.replaced == {}


def test_the_lock_is_released_although_nobody_waited(server: Server, engine: Engine, table: str) -> None:
    server.execute(f"INSERT INTO {table} VALUES (1, 1)", database="test")
    for number in range(20):
        with engine.connect() as connection:
            connection.execute(text(f"UPDATE {table} SET value = value + 1 WHERE id = 1"))
        server.execute(f"UPDATE {table} SET value = {number} WHERE id = 1", database="test")
    assert server.execute(f"SELECT value FROM {table}", database="test") == [(19,)]


def test_uncommitted_work_is_never_seen_by_the_next_user(engine: Engine, table: str) -> None:
    for number in range(50):
        with engine.connect() as connection:
            connection.execute(text(f"INSERT INTO {table} VALUES ({number}, 0)"))
        with engine.connect() as connection:
            assert connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0


def test_explicit_rollback_then_more_work_on_the_same_connection(engine: Engine, table: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        connection.rollback()
        connection.execute(text(f"INSERT INTO {table} VALUES (2, 2)"))
        connection.commit()
        connection.rollback()
        assert connection.execute(text(f"SELECT id FROM {table}")).scalars().all() == [2]


def test_a_statement_that_fails_behind_a_rollback_fails_as_itself(engine: Engine) -> None:
    read(engine)
    with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="nowhere"):
            connection.execute(text("SELECT * FROM nowhere"))
        connection.rollback()
        assert connection.execute(text("SELECT 3")).scalar() == 3
    assert read(engine, 4) == 4
    assert holdfast.status(engine).counters.replaced == {}


@pytest.mark.parametrize("statement", ["CREATE TEMPORARY TABLE scratch (a INT)", "SET @a = 1", "DO 1"])
def test_a_statement_that_could_commit_waits_for_the_rollback(engine: Engine, statement: str) -> None:
    read(engine)
    before = holdfast.status(engine).counters.statements_pipelined
    with engine.connect() as connection:
        connection.execute(text(statement))
    assert holdfast.status(engine).counters.statements_pipelined == before


def test_a_rollback_that_fails_costs_the_connection_and_nothing_is_committed(
    server: Server, engine: Engine, table: str
) -> None:
    """In an XA transaction the server refuses ROLLBACK (1399)."""
    with pytest.raises(DBAPIError), engine.connect() as connection:  # noqa: PT012
        victim = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        connection.exec_driver_sql("XA START 'x'")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (1, 1)")
        connection.rollback()
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (2, 2)")
    assert connection_id(engine) != victim
    assert server.execute(f"SELECT COUNT(*) FROM {table}", database="test") == [(0,)]


def test_two_phase_commit_and_rollback(server: Server, engine: Engine, table: str) -> None:
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        transaction.prepare()
        transaction.commit()
        transaction = connection.begin_twophase()
        connection.execute(text(f"INSERT INTO {table} VALUES (2, 2)"))
        transaction.rollback()
    assert read(engine) == 1
    assert server.execute(f"SELECT id FROM {table}", database="test") == [(1,)]


def test_savepoints(engine: Engine, table: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        with contextlib.suppress(ZeroDivisionError), connection.begin_nested():
            connection.execute(text(f"INSERT INTO {table} VALUES (2, 2)"))
            raise ZeroDivisionError
        with connection.begin_nested():
            connection.execute(text(f"INSERT INTO {table} VALUES (3, 3)"))
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT id FROM {table} ORDER BY id")).scalars().all() == [1, 3]


def test_isolation_level_per_connection_and_per_engine(
    server: Server, driver: str, held: EngineFactory, table: str
) -> None:
    engine = held(server.url(driver))
    for _ in range(3):
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            assert connection.get_isolation_level() == "SERIALIZABLE"
            assert connection.execute(text("SELECT 12345")).scalar() == 12345
        with engine.connect() as connection:
            assert connection.get_isolation_level() == "REPEATABLE READ"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"REPLACE INTO {table} VALUES (1, 1)"))
        assert read(engine, 12345) == 12345
    assert server.execute(f"SELECT id FROM {table}", database="test") == [(1,)]
    for level in ("AUTOCOMMIT", "READ COMMITTED"):
        engine = held(server.url(driver), isolation_level=level)
        for number in range(5):
            assert read(engine, number) == number
        with engine.connect() as connection:
            connection.execute(text(f"REPLACE INTO {table} VALUES (2, 2)"))
        committed = server.execute(f"SELECT COUNT(*) FROM {table} WHERE id = 2", database="test")
        assert committed == [(1 if level == "AUTOCOMMIT" else 0,)]
        server.execute(f"DELETE FROM {table}", database="test")


def test_streamed_results_read_to_the_end_keep_the_connection(engine: Engine) -> None:
    numbers = text("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n")
    for _ in range(3):
        with engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            assert sum(row.i for row in connection.execute(numbers)) == 405450
        assert read(engine, 2) == 2
    assert holdfast.status(engine).counters.replaced == {}


@pytest.mark.filterwarnings("ignore:Previous unbuffered result was left incomplete")  # PyMySQL's, as in stock
def test_streamed_results_left_unread_cost_the_connection_at_the_most(engine: Engine) -> None:
    numbers = text("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n")
    for _ in range(3):
        with engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            result = connection.execute(numbers)
            assert result.fetchone() == (1,)
        assert read(engine, 2) == 2


def test_detached_and_invalidated_connections(server: Server, engine: Engine) -> None:
    with engine.connect() as connection:
        first = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        connection.detach()
        assert connection.execute(text("SELECT 3")).scalar() == 3
    assert connection_id(engine) != first
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.invalidate()
        connection.rollback()
        assert connection.execute(text("SELECT 4")).scalar() == 4
    fairy = pending(engine)
    fairy.invalidate()
    fairy.close()
    fairy = pending(engine)
    fairy.invalidate(soft=True)
    fairy.close()
    assert read(engine, 5) == 5
    engine.dispose()
    assert read(engine, 6) == 6


@pytest.mark.parametrize("pool", [NullPool, AssertionPool, StaticPool, SingletonThreadPool, QueuePool])
def test_every_pool_class_gives_right_answers(
    server: Server, driver: str, held: EngineFactory, pool: type, table: str
) -> None:
    engine = held(server.url(driver), poolclass=pool)
    for number in range(20):
        assert read(engine, number) == number
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 1
    deferring = pool in (NullPool, AssertionPool, QueuePool)
    assert bool(holdfast.status(engine).counters.rollbacks_deferred) is deferring


@pytest.mark.parametrize("lifo", [True, False])
def test_threads_share_a_queue_pool(server: Server, driver: str, held: EngineFactory, lifo: bool) -> None:
    engine = held(server.url(driver), pool_size=3, max_overflow=2, pool_use_lifo=lifo)
    wrong: list[Any] = []

    def work(thread: int) -> None:
        for number in range(60):
            value = thread * 1000 + number
            if read(engine, value) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert holdfast.status(engine).counters.checkouts >= 480


def test_static_pool_with_nested_checkouts(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), poolclass=StaticPool)
    with engine.connect() as outer:
        assert outer.execute(text("SELECT 1")).scalar() == 1
        with engine.connect() as inner:
            assert inner.execute(text("SELECT 2")).scalar() == 2
        assert outer.execute(text("SELECT 3")).scalar() == 3


def test_killed_while_the_reply_is_pending(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    first = connection_id(engine)
    proxy.hold_replies()
    fairy = engine.raw_connection()
    fairy.dbapi_connection._holdfast.nothing_to_roll_back = False  # type: ignore[union-attr]
    fairy.rollback()
    fairy.close()
    server.kill_connection(first)
    proxy.restore()
    proxy.drop()
    assert connection_id(engine) != first


def test_a_pending_reply_is_read_at_checkout_when_it_has_arrived(engine: Engine) -> None:
    read(engine)
    fairy = engine.raw_connection()
    state = fairy.dbapi_connection._holdfast  # type: ignore[union-attr]
    deadline = time.monotonic() + 60
    while state.pending and not state.events():
        assert time.monotonic() < deadline
    fairy.close()
    fairy = engine.raw_connection()
    assert not state.pending
    assert state.nothing_to_roll_back
    fairy.close()


def test_leaked_connections_are_rolled_back_when_collected(server: Server, engine: Engine, table: str) -> None:
    server.execute(f"INSERT INTO {table} VALUES (1, 1)", database="test")
    connection = engine.connect()
    connection.execute(text(f"UPDATE {table} SET value = 2 WHERE id = 1"))
    del connection
    gc.collect()
    server.execute(f"UPDATE {table} SET value = 3 WHERE id = 1", database="test")
    assert read(engine, 8) == 8


def test_errors_keep_their_classes(engine: Engine, table: str) -> None:
    with engine.connect() as connection:
        with pytest.raises((OperationalError, InternalError, DBAPIError)) as caught:
            connection.execute(text("SELEC 1"))
        assert not caught.value.connection_invalidated


def test_executemany_comes_right_behind_a_rollback(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, table: str
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    proxy.delay = 0.01
    for number in range(3):
        read(engine)
        with engine.begin() as connection:
            rows = [{"i": number * 2}, {"i": number * 2 + 1}]
            connection.execute(text(f"INSERT INTO {table} VALUES (:i, 0)"), rows)
    proxy.delay = 0
    assert server.execute(f"SELECT COUNT(*) FROM {table}", database="test") == [(6,)]


def test_a_statement_of_several_packets_behind_a_rollback(driver: str, held: EngineFactory) -> None:
    with Server(options={"max_allowed_packet": "64M"}) as server, Proxy.for_server(server, delay=0.02) as proxy:
        engine = held(server.url(driver, host=proxy.host, port=proxy.port))
        read(engine)
        with engine.connect() as connection:
            long = "x" * 17_000_000
            assert connection.exec_driver_sql(f"SELECT LENGTH('{long}')").scalar() == len(long)
        engine.dispose()
