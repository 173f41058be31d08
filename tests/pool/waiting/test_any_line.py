"""What comes from outside at each line of a checkout: an exception leaves nothing taken, and a handler may do the same.

Found with this: locks that stayed taken for ever, by a thread that had gone on or that waited for itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from sqlalchemy_holdfast.errors import CheckoutTimeout
from tests._long import LONG
from tests.budget.host import Host
from tests.conftest import read
from tests.pool.waiting.moments import KINDS, Moment, raising
from tests.pool.waiting.state import AT_ONCE, problems, works_at_once

STEP = 1 if LONG else 23
"""Each line, or each twenty-third one."""
MOST = 5000
IN_A_LOOP = 700
"""A checkout that waits comes to the same lines again and again."""

Before = Callable[[Engine, Host], AbstractContextManager[None]]


@contextmanager
def nothing(engine: Engine, host: Host) -> Iterator[None]:
    """The first connection of an engine."""
    yield


@contextmanager
def known(engine: Engine, host: Host) -> Iterator[None]:
    """Another connection: the limit is known, none is idle."""
    with engine.connect():
        pass
    with engine.connect():
        yield


@contextmanager
def idle(engine: Engine, host: Host) -> Iterator[None]:
    """A connection that was returned."""
    with engine.connect():
        pass
    yield


@contextmanager
def dead(engine: Engine, host: Host) -> Iterator[None]:
    """A connection that was returned, and lost."""
    with engine.connect() as connection:
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    host.server.kill_connection(number)
    while any(process.id == number for process in host.server.processlist(user="site")):
        pass
    yield


@contextmanager
def full(engine: Engine, host: Host) -> Iterator[None]:
    """All connections of the account are out."""
    with engine.connect(), engine.connect(), engine.connect():
        yield


@contextmanager
def asked_for(engine: Engine, host: Host) -> Iterator[None]:
    """All connections of the account are out, and another thread waits for one."""
    ended = threading.Event()

    def wait() -> None:
        while not ended.is_set():
            try:
                engine.connect().close()
            except CheckoutTimeout:
                pass

    with engine.connect(), engine.connect(), engine.connect():
        other = threading.Thread(target=wait)
        other.start()
        try:
            yield
        finally:
            ended.set()
            other.join()


@contextmanager
def another_engines(engine: Engine, host: Host) -> Iterator[None]:
    """All connections of the account are another engine's, and idle."""
    other = create_engine(host.url("pymysql", held=True, holdfast_headroom="0"))
    with engine.connect():
        pass
    engine.dispose()
    with other.connect(), other.connect(), other.connect():
        pass
    yield
    other.dispose()


@contextmanager
def away(engine: Engine, host: Host) -> Iterator[None]:
    """Nothing answers at the server's address."""
    with engine.connect():
        pass
    engine.dispose()
    assert host.proxy is not None
    host.proxy.refuse()
    try:
        yield
    finally:
        host.proxy.restore()


CASES: dict[str, Before] = {
    "first": nothing,
    "another": known,
    "idle": idle,
    "dead": dead,
    "full": full,
    "asked for": asked_for,
    "another engine's": another_engines,
    "away": away,
    "no pool": nothing,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "full": {"pool_timeout": 0.1},
    "asked for": {"pool_timeout": 0.1},
    "away": {"holdfast_wait_for_server": 0.1, "holdfast_max_waiting_for_server": 1},
    "another": {"holdfast_max_waiting_for_server": 1},
    "dead": {"holdfast_max_waiting_for_server": 1},
    "no pool": {"poolclass": NullPool},
}
IN_VAIN = ("full", "asked for", "away")
"""Cases in which a checkout waits for what does not come."""


def engine_for(case: str, host: Host, driver: str) -> Engine:
    return create_engine(host.url(driver, held=True, holdfast_headroom="0"), **OPTIONS.get(case, {}))


def out_of(engine: Engine) -> int:
    return engine.pool.checkedout() if isinstance(engine.pool, QueuePool) else 0


def use(engine: Engine, moment: Moment) -> BaseException | None:
    """Check out, read and return, and something happens at a moment; return what came of it."""
    try:
        with moment, engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except BaseException as error:
        return error
    return None


def moments(case: str) -> Iterator[int]:
    return iter(range(0, IN_A_LOOP if case in IN_VAIN else MOST, STEP))


@pytest.fixture
def quiet() -> Iterator[None]:
    """SQLAlchemy logs what came while it closed a connection; pytest would keep that, with all that it leads to."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.usefixtures("quiet")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES)
def test_an_exception_at_any_line_of_a_checkout_leaves_nothing_behind(small: Host, driver: str, case: str) -> None:
    found, number = [], 0
    for number in moments(case):
        kind = KINDS[number // STEP % len(KINDS)]
        engine = engine_for(case, small, driver)
        moment = Moment(number, raising(kind))
        with CASES[case](engine, small):
            out = out_of(engine)
            error = use(engine, moment)
            expected = (kind, OperationalError, CheckoutTimeout) if case in IN_VAIN else kind
            if error is not None and not isinstance(error, expected):
                found.append(f"{moment.place}: {error!r}")
            del error
            if case != "asked for":
                found += [f"{moment.place}: {what}" for what in problems(engine, out)]
        found += [f"{moment.place}: {what}" for what in problems(engine, 0) + works_at_once(engine)]
        engine.dispose()
        if not moment.place:
            break
    assert number > 50, "nothing was interrupted"
    assert number < MOST - STEP
    assert not found, f"{len(found)}:\n" + "\n".join(found[:20])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", [case for case in CASES if case not in IN_VAIN])
def test_a_signals_handler_can_use_the_engine_at_any_line_of_a_checkout(small: Host, driver: str, case: str) -> None:
    found, number = [], 0
    for number in moments(case):
        engine = engine_for(case, small, driver)
        read_in_handler: list[object] = []

        def handler(engine: Engine = engine, got: list[object] = read_in_handler) -> None:
            begun = time.monotonic()
            try:
                got.append(read(engine, 5))
            except Exception as unexpected:
                got.append(unexpected)
            if time.monotonic() - begun > AT_ONCE:
                got.append("slowly")

        moment = Moment(number, handler)
        with CASES[case](engine, small):
            out = out_of(engine)
            error = use(engine, moment)
            if error is not None:
                found.append(f"{moment.place}: {error!r}")
            if moment.place and read_in_handler != [5]:
                found.append(f"{moment.place}: the handler got {read_in_handler}")
            found += [f"{moment.place}: {what}" for what in problems(engine, out)]
        found += [f"{moment.place}: {what}" for what in works_at_once(engine)]
        engine.dispose()
        if not moment.place:
            break
    assert number > 50, "nothing happened"
    assert not found, f"{len(found)}:\n" + "\n".join(found[:20])
