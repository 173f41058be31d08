"""What a hostile reviewer broke once: each stays mended."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

import MySQLdb.connections
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, OperationalError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.server.statements import is_plain_read, may_follow_rollback
from tests.conftest import EngineFactory, connection_id, eventually, read, wait_until_ended


class SoftTimeLimit(Exception):
    pass


@pytest.fixture
def soft_limit() -> Iterator[None]:
    def handler(number: int, frame: object) -> None:
        raise SoftTimeLimit

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [str, str.encode, lambda s: bytearray(s.encode()), lambda s: memoryview(s.encode())])
def test_statements_are_classified_whatever_type_they_have(kind: Any) -> None:
    assert may_follow_rollback(kind("INSERT INTO t VALUES (1)"))
    assert may_follow_rollback(kind("\n  select 1"))
    assert not may_follow_rollback(kind("COMMIT"))
    assert not may_follow_rollback(kind("SELECT '" + "x" * 2_000_000 + "'"))
    assert is_plain_read(kind("SELECT 1"))
    assert not is_plain_read(kind("SELECT 1 FROM t FOR UPDATE"))
    assert not is_plain_read(kind("select 1 from t lock in share mode"))
    assert not is_plain_read(kind("SELECT 1 FROM t FOR UPDATE /*" + "traceparent " * 20 + "*/"))
    assert not is_plain_read(kind("UPDATE t SET a = 1"))


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


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_a_lost_connection_with_an_isolation_level_to_put_back_costs_no_place_in_the_pool(
    server: Server, driver: str, held: EngineFactory, level: Any
) -> None:
    engine = held(server.url(driver), pool_size=2, max_overflow=0, pool_timeout=20)
    for _ in range(4):
        with engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            server.kill_connection(mine.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            wait_until_ended(connection.connection.driver_connection)
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 4}


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_nor_does_one_whose_end_has_not_arrived_yet(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, level: Any
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, pool_size=1, max_overflow=0, pool_timeout=20)
    proxy.delay = 0.02
    for _ in range(2):
        with contextlib.suppress(DBAPIError), engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            number = mine.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            mine.commit()
            server.kill_connection(number)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    proxy.delay = 0
    assert read(engine, 5) == 5


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_nor_does_one_that_ends_while_it_is_being_returned(
    server: Server, driver: str, held: EngineFactory, level: Any
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_timeout=20)
    doomed: list[int] = []

    @event.listens_for(engine, "reset")  # after holdfast's, before the level is put back
    def kill(dbapi_connection: Any, record: Any, state: Any) -> None:
        if doomed:
            server.kill_connection(doomed.pop())
            wait_until_ended(dbapi_connection)

    for _ in range(2):
        with engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            doomed.append(mine.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            mine.commit()
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert read(engine, 5) == 5
    assert sum(holdfast.status(engine).counters.replaced.values()) == 2


@pytest.mark.usefixtures("soft_limit")
def test_an_interrupted_send_is_never_continued_by_the_next_user(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, table: str
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    server.execute("SET GLOBAL max_allowed_packet = 64 * 1024 * 1024")
    read(engine)
    if driver == "mysqldb":
        pytest.skip("the C library does not come back from a send before it is done")
    main = threading.get_ident()

    def interrupt(fd: int, before: int) -> None:
        eventually(lambda: sent(fd) > before + 100_000)
        signal.pthread_kill(main, signal.SIGALRM)

    with pytest.raises(SoftTimeLimit), engine.begin() as connection:  # noqa: PT012
        connection.exec_driver_sql("SELECT 1")  # no reply is left behind the proxy
        proxy.freeze()
        state: Any = connection.connection.dbapi_connection
        interrupting = threading.Thread(target=interrupt, args=(state._holdfast.fd, sent(state._holdfast.fd)))
        interrupting.start()
        connection.exec_driver_sql("SELECT '" + "x" * 12_000_000 + "'")
    interrupting.join()
    proxy.restore()
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.replaced == {Cause.INTERRUPTED: 1}


def sent(fd: int) -> int:
    """How many bytes were given to the system to send, whether the peer has them yet or not."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        acknowledged = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)[120:]  # the last field: __u64
        return int.from_bytes(acknowledged, sys.byteorder) + int.from_bytes(
            fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )


def test_a_default_timeout_for_sockets_changes_nothing(server: Server, driver: str, held: EngineFactory) -> None:
    socket.setdefaulttimeout(30)
    try:
        engine = held(server.url(driver))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT SLEEP(0.1)")).scalar() == 0
    finally:
        socket.setdefaulttimeout(None)


def test_a_statement_of_several_packets_behind_a_rollback(driver: str, held: EngineFactory) -> None:
    with Server(options={"max_allowed_packet": "64M"}) as server, Proxy.for_server(server, delay=0.02) as proxy:
        engine = held(server.url(driver, host=proxy.host, port=proxy.port))
        read(engine)
        with engine.connect() as connection:
            long = "x" * 17_000_000
            assert connection.exec_driver_sql(f"SELECT LENGTH('{long}')").scalar() == len(long)
        engine.dispose()


def test_pymysql_finds_tls_when_a_server_comes_to_require_it(server: Server, held: EngineFactory) -> None:
    strict = {"require_secure_transport": "ON"}
    with Server(tls=True, options=strict) as secure, Proxy.for_server(server) as proxy:
        engine = held(server.url("pymysql", host=proxy.host, port=proxy.port))
        assert read(engine) == 1
        engine.dispose()
        proxy._target = lambda: (secure.host, secure.port)
        assert read(engine, 2) == 2


def test_what_was_written_is_unlocked_when_rollback_returns(
    server: Server, driver: str, held: EngineFactory, table: str
) -> None:
    server.execute(f"INSERT INTO {table} VALUES (1, 1)", database="test")
    engine = held(server.url(driver))
    with engine.connect() as writer, engine.connect() as other:
        for _ in range(40):
            writer.execute(text(f"UPDATE {table} SET value = 2"))
            writer.rollback()
            other.execute(text(f"SELECT * FROM {table} FOR UPDATE NOWAIT"))
            other.rollback()
    assert holdfast.status(engine).counters.rollbacks_deferred == 0


def test_giving_a_connection_up_in_rollback_unlocks_what_it_had_locked(
    server: Server, held: EngineFactory, table: str
) -> None:
    server.execute(f"INSERT INTO {table} SELECT seq, 0 FROM seq_1_to_20000", database="test")
    engine = held(server.url("mysqldb"))
    with engine.connect() as mine, engine.connect() as other:
        mine.execute(text(f"UPDATE {table} SET value = 1 WHERE id = 1"))
        mine.execution_options(stream_results=True).execute(text(f"SELECT * FROM {table}")).fetchone()
        mine.rollback()
        assert other.execute(text(f"UPDATE {table} SET value = 2 WHERE id = 1")).rowcount == 1


def test_an_error_of_a_rollback_reaches_the_one_who_caused_it(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    proxy.delay = 0.01
    gc.disable()  # in the proxy's own thread the collector would wait for the proxy
    try:
        with pytest.raises(DBAPIError, match="1399"), engine.connect() as connection:
            connection.exec_driver_sql("XA START 'x'")
        del connection
        gc.collect()  # SQLAlchemy leaves a connection whose close() raised to the collector
    finally:
        gc.enable()
    assert read(engine, 7) == 7


def test_a_subclass_that_waits_in_its_own_way_works(server: Server, held: EngineFactory) -> None:
    class Cooperative(MySQLdb.connections.Connection):  # type: ignore[misc]
        rolled_back = 0

        def query(self, query: Any) -> None:
            self.send_query(bytes(query))
            self.read_query_result()

        def rollback(self) -> None:
            Cooperative.rolled_back += 1
            super().rollback()

    def connect() -> Any:
        return Cooperative(unix_socket=server.socket, user="app", password="app", database="test")

    engine = held(server.url("mysqldb"), creator=connect)
    for number in range(5):
        assert read(engine, number) == number
    assert Cooperative.rolled_back >= 5


def test_a_read_timeout_of_the_connector_costs_a_raw_connection_too(server: Server, held: EngineFactory) -> None:
    options = {"read_timeout": 1}
    engine = held(server.url("mysqlconnector"), pool_size=1, max_overflow=0, connect_args=options)
    fairy = engine.raw_connection()
    with pytest.raises(Exception, match=r"timed out|3024"):
        fairy.cursor().execute("DO SLEEP(2)")
    fairy.close()
    assert read(engine, 11) == 11


def test_closing_does_not_wait_for_a_mute_peer(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=4)
    open_now = [engine.connect() for _ in range(4)]
    for connection in open_now:
        for _ in range(2):
            connection.rollback()
            connection.execute(text("SELECT 1"))
    proxy.hold_replies()
    for connection in open_now:
        connection.close()
    began = time.monotonic()
    engine.dispose()
    assert time.monotonic() - began < 10, "it would be for ever"


def test_urls_that_stock_accepts_are_accepted(server: Server, held: EngineFactory) -> None:
    server.execute("CREATE DATABASE IF NOT EXISTS `db@prod`")
    server.create_account("odd", "100%")
    engine = holdfast.create_engine(f"mysql+pymysql://odd:100%@{server.host}:{server.port}/db@prod")
    assert read(engine, 3) == 3
    engine.dispose()


def test_a_killed_connection_of_the_connector_fails_with_the_class_of_stock(
    server: Server, held: EngineFactory
) -> None:
    engine = held(server.url("mysqlconnector"))
    with engine.connect() as connection:
        server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        wait_until_ended(connection.connection.driver_connection)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    assert connection_id(engine)
