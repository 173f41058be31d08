"""Faults: what the client sees, what the server has, and that the next connection after restore() works."""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.lab.helpers import eventually
from tests.lab.network.clients import Connect, error_code, ids, query

pytestmark = pytest.mark.usefixtures("nobody_else")


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
    assert error_code(lambda: query(connection, "CREATE TABLE test.never (a INT)")) == 2013  # its read timeout
    assert error_code(lambda: client(connect_timeout=1, read_timeout=1)) == 2013  # connected, and no greeting
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
    assert error_code(lambda: query(connection)) in (2006, 2013, 1927)


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
    assert error_code(lambda: query(connection)) in (2006, 2013)
    assert proxy.open_connections == 0
    eventually(lambda: ids(server) == [])
    query(client())  # acts once


@pytest.mark.usefixtures("healed")
def test_half_close(proxy: Proxy, server: Server, client: Connect) -> None:
    connection = client()
    proxy.half_close()
    assert connection._sock.recv(1) == b""
    assert error_code(lambda: query(connection, "CREATE TABLE test.never (a INT)")) == 2013
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
    assert error_code(lambda: query(connection)) == 2013
    assert proxy.open_connections == 0
    eventually(lambda: ids(server) == [])
    query(client())  # acts once


@pytest.mark.usefixtures("healed")
def test_refuse(proxy: Proxy, client: Connect) -> None:
    connection, port = client(), proxy.port
    for _ in range(2):
        proxy.refuse()
        assert error_code(client) == 2003
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
    assert error_code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
    eventually(lambda: server.execute(f"SELECT * FROM test.{table}") == [(1, 1)])


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("size", [0, 3, 7])
def test_truncate_reply(proxy: Proxy, server: Server, client: Connect, table: str, size: int) -> None:
    connection, other = client(), client()
    proxy.truncate_reply(size)
    assert error_code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
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
    assert error_code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
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
    assert error_code(lambda: query(connection, f"INSERT INTO {table} VALUES (1, 1)")) == 2013
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
