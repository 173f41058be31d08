"""While the server is away, so many threads wait for it as may, and another one fails at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, eventually, inside, read, wait_until_ended

FAR = 60
"""Seconds that nobody waits in a test that passes."""


@pytest.fixture
def threads() -> Any:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def patient(driver: str) -> dict[str, str]:
    """Settings of the driver's: an attempt that nothing answers goes on for longer than the test."""
    name = "connection_timeout" if driver == "mysqlconnector" else "connect_timeout"
    return {name: "60"}


def on_their_way(engine: Engine) -> int:
    """How many threads wait for a connection now."""
    connecting: Any = inside(engine)._connector
    return sum(wait.refused is not None or wait.asker.since is not None for wait in connecting._waits)


def in_the_middle(engine: Engine) -> int:
    """How many threads are in the middle of an attempt to connect."""
    connecting: Any = inside(engine)._connector
    return sum(wait.asker.since is not None for wait in connecting._waits)


def assert_turned_away(engine: Engine, proxy: Proxy, error: holdfast.ServerAway, limit: int) -> None:
    said = str(error)
    assert any(f"{proxy.host}:{proxy.port}/test {away}" in said for away in ("has been away for", "is away"))
    assert f"holdfast_max_waiting_for_server={limit}" in said
    assert "holdfast_wait_for_server" in said
    assert page("errors/server-away") in said
    assert "app:" not in said, "no account, no password"
    assert isinstance(error, OperationalError), "what handlers of today catch"
    assert 1 <= error.retry_after <= 30
    assert holdfast.status(engine).counters.turned_away == 1


@pytest.mark.parametrize("options", [{"pool_timeout": FAR}, {"poolclass": NullPool}], ids=["QueuePool", "NullPool"])
def test_two_wait_and_a_third_fails_at_once_when_connecting_is_refused(
    server: Server,
    proxy: Proxy,
    driver: str,
    held: EngineFactory,
    threads: ThreadPoolExecutor,
    log: Callable[[], list[str]],
    options: dict[str, Any],
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=FAR, holdfast_max_waiting_for_server=2, **options)
    assert read(engine) == 1
    engine.dispose()
    proxy.refuse()
    waiting = [threads.submit(read, engine, number) for number in (1, 2)]
    eventually(lambda: on_their_way(engine) == 2)
    begun = time.monotonic()
    with pytest.raises(holdfast.ServerAway) as caught:
        read(engine)
    assert time.monotonic() - begun < FAR / 4
    assert_turned_away(engine, proxy, caught.value, 2)
    assert getattr(caught.value.orig, "errno", None) or caught.value.orig.args[0] in (2002, 2003)  # type: ignore[union-attr]
    assert not any(future.done() for future in waiting)
    proxy.restore()
    assert [future.result() for future in waiting] == [1, 2]
    assert read(engine, 3) == 3
    assert sum("does not answer" in line for line in log()) == 1
    assert sum("answers again" in line for line in log()) == 1


def test_a_third_fails_when_attempts_to_connect_get_no_answer(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port, query=patient(driver))
    engine = held(url, holdfast_wait_for_server=FAR, pool_timeout=FAR, holdfast_max_waiting_for_server=2)
    assert read(engine) == 1, "the limits are known"
    engine.dispose()
    proxy.blackhole()
    waiting = [threads.submit(read, engine, number) for number in (1, 2)]
    eventually(lambda: in_the_middle(engine) == 2)
    begun = time.monotonic()
    with pytest.raises(holdfast.ServerAway) as caught:
        read(engine)
    assert 0.5 < time.monotonic() - begun < 30, "a second without an answer tells that it is away"
    assert "does not answer attempts to connect" in str(caught.value)
    assert isinstance(caught.value.orig, ConnectionError)
    assert_turned_away(engine, proxy, caught.value, 2)
    proxy.restore()
    assert [future.result() for future in waiting] == [1, 2]


def test_dead_connections_of_the_pool_are_replaced_in_the_same_way(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=FAR, pool_timeout=FAR, holdfast_max_waiting_for_server=2)
    open_now = [engine.connect() for _ in range(3)]
    idle = [connection.connection.dbapi_connection for connection in open_now]
    for connection in open_now:
        connection.close()
    proxy.refuse()
    proxy.drop()
    for one in idle:
        wait_until_ended(one)
    waiting = [threads.submit(read, engine, number) for number in (1, 2)]
    eventually(lambda: on_their_way(engine) == 2)
    with pytest.raises(holdfast.ServerAway) as caught:
        read(engine)
    assert_turned_away(engine, proxy, caught.value, 2)
    assert engine.pool.checkedout() <= 2, "it has left nothing behind"  # type: ignore[attr-defined]
    proxy.restore()
    assert [future.result() for future in waiting] == [1, 2]
    assert read(engine, 3) == 3


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_in_a_script_every_thread_waits(
    server: Server, proxy: Proxy, held: EngineFactory, threads: ThreadPoolExecutor, setting: str
) -> None:
    url = server.url("pymysql", host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=FAR, pool_timeout=FAR, holdfast_max_waiting_for_server=setting)
    proxy.refuse()
    waiting = [threads.submit(read, engine, number) for number in range(10)]
    connecting: Any = inside(engine)._connector
    eventually(lambda: sum(1 for _ in connecting._waits) == 10)
    assert not any(future.done() for future in waiting)
    proxy.restore()
    assert [future.result() for future in waiting] == list(range(10))
    assert holdfast.status(engine).counters.turned_away == 0


def test_one_of_those_that_wait_asks_the_server_for_all_of_them(
    server: Server, proxy: Proxy, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    url = server.url("pymysql", host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=FAR, pool_timeout=FAR, holdfast_max_waiting_for_server=6)
    asked: Counter[int] = Counter()
    event.listen(engine, "do_connect", lambda *arguments: asked.update([threading.get_ident()]))
    assert read(engine) == 1
    engine.dispose()
    proxy.refuse()
    waiting = [threads.submit(read, engine, number) for number in range(6)]
    eventually(lambda: on_their_way(engine) == 6)
    asked.clear()
    eventually(lambda: asked.total() >= 16)
    assert max(asked.values()) > 8, f"each of six would have asked as often as the others: {asked}"
    proxy.restore()
    assert [future.result() for future in waiting] == list(range(6))


def test_a_burst_of_first_connections_fails_nobody(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    """One at a time may connect, and each of them takes a moment."""
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, pool_size=12, pool_timeout=FAR, holdfast_max_waiting_for_server=1)
    assert read(engine) == 1
    engine.dispose()
    proxy.delay = 0.005
    most: list[int] = []
    ready = threading.Barrier(12)

    def use(number: int) -> Any:
        with engine.connect() as connection:
            most.append(in_the_middle(engine))
            ready.wait(60)  # none is returned before all have theirs
            return connection.exec_driver_sql(f"SELECT {number}").scalar()

    assert list(threads.map(use, range(12))) == list(range(12))
    assert max(most) <= 1
    assert holdfast.status(engine).counters.turned_away == 0


def test_a_thread_that_needs_a_second_connection_while_it_opens_one_gets_it(
    server: Server, held: EngineFactory
) -> None:
    engine = held(server.url("pymysql"), holdfast_max_waiting_for_server=1)
    seen: list[Any] = []

    def also(dialect: Any, record: Any, arguments: Any, parameters: Any) -> None:
        if not seen:
            seen.append(None)
            seen.append(read(engine, 8))

    event.listen(engine, "do_connect", also)
    assert read(engine, 7) == 7
    assert seen == [None, 8]


def test_a_password_that_takes_long_says_nothing_of_the_server(
    server: Server, held: EngineFactory, threads: ThreadPoolExecutor, log: Callable[[], list[str]]
) -> None:
    """A command that asks a cloud for a token takes seconds. Nobody has asked the server by then."""
    asked = threading.Event()

    def password() -> str:
        asked.set()
        time.sleep(1.6)
        return "app"

    url = server.url("pymysql")
    engine = held(
        URL.create(url.drivername, url.username, None, url.host, url.port, url.database),
        holdfast_password=password,
        holdfast_max_waiting_for_server=1,
    )
    first = threads.submit(read, engine, 1)
    assert asked.wait(FAR)
    time.sleep(1.2)
    assert read(engine, 2) == 2
    assert first.result() == 1
    assert holdfast.status(engine).counters.turned_away == 0
    assert not [line for line in log() if "does not answer" in line]


def test_a_unit_of_run_is_not_begun_again_for_a_server_that_enough_threads_wait_for(
    server: Server, proxy: Proxy, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    url = server.url("pymysql", host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=FAR, pool_timeout=FAR, holdfast_max_waiting_for_server=1)
    proxy.refuse()
    waiting = threads.submit(holdfast.run, engine, lambda connection: connection.exec_driver_sql("SELECT 5").scalar())
    eventually(lambda: on_their_way(engine) == 1)
    begun = time.monotonic()
    with pytest.raises(holdfast.ServerAway):
        holdfast.run(engine, lambda connection: None, deadline=FAR)
    assert time.monotonic() - begun < FAR / 4
    proxy.restore()
    assert waiting.result() == 5


def test_who_pauses_before_it_begins_again_counts_as_waiting(
    server: Server, proxy: Proxy, held: EngineFactory, threads: ThreadPoolExecutor
) -> None:
    """The server has been away for longer than it is waited for: each attempt fails at once, and run() pauses."""
    url = server.url("pymysql", host=proxy.host, port=proxy.port)
    engine = held(url, holdfast_wait_for_server=0.3, holdfast_max_waiting_for_server=1)
    proxy.refuse()
    with pytest.raises(OperationalError):
        engine.connect()
    attempts: list[Future[Any]] = [
        threads.submit(holdfast.run, engine, lambda connection: 5, deadline=FAR) for _ in range(6)
    ]
    eventually(lambda: sum(future.done() for future in attempts) == 5)
    proxy.restore()
    ended = [future.exception() for future in attempts]
    assert sum(error is None for error in ended) == 1, ended
    assert all(isinstance(error, OperationalError) for error in ended if error is not None)
