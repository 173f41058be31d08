"""Checkouts that do not end well say who is in the way; those that cannot end well do not wait."""

from __future__ import annotations

import gc
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.errors import CheckoutTimeout, TooManyWaiting
from sqlalchemy_holdfast.lab import Server
from tests.budget.host import Host
from tests.budget.request import kind_of
from tests.conftest import DRIVERS, EngineFactory, eventually, read

ONE = {"pool_size": 1, "max_overflow": 0}
Log = Callable[[], list[str]]


@contextmanager
def held_by_reports(engine: Engine, statement: str | None = None) -> Iterator[None]:
    """Let a thread named "reports" have a connection, for the length of a block."""
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.connect() as connection:
            if statement is not None:
                connection.execute(text(statement))
            ready.set()
            done.wait(100)

    thread = threading.Thread(target=hold, name="reports")
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        done.set()
        thread.join()


def test_a_timeout_names_who_holds_the_connections(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), **ONE, pool_timeout=0.2)
    statement = "SELECT /* a comment */ 4711, 'secret' FROM information_schema.tables WHERE table_name = 'x' LIMIT 1"
    with held_by_reports(engine, statement), pytest.raises(PoolTimeout) as caught:
        engine.connect()
    assert isinstance(caught.value, CheckoutTimeout)
    said = str(caught.value)
    line = hold_line()
    assert re.search(r"for \d+(\.\d)? s by thread 'reports'", said), said
    assert f"{__file__}, line {line}, in hold" in said
    assert "SELECT ?, ? FROM information_schema.tables WHERE table_name = ?" in said
    assert "within 0.2 s (pool_timeout)" in said
    for value in ("4711", "secret", "'x'", "comment", "app:app"):
        assert value not in said
    assert holdfast.status(engine).counters.checkout_timeouts == 1


def hold_line() -> int:
    """The line of ``held_by_reports`` that checks out."""
    with open(__file__, encoding="utf-8") as source:
        return next(n for n, line in enumerate(source, 1) if line == "        with engine.connect() as connection:\n")


def test_a_thread_that_waits_for_itself_is_told_so(server: Server, held: EngineFactory) -> None:
    engine = held(server.url(), **ONE, pool_timeout=0.1)
    with engine.connect(), pytest.raises(PoolTimeout, match=r"by this same thread.*test_a_thread_that_waits_for_its"):
        engine.connect()


def test_a_timeout_for_the_servers_limit_names_the_limit(small: Host) -> None:
    engine = create_engine(small.url("pymysql", held=True), pool_timeout=0.3)
    with engine.connect(), engine.connect():
        begun = time.monotonic()
        with pytest.raises(PoolTimeout) as caught:
            engine.connect()
        took = time.monotonic() - begun
    engine.dispose()
    said = str(caught.value)
    assert "max_user_connections allows 3 connections" in said
    assert "within 0.3 s (pool_timeout)" in said
    assert said.count("by this same thread") == 2
    assert 0.3 <= took < 20, "the default of pool_timeout is 30 s"


def test_more_than_max_waiting_fail_at_once(server: Server, held: EngineFactory) -> None:
    engine = held(server.url(), **ONE, pool_timeout=100, holdfast_max_waiting=1)
    answers: list[int] = []
    with held_by_reports(engine):
        waiting = threading.Thread(target=lambda: answers.append(read(engine, 7)))
        waiting.start()
        eventually(lambda: holdfast.status(engine).counters.waits)
        begun = time.monotonic()
        with pytest.raises(TooManyWaiting, match=r"(?s)holdfast_max_waiting=1.*by thread 'reports'") as caught:
            engine.connect()
        assert time.monotonic() - begun < 50, "not pool_timeout"
        assert isinstance(caught.value, PoolTimeout)
    waiting.join()
    assert answers == [7], "the one that waited gets its connection"
    assert holdfast.status(engine).counters.rejected == 1


@pytest.mark.slow
def test_a_connection_that_is_out_for_long_is_named_once_and_its_return_too(
    server: Server, held: EngineFactory, log: Log
) -> None:
    engine = held(server.url(), pool_size=2, holdfast_leak_warning=1)
    with held_by_reports(engine, "SELECT 4711"):
        time.sleep(1.05)  # the time itself is what is tested
        read(engine)
        read(engine)
        leaks = [line for line in log() if "holdfast_leak_warning=1 s" in line]
        assert len(leaks) == 1, log()
        assert "by thread 'reports'" in leaks[0]
        assert f"{__file__}, line {hold_line()}" in leaks[0]
        assert "SELECT ?" in leaks[0]
        assert "4711" not in leaks[0]
        assert not [line for line in log() if "came back" in line]
    assert len([line for line in log() if "came back" in line]) == 1, log()
    assert holdfast.status(engine).counters.leaks == 1


def test_a_connection_that_nobody_returned_is_named_when_it_is_collected(
    server: Server, held: EngineFactory, log: Log
) -> None:
    engine = held(server.url(), **ONE, pool_timeout=1)

    def forget() -> None:
        connection: Connection | None = engine.connect()
        connection.execute(text("SELECT 4711"))  # type: ignore[union-attr]
        connection = None

    forget()
    gc.collect()
    collected = [line for line in log() if "garbage collector returned it" in line]
    assert len(collected) == 1, log()
    assert f"{__file__}, line" in collected[0]
    assert "in forget" in collected[0]
    assert "4711" not in collected[0]
    assert holdfast.status(engine).counters.garbage_collected == 1
    assert read(engine, 3) == 3, "its place is free again"


# -- connecting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "change"),
    [
        ("1045", {"password": "zyxwvq"}),
        ("1044", {"user": "narrow", "password": "narrow"}),
        ("1049", {"database": "no_such_database"}),
    ],
)
def test_what_waiting_cannot_cure_fails_at_once(
    server: Server, driver: str, held: EngineFactory, number: str, change: dict[str, str]
) -> None:
    server.execute("CREATE OR REPLACE USER narrow@'%' IDENTIFIED BY 'narrow'")
    engine = held(server.url(driver, **change), pool_timeout=100, holdfast_wait_for_server=100)  # type: ignore[arg-type]
    before = int(server.status("Aborted_connects"))
    begun = time.monotonic()
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    assert time.monotonic() - begun < 50, "none of them is waited for"
    assert kind_of(caught.value) == number
    assert int(server.status("Aborted_connects")) == before + 1, "asked once"
    assert "zyxwvq" not in str(caught.value)


@pytest.fixture
def nowhere(server: Server) -> Iterator[tuple[Server, int]]:
    """A port at which nothing listens, and stays so: it is bound."""
    with socket.socket() as bound:
        bound.bind((server.host, 0))
        yield server, bound.getsockname()[1]


def test_where_nothing_answers_is_waited_for_and_then_named(
    nowhere: tuple[Server, int], driver: str, held: EngineFactory, log: Log
) -> None:
    server, port = nowhere
    engine = held(server.url(driver, port=port), holdfast_wait_for_server=0.6)
    begun = time.monotonic()
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    took = time.monotonic() - begun
    assert 0.5 <= took < 8, "the default is 10 s"
    assert kind_of(caught.value) in ("2002", "2003")
    assert f"{server.host}:{port}" in str(caught.value)
    assert "nothing answers there" in str(caught.value)
    unanswered = holdfast.status(engine).counters.unanswered
    assert unanswered > 2
    with pytest.raises(DBAPIError):
        engine.connect()
    assert holdfast.status(engine).counters.unanswered == unanswered, "asked once: it has been waited for"
    warnings = [line for line in log() if "does not answer" in line]
    assert len(warnings) == 1
    assert "0.6 s (holdfast_wait_for_server)" in warnings[0]


def test_wait_for_server_off_fails_at_once(nowhere: tuple[Server, int], held: EngineFactory, log: Log) -> None:
    server, port = nowhere
    engine = held(server.url(port=port), holdfast_wait_for_server="off")
    begun = time.monotonic()
    with pytest.raises(DBAPIError):
        engine.connect()
    assert time.monotonic() - begun < 8, "the default is 10 s"
    assert holdfast.status(engine).counters.unanswered == 0, "asked once"
    assert not log()


@pytest.mark.parametrize("name", DRIVERS)
def test_a_used_up_allowance_of_the_hour_is_not_waited_for(server: Server, held: EngineFactory, name: str) -> None:
    """1226 as well, but it does not go away when somebody returns a connection."""
    user = f"hourly_{name}"
    server.execute(f"CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY 'x' WITH MAX_CONNECTIONS_PER_HOUR 1")
    server.execute(f"GRANT ALL ON test.* TO {user}@'%'")
    engine = held(server.url(name, user=user, password="x"), holdfast_budget="off", pool_timeout=100)
    assert read(engine) == 1
    engine.dispose()
    begun = time.monotonic()
    with pytest.raises(DBAPIError, match="1226"):
        engine.connect()
    assert time.monotonic() - begun < 50, "not pool_timeout"


@pytest.mark.slow
def test_a_full_server_is_waited_for_and_its_error_raised_in_the_end(small: Host, held: EngineFactory) -> None:
    """The places are taken by somebody with whom nothing is shared."""
    other = create_engine(small.url("pymysql", held=False), pool_size=3)
    engine = create_engine(small.url("pymysql", held=True, holdfast_budget="off"), pool_timeout=2)
    taken = [other.connect() for _ in range(3)]
    try:
        begun = time.monotonic()
        with pytest.raises(DBAPIError, match="1226"):
            engine.connect()
        assert 1.9 <= time.monotonic() - begun < 20, "the default of pool_timeout is 30 s"
        patient = held(small.url("pymysql", held=False), holdfast_budget="off", pool_timeout=60)

        def give_back() -> None:
            eventually(lambda: holdfast.status(patient).counters.refused)
            taken.pop().invalidate()

        giving = threading.Thread(target=give_back)
        giving.start()
        assert read(patient, 9) == 9
        giving.join()
        assert holdfast.status(engine).counters.refused > 1
    finally:
        for connection in taken:
            connection.close()
        other.dispose()
        engine.dispose()
