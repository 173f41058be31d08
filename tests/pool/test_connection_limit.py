"""How many connections an engine may have, and how it waits when it may not open one more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id, eventually, inside, read, wait_until_ended

Log = Callable[[], list[str]]


@contextmanager
def once_refused(engine: Engine, act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread, once the server has refused the engine a connection."""

    def wait_and_act() -> None:
        eventually(lambda: holdfast.status(engine).counters.refused)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def test_an_answer_that_contradicts_them_has_them_asked_again(unlimited: Server, held: EngineFactory) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 5")  # those without a limit are not counted
    first, second = (held(unlimited.url(), pool_timeout=60, holdfast_budget="off") for _ in range(2))
    read(second)
    second.dispose()
    with first.connect():
        unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 1")
    with once_refused(second, first.dispose):
        read(second)
    limits = holdfast.status(second).limits
    assert limits is not None
    assert limits.connections == 1


def test_a_connection_that_dies_younger_lowers_what_is_believed_and_is_said_once(
    limited_server: Server, driver: str, held: EngineFactory, log: Log
) -> None:
    engine = held(limited_server.url(driver))
    for _ in range(2):
        with engine.connect() as connection:
            number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            driver_connection = connection.connection.driver_connection
        limited_server.kill_connection(number)
        wait_until_ended(driver_connection)
        assert connection_id(engine) != number
    limits = holdfast.status(engine).limits
    assert limits is not None
    assert limits.idle_limit < 10 < limits.wait_timeout
    assert len([line for line in log() if "idle or less, though the server's wait_timeout is 1000 s" in line]) == 1


# -- waiting ---------------------------------------------------------------------------------------------------


def test_a_returned_connection_ends_the_wait_for_a_new_one(unlimited: Server, driver: str, held: EngineFactory) -> None:
    """Two threads, leave for one connection: the second does not wait for a slot that it does not need."""
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 1")
    engine = held(unlimited.url(driver), pool_timeout=100)
    numbers: list[int] = []
    with engine.connect() as connection:
        waiting = threading.Thread(target=lambda: numbers.append(connection_id(engine)))
        waiting.start()
        eventually(lambda: holdfast.status(engine).counters.waits)
        assert numbers == []
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar()
    waiting.join(60)
    assert numbers == [number]
    assert holdfast.status(engine).counters.waits == 1


@pytest.mark.parametrize("poolclass", [QueuePool, NullPool])
def test_a_full_server_is_waited_for_without_a_budget_too(
    unlimited: Server, driver: str, held: EngineFactory, poolclass: Any
) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 1")
    url = unlimited.url(driver)
    engine = held(url, holdfast_budget=None, poolclass=poolclass)
    other = create_engine(url, poolclass=NullPool)
    blocker = other.connect()
    with once_refused(engine, blocker.close):
        assert read(engine, 3) == 3, "in less than pool_timeout, which is an error"
    counters = holdfast.status(engine).counters
    assert counters.refused >= 1
    assert counters.waits == 1


@pytest.mark.slow
def test_a_server_that_stays_full_is_a_timeout_with_the_servers_own_error(
    unlimited: Server, driver: str, held: EngineFactory
) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 1")
    url = unlimited.url(driver)
    engine = held(url, holdfast_budget=None, pool_timeout=2)  # longer than the first try may take
    with create_engine(url, poolclass=NullPool).connect(), pytest.raises(DBAPIError, match="1226"):
        engine.connect()
    counters = holdfast.status(engine).counters
    assert (counters.checkout_timeouts, counters.waits) == (1, 1)


def test_a_connection_outside_the_pool_keeps_its_slot_until_it_is_closed(
    unlimited: Server, driver: str, held: EngineFactory
) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 3")
    engine = held(unlimited.url(driver))
    with engine.connect() as connection:
        connection.detach()
        budget: Any = inside(engine)._limit.budget
        assert budget.snapshot().held == 1
    assert budget.snapshot().held == 0


def test_every_way_to_end_a_connection_frees_its_slot(unlimited: Server, driver: str, held: EngineFactory) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 20")
    engine = held(unlimited.url(driver))
    read(engine)
    budget: Any = inside(engine)._limit.budget

    def replaced() -> None:
        with engine.connect() as connection:
            number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            driver_connection = connection.connection.driver_connection
        unlimited.kill_connection(number)
        wait_until_ended(driver_connection)
        assert connection_id(engine) != number

    ways: list[Callable[[], object]] = [
        engine.dispose,
        lambda: engine.raw_connection().invalidate(),
        lambda: engine.raw_connection().driver_connection.close(),  # type: ignore[union-attr]
        replaced,
        lambda: engine.connect().detach(),
    ]
    for number, way in enumerate(ways):
        read(engine)
        way()
        engine.dispose()
        assert budget.snapshot().held == 0, number


def test_the_same_host_by_another_name_is_the_same_budget(limited_server: Server, held: EngineFactory) -> None:
    keys = set()
    for host in ("127.0.0.1", "localhost", "::1"):
        engine = held(limited_server.url("pymysql").set(host=host))
        keys.add(inside(engine)._limit.key)
    assert keys == {f"app@localhost:{limited_server.port}"}


def test_an_engine_gives_its_idle_connection_up_for_another_engine_of_the_process(
    unlimited: Server, driver: str, held: EngineFactory
) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 2")
    one, other = (held(unlimited.url(driver), pool_timeout=100, holdfast_headroom=0) for _ in range(2))
    with one.connect(), one.connect():  # all there are
        waiting = threading.Thread(target=read, args=(other,))
        waiting.start()
        eventually(lambda: holdfast.status(other).counters.waits)
    waiting.join(60)
    assert not waiting.is_alive()
    assert holdfast.status(other).counters.waits == 1
    assert holdfast.status(one).counters.closed_for_sharing >= 1


def test_a_creators_connections_are_not_shared_out(limited_server: Server, held: EngineFactory) -> None:
    import pymysql

    def connect() -> Any:
        return pymysql.connect(host="127.0.0.1", port=limited_server.port, user="app", password="app", database="test")

    engine: Engine = held(limited_server.url("pymysql"), creator=connect)
    assert read(engine, 2) == 2
    assert inside(engine)._limit.budget is None
