"""A statement whose sending an exception has interrupted: nobody sends the rest of it."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import termios
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, eventually, read


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
