"""An exception from outside, at each line of a checkout: nothing is left taken, and the next one works at once."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

import holdfast
from holdfast.errors import CheckoutTimeout
from holdfast.lab import Proxy
from tests._long import LONG
from tests.connecting.moments import KINDS, Moment, raising
from tests.connecting.state import problems, works_at_once
from tests.limits.host import Host

STEP = 1 if LONG else 3
"""Each line, or each third one."""
MOST = 6000

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
    while any(row["id"] == number for row in map(vars_of, host.server.processlist(user="site"))):
        pass
    yield


def vars_of(row: object) -> dict[str, object]:
    return {"id": getattr(row, "id", None)}


@contextmanager
def full(engine: Engine, host: Host) -> Iterator[None]:
    """All connections of the account are out."""
    with engine.connect(), engine.connect(), engine.connect():
        yield


@contextmanager
def other_engines(engine: Engine, host: Host) -> Iterator[None]:
    """All connections of the account are another engine's, and idle."""
    other = create_engine(host.url("pymysql", held=True, holdfast_headroom="0"))
    with engine.connect():
        pass
    engine.dispose()
    with other.connect(), other.connect(), other.connect():
        pass
    yield
    other.dispose()


TIMEOUT = {"full": 0.1}
CASES: dict[str, Before] = {
    "first": nothing,
    "another": known,
    "idle": idle,
    "dead": dead,
    "full": full,
    "another engine's": other_engines,
}


def interrupt(engine: Engine, moment: Moment) -> BaseException | None:
    """Check out, read and return, interrupted at a moment; return what came of it."""
    try:
        with moment, engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except BaseException as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(900)
def test_an_exception_at_any_line_of_a_checkout_leaves_nothing_behind(small: Host, driver: str, case: str) -> None:
    found = []
    number = 0
    for number in range(0, MOST, STEP):
        kind = KINDS[number // STEP % len(KINDS)]
        engine = create_engine(small.url(driver, held=True, holdfast_headroom="0"), pool_timeout=TIMEOUT.get(case, 20))
        moment = Moment(number, raising(kind))
        with CASES[case](engine, small):
            out = engine.pool.checkedout()  # type: ignore[attr-defined]
            error = interrupt(engine, moment)
            if error is not None and not isinstance(error, kind) and case != "full":
                found.append(f"{moment.place}: {error!r}")
            del error
            found += [f"{moment.place}: {what}" for what in problems(engine, out)]
        found += [f"{moment.place}: {what}" for what in works_at_once(engine)]
        engine.dispose()
        if not moment.place:
            break
    assert number > 20 * STEP, "nothing was interrupted"
    assert number < MOST - STEP
    assert not found, f"{len(found)}:\n" + "\n".join(found[:20])
