"""pool_timeout means what it means in SQLAlchemy: how long to wait where there is no room; none where there is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AssertionPool, NullPool, SingletonThreadPool, StaticPool

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.budget.host import Host, limited
from tests.conftest import EngineFactory, read
from tests.lab.helpers import eventually
from tests.pool.waiting.state import AT_ONCE

SHORT = (0, 0.0, 0.001, 0.3, Fraction(1, 7))
FOR_EVER = (None, 3600, 1e9, 1e300, 10**400, math.inf)


@contextmanager
def connecting(engine: Engine, proxy: Proxy) -> Iterator[None]:
    """Another thread is making the engine's first connection, slowly, for the length of a block."""
    proxy.delay = 0.15
    thread = threading.Thread(target=read, args=(engine,))
    thread.start()
    eventually(lambda: proxy.connections)
    try:
        yield
    finally:
        proxy.delay = 0
        thread.join()


@pytest.mark.parametrize("timeout", SHORT, ids=str)
@pytest.mark.parametrize("plugin", [True, False], ids=["held", "stock"])
def test_who_cannot_wait_connects_while_another_thread_makes_the_first_connection(
    server: Server, proxy: Proxy, held: EngineFactory, stock: EngineFactory, timeout: Any, plugin: bool, tmp_path: Path
) -> None:
    url = server.url("pymysql", host=proxy.host, port=proxy.port)
    if plugin:  # it is not known yet how many connections there may be
        engine = held(url, pool_timeout=timeout, holdfast_budget_directory=str(tmp_path / "new"))
    else:
        engine = stock(url, pool_timeout=timeout)
    with connecting(engine, proxy):
        assert read(engine, 7) == 7


@pytest.mark.parametrize("pool", [NullPool, AssertionPool, SingletonThreadPool, StaticPool])
def test_pools_without_a_timeout_connect_beside_another_thread_as_well(
    server: Server, proxy: Proxy, held: EngineFactory, pool: Any
) -> None:
    engine = held(server.url("pymysql", host=proxy.host, port=proxy.port), poolclass=pool)
    read(engine)
    engine.dispose()
    got: list[object] = []
    threads = [
        threading.Thread(target=lambda: got.append(read(engine, 7))) for _ in range(1 if pool is AssertionPool else 3)
    ]
    proxy.delay = 0.02
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.delay = 0
    assert got == [7] * len(threads)


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_who_cannot_wait_gets_one_of_the_accounts_connections_while_there_is_one(driver: str, timeout: float) -> None:
    with limited("account", 20) as host:
        engine = create_engine(host.url(driver, held=True), pool_size=19, pool_timeout=timeout)
        read(engine)
        together = threading.Barrier(19)
        out: list[Any] = []

        def take() -> None:
            together.wait()
            try:
                out.append(engine.connect())
            except Exception as error:
                out.append(error)

        for _ in range(3):
            engine.dispose()
            eventually(lambda: not host.server.processlist(user="site"))
            threads = [threading.Thread(target=take) for _ in range(19)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not [one for one in out if isinstance(one, Exception)]
            while out:
                out.pop().close()
        engine.dispose()


@pytest.mark.parametrize("timeout", [0, 0.2, -1])
def test_where_there_is_no_room_it_is_waited_for_as_long_as_that(
    server: Server, held: EngineFactory, timeout: float
) -> None:
    engine = held(server.url(), pool_size=1, max_overflow=0, pool_timeout=timeout)
    with engine.connect():
        begun = time.monotonic()
        with pytest.raises(PoolTimeout):
            engine.connect()
        assert max(timeout, 0) <= time.monotonic() - begun < AT_ONCE


def waits_until_one_is_returned(engine: Engine, take: Callable[[], list[Any]]) -> None:
    """Take all that there are; let another thread wait for one, and return one."""
    out, got = take(), []
    thread = threading.Thread(target=lambda: got.append(read(engine, 7)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it waits"
    out.pop().close()
    thread.join(AT_ONCE)
    assert got == [7]
    for connection in out:
        connection.close()


@pytest.mark.parametrize("timeout", FOR_EVER, ids=lambda timeout: str(timeout)[:5])
def test_none_and_large_numbers_wait_for_a_place_in_the_pool(
    server: Server, held: EngineFactory, timeout: float | None
) -> None:
    engine = held(server.url(), pool_size=1, max_overflow=0, pool_timeout=timeout)
    waits_until_one_is_returned(engine, lambda: [engine.connect()])


@pytest.mark.parametrize("timeout", FOR_EVER, ids=lambda timeout: str(timeout)[:5])
def test_none_and_large_numbers_wait_for_a_connection_of_the_account(small: Host, timeout: float | None) -> None:
    engine = create_engine(small.url("pymysql", held=True, holdfast_headroom="0"), pool_timeout=timeout)
    waits_until_one_is_returned(engine, lambda: [engine.connect() for _ in range(3)])
    engine.dispose()
