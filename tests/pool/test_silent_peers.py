"""A peer that vanished without a word: how long a request waits for it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, eventually, read

PROBE = {"holdfast_probe_after_idle": 0.2, "holdfast_probe_timeout": 0.5}
# Where a time has an upper bound here, that lies below what it would take if the setting were not obeyed: the default
# of the probe is 5 s, that of TCP_USER_TIMEOUT 60 s, and without one it is minutes.


def test_an_idle_connection_that_a_firewall_forgot_costs_one_bounded_probe(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), **PROBE)
    read(engine)
    proxy.lose_packets()
    time.sleep(0.25)  # the idle time itself is what is tested
    began = time.monotonic()
    assert read(engine, 5) == 5
    assert 0.4 < time.monotonic() - began < 4.0
    counters = holdfast.status(engine).counters
    assert counters.replaced == {Cause.SILENT: 1}
    assert counters.probes == 1
    assert any(Cause.SILENT in line for line in log())


def test_an_idle_connection_to_a_server_that_hangs_costs_one_bounded_probe(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    """The peer acknowledges everything and answers nothing: no TCP timer ever ends that."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), **PROBE)
    read(engine)
    proxy.blackhole()
    time.sleep(0.25)

    def heal() -> None:  # or the new connection would wait for its greeting
        eventually(lambda: holdfast.status(engine).counters.replaced)
        proxy.restore()

    healed = threading.Thread(target=heal)
    healed.start()
    began = time.monotonic()
    assert read(engine, 5) == 5
    assert time.monotonic() - began < 4.0
    healed.join()
    assert holdfast.status(engine).counters.replaced == {Cause.SILENT: 1}


def test_a_probe_that_is_answered_keeps_the_connection(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    patient = {**PROBE, "holdfast_probe_timeout": 60}
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), **patient)
    read(engine)
    time.sleep(0.25)
    proxy.reset_counts()
    assert read(engine, 5) == 5
    assert proxy.commands.total() <= 3, "one ROLLBACK more than without"
    counters = holdfast.status(engine).counters
    assert (counters.probes, counters.connects, counters.replaced) == (1, 1, {})


def test_a_statement_to_a_vanished_peer_ends_after_the_tcp_timeout(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), holdfast_tcp_user_timeout=1)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        proxy.lose_packets()
        began = time.monotonic()
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT 1"))
        assert time.monotonic() - began < 30
        assert caught.value.connection_invalidated
    assert read(engine, 5) == 5


def test_a_wait_for_a_reply_from_a_vanished_peer_ends_by_keepalive(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(
        server.url(driver, host=proxy.host, port=proxy.port), holdfast_keepalive_idle=1, holdfast_tcp_user_timeout=2
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar()

        def vanish() -> None:
            eventually(lambda: any(p.id == number and "SLEEP" in (p.info or "") for p in server.processlist()))
            proxy.lose_packets()

        vanishing = threading.Thread(target=vanish)
        vanishing.start()
        began = time.monotonic()
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT SLEEP(100)"))
        assert time.monotonic() - began < 50
        assert caught.value.connection_invalidated
        vanishing.join()


def test_a_slow_query_is_not_cut_off(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), holdfast_keepalive_idle=1, holdfast_tcp_user_timeout=1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT SLEEP(2.5)")).scalar() == 0


def test_the_defaults_are_set_on_every_drivers_socket(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver))
    with engine.connect() as connection:
        descriptor = connection.connection.dbapi_connection._holdfast.fd  # type: ignore[union-attr]
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = {
                name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT", "TCP_NODELAY")
            }
    assert options == {
        "TCP_KEEPIDLE": 60,
        "TCP_KEEPINTVL": 10,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 60_000,
        "TCP_NODELAY": 1,
    }


def test_off_leaves_the_socket_as_the_driver_made_it(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("mysqldb"), holdfast_keepalive_idle="off", holdfast_tcp_user_timeout="off")
    with engine.connect() as connection:
        descriptor = connection.connection.dbapi_connection._holdfast.fd  # type: ignore[union-attr]
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_a_unix_socket_is_never_probed(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver, transport="unix"), holdfast_probe_after_idle=0)
    for number in range(5):
        assert read(engine, number) == number
    assert holdfast.status(engine).counters.probes == 0


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
