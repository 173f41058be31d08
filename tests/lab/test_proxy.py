"""A Proxy passes everything on, counts it, delays it, and breaks in the way it was told to."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from sqlalchemy_holdfast.lab import LabError, Measurement, Proxy, Server
from tests.lab.helpers import connect, eventually


def query(client: Any, sql: str = "SELECT 1") -> Any:
    cursor = client.cursor()
    cursor.execute(sql)
    return cursor.fetchall()


def code(act: Callable[[], object]) -> int:
    """Return the number of the error that PyMySQL raises."""
    with pytest.raises(pymysql.err.OperationalError) as caught:
        act()
    return int(caught.value.args[0])


Connect = Callable[..., Any]


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Connect]:
    """Connects through the proxy."""
    clients = []

    def connect_through(**more: Any) -> Any:
        more = {"read_timeout": 60, "connect_timeout": 60, "autocommit": True, **more}
        clients.append(connect("pymysql", proxy.host, proxy.port, **more))
        return clients[-1]

    yield connect_through
    for one in clients:
        one._force_close()


def ids(server: Server) -> list[int]:
    return [process.id for process in server.processlist(user="app")]


@pytest.fixture(autouse=True)
def nobody_else(server: Server) -> None:
    server.kill_connections()
    eventually(lambda: ids(server) == [])


# Counting


def test_commands_of_every_driver_are_counted_exactly(proxy: Proxy, driver: str) -> None:
    connection = connect(driver, proxy.host, proxy.port)
    cursor = connection.cursor()
    proxy.reset_counts()
    cursor.execute("SELECT 'é' AS name")
    assert cursor.fetchall()
    connection.rollback()
    connection.ping()
    connection.close()
    assert proxy.commands == {"COM_QUERY": 2, "COM_PING": 1, "COM_QUIT": 1}
    assert proxy.statements == ["SELECT 'é' AS name", "ROLLBACK"]
    assert proxy.connections == 0


def test_commands_beyond_queries_have_their_names(proxy: Proxy) -> None:
    connection = connect("mysqlconnector", proxy.host, proxy.port)
    proxy.reset_counts()
    connection.cmd_init_db("mysql")
    connection.cmd_reset_connection()
    connection.cmd_change_user("app", "app", "test")
    counts = proxy.commands
    assert {name: counts[name] for name in ("COM_INIT_DB", "COM_RESET_CONNECTION", "COM_CHANGE_USER")} == {
        "COM_INIT_DB": 1,
        "COM_RESET_CONNECTION": 1,
        "COM_CHANGE_USER": 1,
    }
    cursor = connection.cursor(prepared=True)
    proxy.reset_counts()
    for value in (1, 2):
        cursor.execute("SELECT ?", (value,))
        assert cursor.fetchall() == [(value,)]
    counts = proxy.commands
    assert (counts["COM_STMT_PREPARE"], counts["COM_STMT_EXECUTE"], counts["COM_QUERY"]) == (1, 2, 0)
    connection.close()


def test_local_data_of_some_megabytes_are_one_command(proxy: Proxy, server: Server, client: Connect) -> None:
    server.execute("CREATE OR REPLACE TABLE test.loaded (line VARCHAR(100)) ENGINE=InnoDB")
    connection = client(local_infile=True, read_timeout=20)
    lines = b"".join(b"%090d\n" % number for number in range(60_000))
    path = server.directory / "tmp" / "lines"
    path.write_bytes(lines)
    with proxy.measure() as work:
        query(connection, f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE loaded")
    assert work.commands == {"COM_QUERY": 1}
    assert query(connection, "SELECT COUNT(*) FROM loaded") == ((60_000,),)
    server.execute("DROP TABLE test.loaded")


def test_measure_counts_only_its_block(proxy: Proxy, client: Connect) -> None:
    connection = client()
    query(connection)
    began = time.monotonic()
    with proxy.measure(units=4) as work:
        for number in range(4):
            query(connection, f"SELECT {number}")
            connection.ping(reconnect=False)
    query(connection)
    assert work.commands == {"COM_QUERY": 4, "COM_PING": 4}
    assert work.statements == ["SELECT 0", "SELECT 1", "SELECT 2", "SELECT 3"]
    assert work.commands_per_unit == 2
    assert math.isnan(work.waits_per_unit)
    assert 0 < work.seconds < time.monotonic() - began
    with pytest.raises(ValueError, match="units"), proxy.measure(units=0):
        pass


def test_connections_are_counted(proxy: Proxy, client: Connect) -> None:
    first, second = client(), client()
    assert (proxy.connections, proxy.open_connections) == (2, 2)
    first.close()
    eventually(lambda: proxy.open_connections == 1)
    assert proxy.connections == 2
    query(second)


def test_tls_passes_unread(tls_server: Server) -> None:
    with Proxy.for_server(tls_server) as proxy:
        for driver in ("pymysql", "mysqldb"):
            connection = connect(driver, proxy.host, proxy.port, ssl={"ca": tls_server.tls_ca})
            assert query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1] != ""
            connection.close()
        assert (proxy.connections, proxy.commands) == (2, {})


def test_compression_passes_unread(proxy: Proxy) -> None:
    connection = connect("mysqldb", proxy.host, proxy.port, compress=True)
    assert len(query(connection, "SELECT REPEAT('a', 100000)")[0][0]) == 100_000
    connection.close()
    assert proxy.commands == {}


# Delay


@pytest.mark.slow
def test_delay_is_added_to_each_round_trip(proxy: Proxy, client: Connect) -> None:
    connection = client()
    proxy.delay = 0.005
    delayed = [measured(proxy, connection) for _ in range(50)]
    proxy.delay = 0
    at_once = [measured(proxy, connection) for _ in range(50)]
    # Other load on the machine makes one longer, nothing makes one shorter.
    assert 0.01 < min(work.seconds for work in delayed) < 0.0175
    assert 1 < min(work.waits_per_unit for work in delayed) < 1.75
    assert min(work.seconds for work in at_once) < 0.01


def measured(proxy: Proxy, connection: Any, sql: str = "SELECT 1") -> Measurement:
    with proxy.measure() as work:
        query(connection, sql)
    return work


@pytest.mark.slow
def test_delay_does_not_limit_how_much_passes_and_keeps_the_order(proxy: Proxy, client: Connect) -> None:
    connection = client()
    much = "SELECT REPEAT('x', 10000000)"
    assert len(query(connection, much)[0][0]) == 10_000_000
    at_once = min(measured(proxy, connection, much).seconds for _ in range(4))
    proxy.delay = 0.05
    delayed = min(measured(proxy, connection, much).seconds for _ in range(4))
    assert delayed < at_once + 0.5, "one delay for each part that is read would make two seconds"
    rows = query(connection, "SELECT seq, REPEAT('x', 500) FROM seq_1_to_20000")
    assert [row[0] for row in rows] == list(range(1, 20_001))


def test_a_shorter_delay_does_not_let_bytes_overtake(proxy: Proxy, client: Connect) -> None:
    connection = client()
    proxy.delay = 0.05
    connection._execute_command(3, "SELECT 'first'")
    eventually(lambda: "SELECT 'first'" in proxy.statements)
    proxy.delay = 0
    connection._sock.sendall(b"\x0e\0\0\0\x03SELECT 'next'")
    assert connection._read_query_result() == 1
    assert connection._result.rows == (("first",),)
    connection._next_seq_id = 1
    connection._read_query_result()
    assert connection._result.rows == (("next",),)


@pytest.mark.parametrize("delay", [-1, math.inf, math.nan])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay"):
        Proxy("127.0.0.1", 1, delay=delay)


# Faults: what the client sees, what the server has, and that the next connection after restore() works


@pytest.fixture
def healed(proxy: Proxy, client: Connect) -> Iterator[None]:
    yield
    proxy.restore()
    assert query(client()) == ((1,),)


@pytest.mark.slow
@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("fault", ["blackhole", "freeze"])
def test_silence(proxy: Proxy, server: Server, client: Connect, fault: str) -> None:
    connection = client(read_timeout=1)
    getattr(proxy, fault)()
    assert code(lambda: query(connection, "CREATE TABLE test.never (a INT)")) == 2013  # its read timeout
    assert code(lambda: client(connect_timeout=1, read_timeout=1)) == 2013  # connected, and no greeting
    assert ids(server) == [connection.thread_id()]
    assert server.execute("SHOW TABLES FROM test LIKE 'never'") == []
    server.kill_connections()
    proxy.drop()


@pytest.mark.slow
@pytest.mark.usefixtures("healed")
def test_blackhole_reads_what_clients_send_and_freeze_does_not(proxy: Proxy) -> None:
    megabytes = b"\xff" * (32 * 1024 * 1024)

    def accepted() -> int:
        with socket.create_connection((proxy.host, proxy.port)) as sock:
            sock.settimeout(0.3)
            view, sent = memoryview(megabytes), 0
            try:
                while sent < len(megabytes):
                    sent += sock.send(view[sent:])
            except TimeoutError:
                pass
            return sent

    proxy.blackhole()
    assert accepted() == len(megabytes)
    proxy.drop()
    proxy.freeze()
    assert accepted() < len(megabytes)
    proxy.drop()


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("fault", ["blackhole", "freeze", "hold_replies"])
def test_what_was_held_goes_on_after_restore(proxy: Proxy, client: Connect, fault: str) -> None:
    connection = client()
    getattr(proxy, fault)()
    threading.Timer(0.05, proxy.restore).start()
    assert query(connection, "SELECT 7") == ((7,),)
    assert query(connection, "SELECT 8") == ((8,),)


@pytest.mark.usefixtures("healed")
def test_an_end_by_the_server_is_not_heard_through_a_blackhole(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    proxy.blackhole()
    server.kill_connections()
    eventually(lambda: ids(server) == [])
    assert select.select([connection._sock], [], [], 0.05)[0] == []
    proxy.restore()
    assert select.select([connection._sock], [], [], 60)[0] != []
    assert code(lambda: query(connection)) in (2006, 2013, 1927)


@pytest.mark.slow
@pytest.mark.usefixtures("healed")
@pytest.mark.skipif(sys.platform != "linux", reason="needs IP_MINTTL")
def test_lost_packets_are_not_acknowledged_and_come_again_after_restore(proxy: Proxy, client: Connect) -> None:
    connection = client()
    eventually(lambda: unacknowledged(connection._sock) == 0)
    proxy.lose_packets()
    connection._execute_command(3, "SELECT 7")
    query(client())  # a new connection works
    assert unacknowledged(connection._sock) > 0
    assert "SELECT 7" not in proxy.statements
    proxy.restore()
    connection._read_query_result()
    assert connection._result.rows == ((7,),)
    assert unacknowledged(connection._sock) == 0


def unacknowledged(sock: socket.socket) -> int:
    """How many bytes were sent and have not been acknowledged."""
    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


@pytest.mark.usefixtures("healed")
def test_reset(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        connection._sock.recv(1)
    assert code(lambda: query(connection)) in (2006, 2013)
    assert proxy.open_connections == 0
    eventually(lambda: ids(server) == [])
    query(client())  # acts once


@pytest.mark.usefixtures("healed")
def test_half_close(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    proxy.half_close()
    assert connection._sock.recv(1) == b""
    assert code(lambda: query(connection, "CREATE TABLE test.never (a INT)")) == 2013
    connection.close()
    query(client())  # acts once
    assert connection.thread_id() in ids(server)
    assert server.execute("SHOW TABLES FROM test LIKE 'never'") == []
    proxy.restore()
    eventually(lambda: connection.thread_id() not in ids(server))


@pytest.mark.usefixtures("healed")
def test_drop(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    proxy.drop()
    assert connection._sock.recv(1) == b""
    assert code(lambda: query(connection)) == 2013
    assert proxy.open_connections == 0
    eventually(lambda: ids(server) == [])
    query(client())  # acts once


@pytest.mark.usefixtures("healed")
def test_refuse(proxy: Proxy, client: Connect) -> None:
    connection, port = client(), proxy.port
    for _ in range(2):
        proxy.refuse()
        assert code(client) == 2003
        query(connection)
    proxy.restore()
    assert proxy.port == port
    query(client())
    query(connection)


@pytest.mark.slow
@pytest.mark.usefixtures("healed")
def test_hold_replies(proxy: Proxy, server: Server, client: Connect, table: str) -> None:
    connection = client(read_timeout=1)
    proxy.hold_replies()
    assert code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
    eventually(lambda: server.execute(f"SELECT * FROM test.{table}") == [(1, 1)])


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("size", [0, 3, 7])
def test_truncate_reply(proxy: Proxy, server: Server, client: Connect, table: str, size: int) -> None:
    connection, other = client(), client()
    proxy.truncate_reply(size)
    assert code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
    assert server.execute(f"SELECT * FROM test.{table}") == [(1, 1)]
    query(other)  # once


@pytest.mark.usefixtures("healed")
def test_a_truncated_reply_has_exactly_so_many_bytes(proxy: Proxy) -> None:
    proxy.truncate_reply(9)
    with socket.create_connection((proxy.host, proxy.port)) as sock:
        assert len(sock.recv(9, socket.MSG_WAITALL)) == 9
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with pytest.raises(ValueError, match="bytes"):
        proxy.truncate_reply(-1)


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("size", [0, 3, 20])
def test_truncate_request(proxy: Proxy, server: Server, client: Connect, table: str, size: int) -> None:
    connection, other = client(), client()
    proxy.truncate_request(size)
    assert code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
    assert server.execute(f"SELECT * FROM test.{table}") == []
    query(other)  # once
    proxy.truncate_request(0)
    proxy.restore()
    query(other)
    with pytest.raises(ValueError, match="bytes"):
        proxy.truncate_request(-1)


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("server_knows", [True, False], ids=["both sides", "the client's side"])
@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "not delivered"])
def test_cut_at(proxy: Proxy, server: Server, client: Connect, table: str, delivered: bool, server_knows: bool) -> None:
    connection, other = client(), client()
    number = connection.thread_id()
    proxy.cut_at(f"INSERT INTO {table}", delivered=delivered, server_knows=server_knows)
    query(connection)
    query(other)
    assert code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
    eventually(lambda: server.execute(f"SELECT * FROM test.{table}") == ([(1, 1)] if delivered else []))
    eventually(lambda: any(process.id == number for process in server.processlist()) is not server_knows)
    query(other, f"INSERT INTO {table} VALUES (2, 2)")  # once
    proxy.restore()
    eventually(lambda: not any(process.id == number for process in server.processlist()))


@pytest.mark.usefixtures("healed")
def test_restore_calls_a_truncation_off(proxy: Proxy, client: Connect) -> None:
    connection = client()
    proxy.truncate_reply(0)
    proxy.restore()
    query(connection)


# What happens at the other end is passed on


@pytest.mark.parametrize("delay", [0, 0.01])
def test_a_server_that_kills_the_connection_is_heard(
    proxy: Proxy, server: Server, client: Connect, delay: float
) -> None:
    connection = client()
    proxy.delay = delay
    server.kill_connection(connection.thread_id())
    assert select.select([connection._sock], [], [], 60)[0] != []
    assert code(lambda: query(connection)) in (2006, 2013, 1927)
    eventually(lambda: proxy.open_connections == 0)


def test_a_client_that_vanishes_frees_its_session(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    connection._force_close()
    eventually(lambda: ids(server) == [])
    assert proxy.open_connections == 0


def test_a_server_that_is_not_there_ends_the_connection_without_a_greeting() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Proxy("127.0.0.1", unused.getsockname()[1]) as proxy:
            assert code(lambda: connect("pymysql", proxy.host, proxy.port)) in (2003, 2013)
            assert proxy.open_connections == 0


# Life


def test_closing_leaves_no_thread_and_no_descriptor(server: Server) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/dev/fd"))
    proxy = Proxy.for_server(server).start()
    clients = [connect("pymysql", proxy.host, proxy.port) for _ in range(3)]
    proxy.freeze()
    proxy.refuse()
    port = proxy.port
    proxy.close()
    proxy.close()
    for one in clients:
        assert one._sock.recv(1) == b""
        one._force_close()
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == (threads, descriptors)
    assert proxy.commands["COM_QUERY"] > 0
    with pytest.raises(LabError, match="start"):
        proxy.drop()
    with socket.socket() as sock:
        assert sock.connect_ex((proxy.host, port)) == errno.ECONNREFUSED


def test_a_forked_child_does_not_keep_connections_open(proxy: Proxy, client: Connect) -> None:
    connection = client()
    child = os.fork()
    if child == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        query(connection)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection._sock.recv(1)
        query(client())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_is_told_that_the_proxy_is_not_its_own(proxy: Proxy) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            proxy.drop()
        except LabError:
            proxy.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.slow
def test_many_clients_at_once(proxy: Proxy, driver: str) -> None:
    def work() -> None:
        for _ in range(5):
            connection = connect(driver, proxy.host, proxy.port)
            query(connection, "SELECT REPEAT('a', 300000)")
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.connections == 30
    assert proxy.statements.count("SELECT REPEAT('a', 300000)") == 30
    eventually(lambda: proxy.open_connections == 0)


@pytest.mark.slow
def test_the_thread_sleeps_when_nothing_happens(proxy: Proxy, client: Connect) -> None:
    def busy() -> float:
        before = time.process_time()
        select.select([], [], [], 0.05)
        return time.process_time() - before

    connection, other = client(), client()
    for act in (proxy.restore, proxy.hold_replies, proxy.blackhole, proxy.freeze, proxy.refuse):
        act()
        assert busy() < 0.02, act
    proxy.restore()
    proxy.half_close()
    connection._force_close()
    assert busy() < 0.02
    proxy.restore()
    other._force_close()
    assert busy() < 0.02


@pytest.mark.mysql
def test_commands_to_mysql_are_counted_exactly(mysql_server: Server, driver: str) -> None:
    with Proxy.for_server(mysql_server) as proxy:
        connection = connect(driver, proxy.host, proxy.port)
        cursor = connection.cursor()
        proxy.reset_counts()
        cursor.execute("SELECT 'é' AS name")
        assert cursor.fetchall()
        connection.rollback()
        connection.ping()
        connection.close()
        assert proxy.commands == {"COM_QUERY": 2, "COM_PING": 1, "COM_QUIT": 1}
        assert proxy.statements == ["SELECT 'é' AS name", "ROLLBACK"]
