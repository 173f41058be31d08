"""Forking: wrong answers, errors, hangs and entries gone astray under prefork servers, and what noticing a fork costs.

The sites and the clients are those of the experiment, with every way to leave something behind at import time.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import timeit
from collections.abc import Sequence
from statistics import median

from sqlalchemy import Engine

from sqlalchemy_holdfast import fork
from sqlalchemy_holdfast.cli.tables import Cell, Table
from sqlalchemy_holdfast.experiments import prefork
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, STOCK
from sqlalchemy_holdfast.experiments.prefork import KINDS, SESSION_OPEN, VARIANTS, Answers
from sqlalchemy_holdfast.experiments.stage import Stage

from .section import Result, Section

__all__ = ["SECTION"]

_REQUESTS = {STOCK.name: 400, HOLDFAST.name: 2000}
_QUICK_REQUESTS = {STOCK.name: 100, HOLDFAST.name: 100}
_POOLED = (1, 10, 100)
_TIMES = 1_000_000
_COLUMNS = ("server", "the import leaves", "")


def run(stage: Stage) -> Result:
    """Visit every site, then fork."""
    requests = _QUICK_REQUESTS if stage.quick else _REQUESTS
    variants = (SESSION_OPEN,) if stage.quick else tuple(VARIANTS)
    rows = prefork.run(stage, (STOCK, HOLDFAST), kinds=KINDS, variants=variants, requests=requests, starts=1)
    return Result([_answers(stage, rows), _cost(stage), _check(stage)])


def _answers(stage: Stage, rows: Sequence[Answers]) -> Table:
    table = Table(
        "Wrong answers / errors / hangs / lost / doubled entries per 100 requests",
        (*_COLUMNS, *stage.drivers),
        labels=len(_COLUMNS),
    )
    found = {(row.kind, row.variant, row.contender, row.driver): row for row in rows}
    for kind, variant, contender in dict.fromkeys((row.kind, row.variant, row.contender) for row in rows):
        cells = [_shares(found[kind, variant, contender, driver]) for driver in stage.drivers]
        table.add(kind, VARIANTS[variant], contender, *cells)
    for name in dict.fromkeys(row.contender for row in rows):
        those = [row for row in rows if row.contender == name]
        sent = sum(row.sent for row in those)
        totals = ", ".join(f"{sum(getattr(row, what) for row in those)} {what}" for what in _COUNTED)
        committed = sum(row.import_committed for row in those)
        written = sum(row.variant == "uncommitted" for row in those)
        table.notes.append(
            f"{name}: {sent} requests to {len(those)} sites: {totals}"
            + (f"; {committed} of {written} committed what the import had left uncommitted" if written else "")
        )
    table.notes.append(
        f"{prefork.WORKERS} workers, {prefork.CLIENTS} clients; every other request writes. Shares are of the first "
        f"{_REQUESTS[STOCK.name]} requests ({_REQUESTS[HOLDFAST.name]} with holdfast), or of as many as were asked "
        "before hangs used up the time"
    )
    return table


_COUNTED = ("wrong", "errors", "hangs", "lost", "doubled")


def _shares(row: Answers) -> Cell:
    shares = "/".join(f"{round(100 * getattr(row, what) / max(row.sent, 1), 1):g}" for what in _COUNTED)
    return Cell(shares, "bad" if row.bad else "good")


def _cost(stage: Stage) -> Table:
    """Time what happens in a child before anything else."""
    table = Table(
        "CPU in a forked child until the parent's connections are left to it, in microseconds",
        ("driver", *(f"{count} pooled" for count in _POOLED), "per connection"),
    )
    forks = stage.rounds(31, 3)
    for driver in stage.drivers:
        stage.say(f"{driver}: forks")
        engine = HOLDFAST.engine(stage.server.url(driver), pool_size=max(_POOLED))
        try:
            figures = []
            for count in _POOLED:
                _fill(engine, count)
                figures.append(1e6 * median(_seconds_in_child() for _ in range(forks)))
        finally:
            engine.dispose()
        each = (figures[-1] - figures[0]) / (_POOLED[-1] - _POOLED[0])
        table.add(driver, *(f"{figure:.0f}" for figure in figures), f"{each:.1f}")
    table.notes.append(f"median of {forks} forks of one parent, over TCP, in Python's own at-fork hook")
    return table


def _fill(engine: Engine, count: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(engine.connect())


def _seconds_in_child() -> float:
    """Fork, and return how long `after_fork` took in the child; the hook looks it up when it is called."""
    original, spent = fork.after_fork, [0.0]

    def timed() -> None:
        start = time.thread_time()
        original()
        spent[0] = time.thread_time() - start

    reader, writer = os.pipe()
    fork.after_fork = timed
    try:
        pid = os.fork()
        if not pid:
            try:
                os.write(writer, struct.pack("d", spent[0]))
            finally:
                os._exit(0)
    finally:
        fork.after_fork = original
        os.close(writer)
    try:
        seconds: float = struct.unpack("d", os.read(reader, 8))[0]
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    return seconds


def _check(stage: Stage) -> Table:
    """Time the comparison that every use of a connection begins with."""
    table = Table("Looking whether this is the process that opened the connection, in nanoseconds", ("driver", "ns"))
    times = stage.rounds(_TIMES, _TIMES // 20)
    for driver in stage.drivers:
        engine = HOLDFAST.engine(stage.server.url(driver))
        try:
            with engine.connect() as connection:
                state = connection.connection.dbapi_connection._holdfast  # type: ignore[union-attr]
                names = {"state": state, "getpid": os.getpid}
                seconds = min(timeit.repeat("state.pid != getpid()", globals=names, number=times, repeat=5)) / times
        finally:
            engine.dispose()
        table.add(driver, f"{1e9 * seconds:.0f}")
    return table


SECTION = Section(
    "prefork",
    "Forked workers",
    "A small site asks the database something while a prefork server imports it; the workers are forked after that. "
    "Every client asks for a number of its own.",
    run,
)
