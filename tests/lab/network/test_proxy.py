"""A Proxy passes on what happens at either end, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time

import pytest

from sqlalchemy_holdfast.lab import LabError, Proxy, Server
from tests.lab.helpers import connect, eventually
from tests.lab.network.clients import Connect, error_code, ids, query

pytestmark = pytest.mark.usefixtures("nobody_else")


# What happens at the other end is passed on


@pytest.mark.parametrize("delay", [0, 0.01])
def test_a_server_that_kills_the_connection_is_heard(
    proxy: Proxy, server: Server, client: Connect, delay: float
) -> None:
    connection = client()
    proxy.delay = delay
    server.kill_connection(connection.thread_id())
    assert select.select([connection._sock], [], [], 60)[0] != []
    assert error_code(lambda: query(connection)) in (2006, 2013, 1927)
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
            assert error_code(lambda: connect("pymysql", proxy.host, proxy.port)) in (2003, 2013)
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
