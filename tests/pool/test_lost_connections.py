"""A connection that the server closed while it was idle is never handed out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id, eventually, read, wait_until_ended

Break = Callable[[Server, Proxy], None]


def kill(server: Server, proxy: Proxy) -> None:
    server.kill_connections("app")


def sleep_over_idle_limit(server: Server, proxy: Proxy) -> None:
    wait_until_gone(server)


def terminate_and_start(server: Server, proxy: Proxy) -> None:
    server.stop()
    server.start()


def sigkill_and_start(server: Server, proxy: Proxy) -> None:
    server.kill()
    server.start()


def reset(server: Server, proxy: Proxy) -> None:
    proxy.reset()


def close(server: Server, proxy: Proxy) -> None:
    proxy.drop()


def wait_until_gone(server: Server) -> None:
    eventually(lambda: not server.processlist(user="app"))


BREAKS = (kill, sleep_over_idle_limit, terminate_and_start, sigkill_and_start, reset, close)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with Server(options={"wait_timeout": 1}) as server:
        yield server


@pytest.fixture
def own_proxy(own_server: Server) -> Iterator[Proxy]:
    with Proxy.for_server(own_server) as proxy:
        yield proxy


def failures(engine: Engine, server: Server, proxy: Proxy, broken: Break, rounds: int) -> int:
    """Break the idle connection before each of some requests; count the requests that fail."""
    failed = 0
    read(engine)
    for number in range(rounds):
        with contextlib.suppress(DBAPIError), engine.connect() as connection:
            idle = connection.connection.driver_connection
        broken(server, proxy)
        wait_until_ended(idle)
        try:
            assert read(engine, number) == number
        except DBAPIError:
            failed += 1
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("broken", BREAKS, ids=lambda function: function.__name__)
def test_no_request_fails_where_stock_fails_every_one_or_every_other(
    own_server: Server,
    own_proxy: Proxy,
    driver: str,
    held: EngineFactory,
    stock: EngineFactory,
    broken: Break,
    log: Callable[[], list[str]],
) -> None:
    url = own_server.url(driver, host=own_proxy.host, port=own_proxy.port)
    rounds = 3
    ours, theirs = held(url), stock(url)
    assert failures(ours, own_server, own_proxy, broken, rounds) == 0
    assert failures(theirs, own_server, own_proxy, broken, rounds) >= 2
    counters = holdfast.status(ours).counters
    assert counters.replaced == {Cause.CLOSED: rounds}
    assert counters.connects == rounds + 1
    assert sum(Cause.CLOSED in line for line in log()) == rounds, "one line for each connection, none for a checkout"


def test_nothing_is_sent_to_find_out(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    read(engine)
    proxy.reset_counts()
    for _ in range(5):
        read(engine)
    assert proxy.commands == {"COM_QUERY": 10}
    assert set(proxy.statements) == {"SELECT 1", "ROLLBACK"}


def test_a_whole_pool_of_killed_connections_is_replaced_one_by_one(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), pool_size=5)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(engine.connect())
            connection.execute(text("SELECT 1"))
            last = connection.connection.driver_connection
    server.kill_connections("app")
    wait_until_gone(server)
    wait_until_ended(last)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            assert stack.enter_context(engine.connect()).execute(text("SELECT 7")).scalar() == 7
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 5}


def test_a_connection_lost_in_use_fails_its_own_request_and_its_mates_are_kept(
    server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = held(server.url(driver), pool_size=3)
    with engine.connect() as first, engine.connect() as second:
        mate = second.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        victim = first.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        second.close()
        server.kill_connection(victim)
        with pytest.raises(DBAPIError) as caught:
            first.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
        first.rollback()
        assert first.execute(text("SELECT 5")).scalar() == 5
    with engine.connect() as one, engine.connect() as two:
        ids = {c.execute(text("SELECT CONNECTION_ID()")).scalar_one() for c in (one, two)}
    assert mate in ids
    assert victim not in ids
    counters = holdfast.status(engine).counters
    assert counters.replaced == {Cause.LOST_IN_USE: 1}
    assert counters.probes >= 1, "its mate was asked once before it was used again"
    assert any(Cause.LOST_IN_USE in line for line in log())


def test_a_connection_left_checked_out_over_the_idle_limit_fails_once_and_is_replaced(
    own_server: Server, driver: str, held: EngineFactory
) -> None:
    """What cannot be absorbed here: the application holds the connection, and with it perhaps a transaction."""
    engine = held(own_server.url(driver))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # before the first one it would be replaced
        wait_until_gone(own_server)
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
        connection.rollback()
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_connection_lost_while_checked_out_and_only_returned_is_nobodys_error(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver))
    with engine.connect() as connection:
        server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        wait_until_ended(connection.connection.driver_connection)
    assert connection_id(engine)
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 1}


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_a_lost_connection_with_an_isolation_level_to_put_back_costs_no_place_in_the_pool(
    server: Server, driver: str, held: EngineFactory, level: Any
) -> None:
    engine = held(server.url(driver), pool_size=2, max_overflow=0, pool_timeout=20)
    for _ in range(4):
        with engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            server.kill_connection(mine.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            wait_until_ended(connection.connection.driver_connection)
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 4}


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_nor_does_one_whose_end_has_not_arrived_yet(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, level: Any
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, pool_size=1, max_overflow=0, pool_timeout=20)
    proxy.delay = 0.02
    for _ in range(2):
        with contextlib.suppress(DBAPIError), engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            number = mine.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            mine.commit()
            server.kill_connection(number)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    proxy.delay = 0
    assert read(engine, 5) == 5


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_nor_does_one_that_ends_while_it_is_being_returned(
    server: Server, driver: str, held: EngineFactory, level: Any
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_timeout=20)
    doomed: list[int] = []

    @event.listens_for(engine, "reset")  # after holdfast's, before the level is put back
    def kill(dbapi_connection: Any, record: Any, state: Any) -> None:
        if doomed:
            server.kill_connection(doomed.pop())
            wait_until_ended(dbapi_connection)

    for _ in range(2):
        with engine.connect() as connection:
            mine = connection.execution_options(isolation_level=level)
            doomed.append(mine.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            mine.commit()
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert read(engine, 5) == 5
    assert sum(holdfast.status(engine).counters.replaced.values()) == 2
