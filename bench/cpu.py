"""CPU of this process per checkout, read and return: what holdfast's own bookkeeping costs or saves."""

from __future__ import annotations

import contextlib
from statistics import median
from typing import Literal

from sqlalchemy import URL

from sqlalchemy_holdfast.cli.tables import Cell, Table
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, STOCK
from sqlalchemy_holdfast.experiments.stage import Stage
from sqlalchemy_holdfast.experiments.waits import UNITS

from .cores import PLACEMENTS, placed
from .rounds import cpu_in_turn, spread
from .section import Result, Section

__all__ = ["SECTION"]

_TRANSPORTS: tuple[Literal["tcp", "unix"], ...] = ("tcp", "unix")
_UNIT = UNITS[0]


def run(stage: Stage) -> Result:
    """Measure both transports with every driver."""
    rounds, units = stage.rounds(60, 4), stage.rounds(300, 50)
    tables = []
    for placement in PLACEMENTS:
        with placed(stage.server, placement):
            tables.append(_table(stage, placement, rounds, units))
    tables[-1].notes.append(f"mean ratio of {rounds} rounds in turn, {units} units each; user and system time")
    return Result(tables)


def _table(stage: Stage, placement: str, rounds: int, units: int) -> Table:
    columns = ("driver", "transport", STOCK.name, HOLDFAST.name, "ratio", "8 of 10 rounds within")
    table = Table(f"CPU per checkout, SELECT 1 and return, in microseconds: {placement}", columns, labels=2)
    # With a core each the wake-ups outweigh the transport and take their time: one transport will do there.
    transports = _TRANSPORTS if placement == PLACEMENTS[-1] else _TRANSPORTS[:1]
    for driver in stage.drivers:
        for transport in transports:
            stage.say(f"{placement}: {driver} over {transport}")
            cpu = _measure(stage.server.url(driver, transport=transport), rounds, units)
            ratios = [mine / theirs for mine, theirs in zip(cpu[HOLDFAST.name], cpu[STOCK.name], strict=True)]
            mean, low, high = spread(ratios)
            micro = {name: f"{1e6 * median(values):.0f}" for name, values in cpu.items()}
            table.add(
                driver,
                transport,
                micro[STOCK.name],
                micro[HOLDFAST.name],
                Cell(f"{mean:.2f}", "good" if mean <= 1 else "bad"),
                f"{low:.2f} to {high:.2f}",
            )
    return table


def _measure(url: URL, rounds: int, units: int) -> dict[str, list[float]]:
    with contextlib.ExitStack() as stack:
        work = {}
        for contender in (STOCK, HOLDFAST):
            ready = _UNIT.prepare(url, contender)
            stack.callback(ready.dispose)
            work[contender.name] = ready.do
        cpu_in_turn(work, rounds=1, units=units)
        return cpu_in_turn(work, rounds=rounds, units=units)


SECTION = Section("cpu", "CPU", "What a request costs this process, with the server's share left out.", run)
