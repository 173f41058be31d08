"""A server that swallows packets: who waits behind a thread that connects is told which server it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from sqlalchemy_holdfast.errors import CheckoutTimeout
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.budget.host import Host
from tests.conftest import EngineFactory, inside, read
from tests.lab.helpers import eventually

SILENT: dict[str, Callable[[Proxy], None]] = {"swallows packets": Proxy.blackhole, "stands still": Proxy.freeze}
SECONDS = 3
"""How long one attempt to connect takes."""


def patience(driver: str) -> dict[str, str]:
    """Settings of the driver's for how long an attempt may take, the server's greeting included."""
    return {
        "mysqldb": {"connect_timeout": str(SECONDS)},
        "pymysql": {"connect_timeout": str(SECONDS), "read_timeout": str(SECONDS)},
        "mysqlconnector": {"connection_timeout": str(SECONDS)},
    }[driver]


@contextmanager
def first_connects(engine: Engine) -> Iterator[list[Exception]]:
    """A thread named "first" tries to connect, for the length of a block; its error is there afterwards."""
    errors: list[Exception] = []
    connecting: Any = inside(engine)._connector
    thread = threading.Thread(target=try_to_connect, args=(engine, errors), name="first")
    thread.start()
    eventually(lambda: any(wait.asking_since is not None for wait in connecting._waits))
    yield errors
    thread.join()


def try_to_connect(engine: Engine, errors: list[Exception]) -> None:
    try:
        engine.connect()
    except Exception as error:
        errors.append(error)


def assert_names(error: Any, engine: Engine, proxy: Proxy) -> None:
    said = str(error)
    assert f"{proxy.host}:{proxy.port}" in said
    assert "thread 'first'" in said
    assert "has not answered" in said
    assert " s ago" in said
    for setting in ("connect_timeout", "pool_timeout", "holdfast_wait_for_server"):
        assert setting in said
    for secret in ("site", "app:"):
        assert secret not in said
    assert isinstance(error, CheckoutTimeout)
    assert not error.account_full


@pytest.mark.parametrize("how", SILENT)
def test_who_waits_for_an_engines_first_connection_is_told_of_the_server(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, how: str, tmp_path: Path
) -> None:
    SILENT[how](proxy)
    url = server.url(driver, host=proxy.host, port=proxy.port, query=patience(driver))
    engine = held(url, pool_timeout=1.7, holdfast_wait_for_server=None, holdfast_budget_directory=str(tmp_path / "new"))
    behind: list[Exception] = []
    threads = [threading.Thread(target=try_to_connect, args=(engine, behind)) for _ in range(4)]
    with first_connects(engine) as errors:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    timeouts = [error for error in behind if isinstance(error, CheckoutTimeout)]
    assert len(timeouts) == 3, f"one takes over after a second, and is not answered either: {behind}"
    for error in timeouts:
        assert_names(error, engine, proxy)
    for other in [*errors, *(error for error in behind if error not in timeouts)]:
        assert f"{proxy.host}:{proxy.port}" in str(other), "the driver's own error as well"
        assert "connect_timeout" in str(other) or "read_timeout" in str(other), "whichever was in force"


@pytest.mark.parametrize("how", SILENT)
def test_who_waits_for_a_place_in_the_pool_is_told_of_the_server(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, how: str
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port, query=patience(driver))
    engine = held(url, pool_size=1, max_overflow=0, pool_timeout=0.3, holdfast_wait_for_server=None)
    read(engine)
    engine.dispose()
    SILENT[how](proxy)
    with first_connects(engine), pytest.raises(CheckoutTimeout) as caught:
        engine.connect()
    assert_names(caught.value, engine, proxy)


def test_who_waits_for_a_connection_of_the_account_is_told_of_the_server(small: Host) -> None:
    proxy = small.proxy
    assert proxy is not None
    url = small.url("pymysql", held=True, holdfast_headroom="2").update_query_dict(patience("pymysql"))
    engine = create_engine(url, pool_timeout=0.3, holdfast_wait_for_server=None)
    read(engine)
    engine.dispose()
    proxy.blackhole()
    try:
        with first_connects(engine), pytest.raises(CheckoutTimeout) as caught:
            engine.connect()
    finally:
        proxy.restore()
        engine.dispose()
    said = str(caught.value)
    assert "max_user_connections allows 3 connections" in said
    assert "thread 'first'" in said
    assert "has not answered" in said


def test_one_connect_that_nothing_answers_does_not_hold_up_the_others_for_long(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, tmp_path: Path
) -> None:
    proxy.blackhole()
    url = server.url(driver, host=proxy.host, port=proxy.port, query=patience(driver))
    engine = held(url, holdfast_wait_for_server=None, holdfast_budget_directory=str(tmp_path / "new"))
    with first_connects(engine):
        proxy.restore()
        begun = time.monotonic()
        assert read(engine, 7) == 7
        assert time.monotonic() - begun < SECONDS, "it waited for the first one"


def test_who_waits_behind_refusals_is_told_the_servers_answer(small: Host) -> None:
    """One asks, and the others wait behind it: they time out, or ask when that one has given up."""
    taken = create_engine(small.url("pymysql", held=False))
    eventually(lambda: not small.server.processlist(user="site"))
    url = small.url("pymysql", held=True).update_query_dict({"holdfast_budget_directory": f"{small.directory}-other"})
    engine = create_engine(url, pool_timeout=1.5)
    errors: list[Exception] = []
    threads = [threading.Thread(target=try_to_connect, args=(engine, errors)) for _ in range(3)]
    with taken.connect(), taken.connect(), taken.connect():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    taken.dispose()
    engine.dispose()
    assert len(errors) == 3
    for error in errors:
        assert "max_user_connections" in str(error)
        assert not isinstance(error, CheckoutTimeout) or error.account_full
