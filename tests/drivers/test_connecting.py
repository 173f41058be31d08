"""Connecting costs no more than it must, and ends in the same session as without holdfast."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import DRIVERS, EngineFactory, connection_id, read

SESSION = (
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.SESSION_VARIABLES WHERE VARIABLE_NAME LIKE 'char%' "
    "OR VARIABLE_NAME LIKE 'coll%' OR VARIABLE_NAME IN ('AUTOCOMMIT', 'SQL_MODE', 'TX_ISOLATION', 'TIME_ZONE')"
)


@pytest.fixture(scope="module")
def latin1_server() -> Iterator[Server]:
    with Server(options={"character-set-server": "latin1", "collation-server": "latin1_swedish_ci"}) as server:
        yield server


def session(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {str(row[0]): str(row[1]) for row in connection.execute(text(SESSION))}


@pytest.mark.parametrize(("name", "stock_commands", "held_commands"), [("mysqldb", 4, 3), ("pymysql", 4, 3)])
def test_the_character_set_is_sent_once(
    server: Server,
    proxy: Proxy,
    held: EngineFactory,
    stock: EngineFactory,
    name: str,
    stock_commands: int,
    held_commands: int,
) -> None:
    url = server.url(name, host=proxy.host, port=proxy.port)
    for factory, expected in ((stock, stock_commands), (held, held_commands)):
        engine = factory(url, poolclass=NullPool)
        engine.connect().close()
        proxy.reset_counts()
        engine.connect().close()
        assert proxy.commands["COM_QUERY"] == expected, proxy.statements


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"charset": "utf8mb4"},
        {"charset": "latin1"},
        {"charset": "utf8mb4", "collation": "utf8mb4_unicode_ci"},
        {"init_command": "SET NAMES latin1"},
        {"sql_mode": "ANSI_QUOTES"},
    ],
    ids=str,
)
@pytest.mark.parametrize("listens", [False, True])
def test_the_session_is_the_same_as_without_holdfast(
    server: Server,
    latin1_server: Server,
    driver: str,
    held: EngineFactory,
    stock: EngineFactory,
    arguments: dict[str, Any],
    listens: bool,
) -> None:
    for one in (server, latin1_server):
        engines = [factory(one.url(driver), connect_args=arguments) for factory in (held, stock)]
        for engine in engines if listens else ():

            @event.listens_for(engine, "connect")
            def connected(connection: Any, record: Any) -> None:
                cursor = connection.cursor()
                cursor.execute("SET NAMES latin1")
                cursor.execute("SET NAMES utf8mb4")
                cursor.close()

        assert session(engines[0]) == session(engines[1])


def test_a_charset_that_a_listener_before_ours_has_set_is_set_back_as_in_stock(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    engines = [factory(server.url(driver)) for factory in (held, stock)]
    for engine in engines:

        @event.listens_for(engine, "connect", insert=True)
        def connected(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("SET NAMES latin1")
            cursor.close()

    assert session(engines[0]) == session(engines[1])


def test_text_survives(server: Server, engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("SELECT :word"), {"word": "Grüße, 世界 🐬"}).scalar() == "Grüße, 世界 🐬"


def test_unix_socket_and_tls_hold(server: Server, tls_server: Server, driver: str, held: EngineFactory) -> None:
    tls = {"ssl_ca": tls_server.tls_ca or ""}
    for which, url in (
        (server, server.url(driver, transport="unix")),
        (tls_server, tls_server.url(driver, query=tls)),
    ):
        engine = held(url)
        victim = connection_id(engine)
        for number in range(10):
            assert read(engine, number) == number
        which.kill_connection(victim)
        while victim in {connection.id for connection in which.processlist(user="app")}:
            pass
        assert read(engine, 5) == 5
        assert sum(holdfast.status(engine).counters.replaced.values()) == 1
        engine.dispose()


def contexts(engine: Engine, connections: int = 4) -> set[int]:
    """Which TLS contexts an engine's connections have."""
    open_now = [engine.connect() for _ in range(connections)]
    found = {id(getattr(c.connection.driver_connection, "ctx", None)) for c in open_now}
    for connection in open_now:
        connection.close()
    return found


def is_tls(engine: Engine) -> bool:
    with engine.connect() as connection:
        return isinstance(connection.connection.driver_connection._sock, ssl.SSLSocket)  # type: ignore[union-attr]


@pytest.mark.parametrize("asked", [False, True])
def test_pymysql_connections_of_one_engine_share_a_tls_context(
    tls_server: Server, held: EngineFactory, stock: EngineFactory, asked: bool
) -> None:
    url = tls_server.url("pymysql", query={"ssl_ca": tls_server.tls_ca or ""} if asked else {})
    ours, theirs = held(url), stock(url)
    assert is_tls(ours)
    assert is_tls(theirs)
    assert len(contexts(ours)) == 1
    assert len(contexts(theirs)) == 4


def test_pymysql_goes_without_tls_where_there_is_none_and_finds_it_again(held: EngineFactory) -> None:
    with Server(tls=True) as server:
        port_options = dict(server.options)
        engine = held(server.url("pymysql"), poolclass=NullPool)
        assert is_tls(engine)
        assert is_tls(engine)
        server.stop()
        server.options["skip-ssl"] = None
        server.start()
        assert not is_tls(engine), "it falls back, as without holdfast"
        assert not is_tls(engine)
        server.stop()
        server.options.clear()
        server.options.update(port_options)
        server.start()
        is_tls(engine)  # this one sees that TLS is offered
        assert is_tls(engine)


def test_pymysql_with_tls_asked_for_never_goes_without(server: Server, held: EngineFactory, tls_server: Server) -> None:
    engine = held(server.url("pymysql", query={"ssl_ca": tls_server.tls_ca or ""}))
    for _ in range(2):
        with pytest.raises(DBAPIError, match="SSL is required"):
            read(engine)


def test_another_do_connect_listener_sees_and_decides_everything(
    tls_server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(tls_server.url(driver, password="wrong"), poolclass=NullPool)
    seen = []

    @event.listens_for(engine, "do_connect")
    def give_password(dialect: Any, record: Any, positional: Any, arguments: dict[str, Any]) -> None:
        arguments["passwd" if driver == "mysqldb" else "password"] = "app"
        seen.append(1)

    for number in range(3):
        assert read(engine, number) == number
    assert len(seen) == 3


def test_connecting_mysqlclient_to_a_silent_host_ends_when_the_url_says(
    server: Server, proxy: Proxy, held: EngineFactory
) -> None:
    proxy.blackhole()
    url = server.url("mysqldb", host=proxy.host, port=proxy.port, query={"connect_timeout": "1"})
    engine = held(url, holdfast_wait_for_server=None)
    began = time.monotonic()
    with pytest.raises(DBAPIError):
        read(engine)
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_a_server_that_is_slow_to_greet_is_waited_for(server: Server, proxy: Proxy, held: EngineFactory) -> None:
    """Under load a greeting may take long; no driver is given less than thirty seconds for it."""
    proxy.blackhole()
    greets = threading.Timer(12, proxy.restore)
    greets.start()
    began = time.monotonic()
    found: dict[str, Any] = {}

    def ask(driver: str, engine: Engine) -> None:
        found[driver] = read(engine, 7)

    engines = {
        driver: held(server.url(driver, host=proxy.host, port=proxy.port), holdfast_wait_for_server=None)
        for driver in DRIVERS
    }
    threads = [threading.Thread(target=ask, args=each) for each in engines.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 11
    assert found == dict.fromkeys(DRIVERS, 7)
    greets.join()


LIMITS = ("connect_timeout", "connection_timeout", "read_timeout", "write_timeout")


@pytest.mark.parametrize("given", [{}, {"connect_timeout": 7}, {"connect_timeout": 70}, {"read_timeout": 8}], ids=repr)
def test_a_driver_is_told_no_shorter_limit_than_the_application_gives(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory, given: dict[str, int]
) -> None:
    seen = []
    for make in (stock, held):
        engine = make(server.url(driver), connect_args=given)
        connect = engine.dialect.loaded_dbapi.connect
        arguments: dict[str, Any] = {}

        def note(*positional: Any, connect: Any = connect, into: dict[str, Any] = arguments, **given: Any) -> Any:
            into.update(given)
            return connect(*positional, **given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine.dialect.loaded_dbapi, "connect", note)
            read(engine)
        seen.append({name: value for name, value in arguments.items() if name in LIMITS})
    theirs, ours = seen
    assert theirs == given
    assert theirs.items() <= ours.items(), "what the application gives stays"
    more = {name: value for name, value in ours.items() if name not in theirs}
    assert all(value == max(30, given.get("connect_timeout", 0)) for value in more.values())
    expected = {
        "mysqldb": {"connect_timeout"} - set(given),
        "pymysql": {"read_timeout"} - set(given),
        "mysqlconnector": set() if "connect_timeout" in given else {"connection_timeout"},
    }
    assert set(more) == expected[driver]


@pytest.mark.slow
def test_the_limit_of_the_greeting_limits_no_statement(
    server: Server, driver: str, held: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("patience", "mysqldb", "mysqlconnector"):
        monkeypatch.setattr(f"sqlalchemy_holdfast.drivers.{module}.HANDSHAKE_SECONDS", 1)
    engine = held(server.url(driver))
    with engine.connect() as connection:
        for _ in range(2):
            assert connection.execute(text("SELECT SLEEP(2)")).scalar() == 0


def test_no_descriptor_is_leaked_by_replacing_connections(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver))
    read(engine)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        server.kill_connections("app")
        while server.processlist(user="app"):
            pass
        assert read(engine, number) == number
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_default_timeout_for_sockets_changes_nothing(server: Server, driver: str, held: EngineFactory) -> None:
    socket.setdefaulttimeout(30)
    try:
        engine = held(server.url(driver))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT SLEEP(0.1)")).scalar() == 0
    finally:
        socket.setdefaulttimeout(None)


def test_pymysql_finds_tls_when_a_server_comes_to_require_it(server: Server, held: EngineFactory) -> None:
    strict = {"require_secure_transport": "ON"}
    with Server(tls=True, options=strict) as secure, Proxy.for_server(server) as proxy:
        engine = held(server.url("pymysql", host=proxy.host, port=proxy.port))
        assert read(engine) == 1
        engine.dispose()
        proxy._target = lambda: (secure.host, secure.port)
        assert read(engine, 2) == 2


class _KeepsWhatIsSet:
    """A tracer's proxy that hands reading on, and keeps what is set on it."""

    def __init__(self, connection: Any) -> None:
        self.__wrapped__ = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


def test_the_limit_of_a_handshake_does_not_stay_below_a_tracers_proxy(
    server: Server, held: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end each statement that takes longer."""
    connect = pymysql.connect
    monkeypatch.setattr(pymysql, "connect", lambda *args, **kwargs: _KeepsWhatIsSet(connect(*args, **kwargs)))
    engine = held(server.url("pymysql"))
    with engine.connect() as connection:
        proxy: Any = connection.connection.dbapi_connection
        assert proxy.__wrapped__._read_timeout is None
        assert proxy.__wrapped__._sock.gettimeout() is None
