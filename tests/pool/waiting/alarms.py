"""Real signals, at moments that nobody chose: ``python -m tests.pool.waiting.alarms raise|use URL SECONDS``.

A program of its own, because they come in destructors as well, and what is raised there goes to a hook of Python's.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType

from sqlalchemy import Engine, create_engine, text

from tests.conftest import read
from tests.pool.waiting.moments import KINDS
from tests.pool.waiting.state import problems, works_at_once


def work(engine: Engine) -> None:
    """Connect anew, read, use what is idle, and lose a connection."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).scalar()
    with engine.connect() as connection, engine.connect():
        connection.invalidate()


over = threading.Event()
"""No alarm may come any more: what one says that was on its way already is not heard."""


def soon() -> None:
    if not over.is_set():
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003))


def no_more() -> None:
    over.set()
    signal.setitimer(signal.ITIMER_REAL, 0)


RETURNING = ("_finalize_fairy", "checkin", "invalidate")
"""In the middle of these SQLAlchemy itself loses a connection's place in the pool. What is promised is about getting a
connection."""


def call_again_and_again(handler: Callable[[], None], *, never_in: tuple[str, ...] = ()) -> None:
    """Let a handler be called about every two milliseconds, when that is inside of :func:`work`.

    :param never_in: functions in which it is not called.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        soon()
        while frame is not None and frame.f_code is not work.__code__:
            if frame.f_code.co_name in never_in or frame.f_code.co_filename == weakref.__file__:  # a destructor
                return
            frame = frame.f_back
        if frame is not None:
            handler()

    signal.signal(signal.SIGALRM, handle)
    soon()


def raising(engine: Engine, seconds: float) -> dict[str, object]:
    raised = 0

    def handler() -> None:
        raise random.choice(KINDS)("from a handler")

    call_again_and_again(handler, never_in=RETURNING)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            work(engine)
        except (Exception, KeyboardInterrupt):  # some drivers make an error of their own of it
            raised += 1
    no_more()
    gc.collect()
    wrong = problems(engine) + works_at_once(engine)
    with engine.connect(), engine.connect(), engine.connect():
        pass
    engine.dispose()
    return {"times": raised, "wrong": wrong + problems(engine)}


def using(engine: Engine, seconds: float) -> dict[str, object]:
    end = time.monotonic() + seconds
    wrong: list[str] = []
    handled = 0

    def reads(number: int) -> None:
        try:
            if read(engine, number) != number:
                wrong.append(f"not {number}")
        except Exception as error:
            wrong.append(repr(error))

    def others() -> None:
        while time.monotonic() < end:
            reads(3)
            time.sleep(0.001)

    def handler() -> None:
        nonlocal handled
        signal.setitimer(signal.ITIMER_REAL, 0)
        handled += 1
        reads(5)
        soon()

    thread = threading.Thread(target=others)
    thread.start()
    call_again_and_again(handler)
    while time.monotonic() < end:
        work(engine)
    no_more()
    thread.join()
    return {"times": handled, "wrong": wrong + problems(engine)}


def main() -> None:
    what, url, seconds = sys.argv[1:]
    logging.disable()
    sys.unraisablehook = lambda *arguments: None
    engine = create_engine(url, pool_size=3 if what == "raise" else 6, pool_timeout=20)
    read(engine)
    found = (raising if what == "raise" else using)(engine, float(seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
