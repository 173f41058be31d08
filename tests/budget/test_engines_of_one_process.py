"""Slots go where they are needed inside of one process: from what is idle, or of no use to anybody any more."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.budget.sharing import LEASE
from sqlalchemy_holdfast.errors import CheckoutTimeout
from tests.budget.host import Host, limited
from tests.budget.workers import Workers
from tests.conftest import EngineFactory, inside, read
from tests.lab.helpers import eventually

AT_ONCE = 3.0
"""Seconds: more than connecting takes on a busy machine, less than any of the waits that it was."""


@pytest.fixture
def host() -> Iterator[Host]:
    """A server that allows the account four connections, none of them spare."""
    with limited("account", 4) as host:
        yield host


def engine_of(host: Host, driver: str = "pymysql", **options: Any) -> Engine:
    if options.get("poolclass") is not NullPool:
        options.setdefault("pool_timeout", 20)
    return create_engine(host.url(driver, held=True, holdfast_headroom="0"), **options)


def idle(engine: Engine, number: int) -> None:
    """Let an engine have so many connections, and use none."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(engine.connect())
    assert engine.pool.checkedin() == number  # type: ignore[attr-defined]


def held(engine: Engine) -> int:
    budget = holdfast.status(engine).budget
    assert budget is not None
    return budget.held


def reads_at_once(engine: Engine) -> None:
    begun = time.monotonic()
    assert read(engine, 7) == 7
    assert time.monotonic() - begun < AT_ONCE


@pytest.mark.parametrize("pool", [None, NullPool])
def test_an_engine_gets_a_connection_that_another_one_keeps_idle(host: Host, driver: str, pool: Any) -> None:
    one, other = engine_of(host, driver), engine_of(host, driver, poolclass=pool or QueuePool)
    idle(one, 4)
    reads_at_once(other)
    with other.connect(), other.connect(), other.connect():
        reads_at_once(one)
    assert holdfast.status(one).counters.closed_for_sharing >= 1
    assert len(host.server.processlist(user="site")) <= 4
    for engine in (one, other):
        engine.dispose()
    assert held(one) == 0


def test_many_engines_and_threads_share_what_there_is(host: Host) -> None:
    engines = [engine_of(host, pool_size=4) for _ in range(3)]
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(25):
            try:
                if read(engines[(number + turn) % 3], turn) != turn:
                    wrong.append(turn)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    pools: list[Any] = [engine.pool for engine in engines]
    # Not checkedin(): that counts places whose connection was given up as well.
    assert inside(engines[0]).budget.held == sum(pool.holdfast_idle() for pool in pools)
    for engine in engines:
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        engine.dispose()


def test_a_lifo_pool_with_empty_places_gives_up_what_it_has(host: Host) -> None:
    one, other = engine_of(host, pool_use_lifo=True), engine_of(host)
    with one.connect(), one.connect() as second, one.connect() as third:
        second.invalidate()
        third.invalidate()
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(other.connect())
    assert one.pool.checkedin() == 3, "all places are there"  # type: ignore[attr-defined]
    reads_at_once(one)
    one.dispose()
    other.dispose()


def test_close_listeners_of_the_other_engine_are_called_once_for_each(host: Host) -> None:
    one, other = engine_of(host), engine_of(host)
    closed: list[object] = []
    event.listen(one, "close", lambda connection, record: closed.append(connection))
    idle(one, 4)
    with other.connect(), other.connect():
        assert len(closed) == len(set(map(id, closed))) == 2
    one.dispose()
    other.dispose()


def test_another_process_comes_first_where_it_is_its_turn(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is above the share goes to who waits in line, before another engine of the same process gets it."""
    one, other = engine_of(host), engine_of(host)
    idle(one, 4)
    budget: Any = inside(one)._limit.budget
    monkeypatch.setattr("tests.budget.workers.KEY", inside(one)._limit.key)
    workers = Workers(Path(host.directory))
    try:
        process = workers(4, headroom=0)
        process.start("take", 30)
        eventually(lambda: budget.snapshot().waiting == 1)
        time.sleep(2 * LEASE)
        with other.connect():
            assert process.result(0.0) is not None, "it was served before"
            assert budget.snapshot().taken <= 4
    finally:
        workers.close()
        one.dispose()
        other.dispose()


# -- connections that nobody can use any more ----------------------------------------------------------------------


def test_what_is_returned_to_a_pool_that_was_disposed_of_is_closed(host: Host, driver: str) -> None:
    engine = engine_of(host, driver)
    with engine.connect(), engine.connect():
        engine.dispose()
        assert held(engine) == 2
    assert held(engine) == 0
    eventually(lambda: not host.server.processlist(user="site"))
    engine.dispose()


def test_what_a_pool_kept_is_dropped_when_it_is_disposed_of_without_closing(host: Host, driver: str) -> None:
    engine = engine_of(host, driver)
    idle(engine, 3)
    gc.collect()
    gc.disable()
    try:
        engine.dispose(close=False)
        if driver != "pymysql":  # whose connections refer to themselves
            assert held(engine) == 0
        with ExitStack() as stack:
            begun = time.monotonic()
            for _ in range(4):
                stack.enter_context(engine.connect())
            assert time.monotonic() - begun < AT_ONCE
    finally:
        gc.enable()
    engine.dispose()


def test_a_copy_of_the_engine_with_other_options_can_dispose_of_the_pool(host: Host) -> None:
    engine = engine_of(host)
    copy = engine.execution_options(isolation_level="AUTOCOMMIT")
    with copy.connect():
        copy.dispose()
    assert held(engine) == 0
    idle(copy, 2)
    assert held(engine) == 2, "in the new pool they are kept"
    engine.dispose()


def test_a_pool_whose_copy_was_made_by_hand_keeps_what_is_returned(host: Host) -> None:
    engine = engine_of(host)
    read(engine)
    copy = engine.pool.recreate()
    copy.connect().close()
    idle(engine, 1)
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    engine.dispose()


def test_what_an_engine_kept_that_was_dropped_is_there_for_the_next_one(host: Host, driver: str) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            engine = engine_of(host, driver)
            begun = time.monotonic()
            idle(engine, 4)
            assert time.monotonic() - begun < AT_ONCE
    finally:
        gc.enable()
    assert held(engine) == 4
    engine.dispose()
    del engine
    gc.collect()


def test_in_a_forked_child_the_parents_idle_connections_are_left_alone(host: Host) -> None:
    one, other = engine_of(host), engine_of(host)
    idle(one, 2)
    child = os.fork()
    if not child:
        status = 1
        try:
            with other.connect(), other.connect():
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert one.pool.checkedin() == 2  # type: ignore[attr-defined]
    reads_at_once(one)
    one.dispose()
    other.dispose()


# -- the spare slot ------------------------------------------------------------------------------------------------


def test_nested_checkouts_at_the_limit_get_the_spare_connection_where_nobody_shares(small: Host, driver: str) -> None:
    engine = create_engine(small.url(driver, held=True), pool_timeout=20)
    with engine.connect(), engine.connect():
        reads_at_once(engine)
        begun = time.monotonic()
        assert read(engine, 7) == 7
        assert time.monotonic() - begun < 0.4, "it need not be patient again"
        assert held(engine) == 2, "it was given back"
    engine.dispose()


# -- what the program is told --------------------------------------------------------------------------------------


def test_a_timeout_tells_which_engine_it_was_and_whether_the_account_was_full(host: Host, held: EngineFactory) -> None:
    import pickle

    one, other = engine_of(host, pool_timeout=0.1), engine_of(host, pool_timeout=0.1, pool_size=1, max_overflow=0)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(one.connect())
        stack.enter_context(other.connect())
        for engine, account_full in ((one, True), (other, False)):
            with pytest.raises(CheckoutTimeout) as caught:
                engine.connect()
            error = caught.value
            assert (error.engine_key, error.account_full) == (holdfast.status(engine).engine_key, account_full)
            again = pickle.loads(pickle.dumps(error))
            assert (str(again), again.engine_key, again.account_full) == (str(error), error.engine_key, account_full)
            assert str(error.engine_key) not in str(error)
    assert holdfast.status(one).engine_key != holdfast.status(other).engine_key
    copy = one.execution_options(isolation_level="AUTOCOMMIT")
    assert holdfast.status(copy).engine_key == holdfast.status(one).engine_key
    one.dispose()
    other.dispose()
