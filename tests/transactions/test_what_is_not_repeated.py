"""Units that it would be no use, or no good, to begin again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, with_schema

Names = Callable[[], list[str]]


@pytest.mark.parametrize("times", [2, 20])
def test_a_statement_that_is_too_large_for_the_server_is_sent_once(
    driver: str, held: EngineFactory, times: int
) -> None:
    """The server closes the connection of a packet above max_allowed_packet; the next one would be as large."""
    with Server(options={"max_allowed_packet": 1024 * 1024}) as server:
        with_schema(server)
        engine = held(server.url(driver))
        calls: list[int] = []

        def unit(connection: Connection) -> None:
            calls.append(1)
            connection.execute(WRITE, {"name": "first"})
            connection.execute(text("SELECT LENGTH(:text)"), {"text": "x" * 1024 * 1024 * times})

        with pytest.raises(DBAPIError):
            holdfast.run(engine, unit)
        assert calls == [1]
        assert server.execute("SELECT name FROM entry", database="test") == []
        engine.dispose()


def test_a_large_one_that_the_server_takes_is_repeated_like_any(
    server: Server, driver: str, held: EngineFactory, entries: Names
) -> None:
    engine = held(server.url(driver))
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("SELECT LENGTH(:text)"), {"text": "x" * 2_000_000})
        connection.execute(WRITE, {"name": "Ada"})
        if len(calls) == 1:
            connection.execute(text("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))

    holdfast.run(engine, unit)
    assert calls == [1, 1]
    assert entries() == ["Ada"]


@pytest.mark.parametrize("budget", ["learned", "off"])
def test_a_full_account_is_waited_for_until_the_deadline_with_the_budget_as_without(
    server: Server, held: EngineFactory, entries: Names, budget: str
) -> None:
    """`pool_timeout` ends an attempt. Such an attempt does not count, and the deadline is what the caller asked for."""
    user = f"full_{budget}"
    server.create_account(user, "secret", max_connections=2)
    url = server.url("pymysql").set(username=user, password="secret")
    other = holdfast.create_engine(url, pool_size=2, holdfast_budget="off")
    taken = [other.connect() for _ in range(2)]
    engine = held(url, pool_timeout=0.2, holdfast_budget=2 if budget == "learned" else "off")
    attempts: list[Any] = []

    def give_back(attempt: Any) -> None:
        attempts.append(attempt)
        if len(attempts) == 12:  # more than there are attempts
            for connection in taken:
                connection.close()
            other.dispose()

    holdfast.run(engine, lambda connection: connection.execute(WRITE, {"name": "Ada"}), on_retry=give_back)
    assert entries() == ["Ada"]
    assert {attempt.reason for attempt in attempts} == {holdfast.transactions.Reason.UNREACHABLE}


def test_a_pool_that_is_full_is_the_applications_own(server: Server, held: EngineFactory, entries: Names) -> None:
    """Its threads hold all that `pool_size` allows: waiting longer is what pool_timeout is for."""
    engine = held(server.url("pymysql"), pool_size=1, max_overflow=0, pool_timeout=0.1)
    calls: list[int] = []
    with engine.connect(), pytest.raises(holdfast.CheckoutTimeout):
        holdfast.run(engine, lambda connection: calls.append(1))
    assert calls == []


def test_what_a_thread_is_turned_away_with_is_raised(server: Server, held: EngineFactory) -> None:
    """`holdfast_max_waiting` is there to say so quickly."""
    user = "rejected"
    server.create_account(user, "secret", max_connections=2)
    url = server.url("pymysql").set(username=user, password="secret")
    engine = held(url, pool_timeout=5, holdfast_max_waiting=1, holdfast_budget=1)
    with engine.connect():
        waiting = threading.Thread(target=lambda: engine.connect().close())
        waiting.start()
        while not holdfast.status(engine).counters.waits:
            pass
        with pytest.raises(holdfast.TooManyWaiting):
            holdfast.run(engine, lambda connection: None)
    waiting.join()
