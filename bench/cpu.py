"""CPU of this process per checkout, read and return: what holdfast's own bookkeeping costs or saves."""

from __future__ import annotations

import contextlib
from statistics import median
from typing import Literal

from sqlalchemy import URL

from holdfast.cli.demo.contenders import HOLDFAST, STOCK
from holdfast.cli.demo.stage import Stage
from holdfast.cli.demo.waits import UNITS
from holdfast.cli.tables import Cell, Table

from .rounds import cpu_in_turn, spread
from .section import Result, Section

__all__ = ["SECTION"]

_TRANSPORTS: tuple[Literal["tcp", "unix"], ...] = ("tcp", "unix")
_UNIT = UNITS[0]


def run(stage: Stage) -> Result:
    """Measure both transports with every driver."""
    columns = ("driver", "transport", STOCK.name, HOLDFAST.name, "ratio", "of 10 rounds, 8 were within")
    table = Table("CPU per checkout, SELECT and return, in microseconds", columns, labels=2)
    rounds, units = stage.rounds(60, 4), stage.rounds(300, 50)
    for driver in stage.drivers:
        for transport in _TRANSPORTS:
            stage.say(f"{driver} over {transport}")
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
    table.notes.append(f"mean ratio of {rounds} rounds in turn, {units} units each; user and system time")
    return Result([table])


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
