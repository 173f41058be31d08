"""Units of work in greenlets of one process, as a program: ``python -m tests.greenlets.program '{...}'``.

``library`` gevent or eventlet; ``patched`` before holdfast is imported, after that, or after the engine has connected;
``what`` units, timeouts, probes, waits or pauses. Prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

given = json.loads(sys.argv[1])
_spawn: Callable[..., Any]


def patch() -> None:
    if given["library"] == "gevent":
        import gevent.monkey

        gevent.monkey.patch_all()
    elif given["library"] == "eventlet":
        import eventlet

        eventlet.monkey_patch()


if given["patched"] == "first":
    patch()

import logging  # noqa: E402
import random  # noqa: E402
import time  # noqa: E402

from sqlalchemy import create_engine, text  # noqa: E402
from sqlalchemy.exc import DBAPIError  # noqa: E402
from sqlalchemy.pool import NullPool  # noqa: E402

import sqlalchemy_holdfast as holdfast  # noqa: E402

if given["patched"] == "after the import":
    patch()

said: list[str] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said.append(record.getMessage())


logging.getLogger("holdfast").addHandler(Keep())
logging.getLogger("holdfast").setLevel(logging.INFO)
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
options = {"pool_size": 5, "max_overflow": 0, **given.get("options", {})}
if options["pool_size"] == 0:
    options = {name: value for name, value in options.items() if name not in ("pool_size", "max_overflow")}
    options["poolclass"] = NullPool
engine = create_engine(given["url"], **options)
with engine.connect() as _connection:
    _connection.execute(text("SELECT 1"))

if given["patched"] == "after the engine":
    patch()


class Cut(BaseException):
    """As a time limit is that no `except Exception` must swallow."""


class SoftCut(Exception):
    """As Celery's soft time limit."""


def spawn(function: Callable[..., object], *arguments: object) -> Any:
    if given["library"] == "gevent":
        import gevent

        return gevent.spawn(function, *arguments)
    import eventlet

    return eventlet.spawn(function, *arguments)


def joined(greenlets: list[Any], seconds: float) -> int:
    """Wait for all, and return how many are done."""
    if given["library"] == "gevent":
        import gevent

        return len(gevent.joinall(greenlets, timeout=seconds))
    import eventlet

    done = 0
    with eventlet.Timeout(seconds, False):
        for each in greenlets:
            each.wait()
            done += 1
    return done


def limit(seconds: float, error: type[BaseException]) -> Any:
    if given["library"] == "gevent":
        import gevent

        return gevent.Timeout(seconds, error)
    import eventlet

    return eventlet.Timeout(seconds, error)


outcomes: Counter[str] = Counter()
acknowledged: list[str] = []
tried: list[str] = []


def unit(name: str) -> None:
    tried.append(name)
    with engine.begin() as connection:
        connection.execute(text("UPDATE account SET value = value + 1 WHERE id = 1"))
        connection.execute(text("INSERT INTO ledger VALUES (:name)"), {"name": name})
        answer = connection.execute(text("SELECT :name"), {"name": name}).scalar_one()
    acknowledged.append(name)
    outcomes["right" if answer == name else "wrong"] += 1


def plain(number: int) -> None:
    for turn in range(given["each"]):
        try:
            unit(f"{number}-{turn}")
        except DBAPIError as error:
            outcomes[f"error {error.orig}"] += 1


def cut_short(number: int) -> None:
    rnd = random.Random(number)
    for turn in range(given["each"]):
        try:
            if rnd.random() < 0.5:
                with limit(rnd.uniform(0.0005, 0.02), rnd.choice([Cut, SoftCut])):
                    unit(f"{number}-{turn}")
            else:
                unit(f"{number}-{turn}")
        except (Cut, SoftCut):
            outcomes["cut"] += 1
        except Exception as error:
            outcomes[f"error {type(error).__name__} {getattr(error, 'orig', error)}"] += 1


ticks: list[float] = []


def tick() -> None:
    while True:
        time.sleep(0.01)
        ticks.append(time.monotonic())


def probe(number: int) -> None:
    """A silent connection is probed: the others go on meanwhile."""
    began = time.monotonic()
    ticks.clear()
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        outcomes[f"error {error.orig}"] += 1
    gaps = [later - earlier for earlier, later in zip([began, *ticks], ticks, strict=False)]
    outcomes["ticks"] = len(ticks)
    outcomes["longest gap, ms"] = int(1000 * max(gaps, default=time.monotonic() - began))


def wait_in_turn(number: int) -> None:
    """There are fewer connections than greenlets, and each is held for a while."""
    for _ in range(given["each"]):
        try:
            with engine.connect() as connection:
                answer = connection.execute(text(f"SELECT {number}")).scalar_one()
                time.sleep(0.01)
            outcomes["right" if answer == number else "wrong"] += 1
        except Exception as error:
            outcomes[f"error {type(error).__name__} {error}"] += 1


def pause_between_attempts(number: int) -> None:
    """A unit that fails as in a deadlock, and is begun again after a pause."""
    ticks.clear()
    left = [given["each"]]

    def fail(connection: Any) -> None:
        left[0] -= 1
        if left[0]:
            connection.execute(text("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'as told'"))

    holdfast.run(engine, fail)
    outcomes["ticks"] = len(ticks)


began = time.monotonic()
if given["what"] in ("probes", "pauses"):
    spawn(tick)
if given["what"] == "probes":
    print("ready", flush=True)
    sys.stdin.readline()
work = {
    "units": plain,
    "timeouts": cut_short,
    "probes": probe,
    "waits": wait_in_turn,
    "pauses": pause_between_attempts,
}[given["what"]]
greenlets = [spawn(work, number) for number in range(given["greenlets"])]
done = joined(greenlets, given["seconds"])
engine.dispose()
budget = holdfast.status(engine).budget
print(
    json.dumps(
        {
            "done": done,
            "outcomes": outcomes,
            "acknowledged": acknowledged,
            "tried": tried,
            "said": said,
            "seconds": time.monotonic() - began,
            "slots": None if budget is None else budget.taken,
            "replaced": holdfast.status(engine).counters.replaced,
        }
    ),
    flush=True,
)
os._exit(0)
