"""Units per second and their ratio to stock, at several distances from the server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from statistics import median

from sqlalchemy import URL

from holdfast.cli.demo.contenders import CONTENDERS, STOCK
from holdfast.cli.demo.guestbook import make_tables
from holdfast.cli.demo.stage import Stage
from holdfast.cli.demo.waits import UNITS, Ready
from holdfast.cli.tables import Cell, Table

from .distance import distance
from .rounds import median_ratio, rates_in_turn
from .section import Bars, Result, Section

__all__ = ["SECTION"]

_ROUND_TRIPS = (0.0, 0.001, 0.0013)
_MEASURED_UNITS = UNITS[:2]
_SECONDS = 0.04


def run(stage: Stage) -> Result:
    """Measure every distance, driver and unit."""
    make_tables(stage.server.url(stage.drivers[0]))
    names = [contender.name for contender in CONTENDERS]
    tables, bars = [], []
    for round_trip in _ROUND_TRIPS:
        with _away(stage, round_trip) as (host, port):
            table = Table("", ("driver", "unit of work", *names), labels=2)
            values: dict[str, dict[str, float]] = {}
            for driver in stage.drivers:
                for unit in _MEASURED_UNITS:
                    stage.say(f"{_words(round_trip)}: {driver}, {unit.title}")
                    url = stage.server.url(driver, host=host, port=port)
                    with contextlib.ExitStack() as stack:
                        ready: dict[str, Ready] = {}
                        for contender in CONTENDERS:
                            ready[contender.name] = unit.prepare(url, contender)
                            stack.callback(ready[contender.name].dispose)
                        work = {name: one.do for name, one in ready.items()}
                        rates_in_turn(work, rounds=1, seconds=_SECONDS)  # connect, compile, fill caches
                        rates = rates_in_turn(work, rounds=stage.rounds(25, 3), seconds=_SECONDS)
                    ratios = {name: median_ratio(rates[name], rates[STOCK.name]) for name in names}
                    best = max(ratios.values())
                    cells = [
                        Cell(
                            f"{median(rates[name]):.0f}  {ratios[name]:.2f}x",
                            "good" if ratios[name] == best else "plain",
                        )
                        for name in names
                    ]
                    table.add(driver, unit.title, *cells)
                    values[f"{driver}\n{unit.title}"] = ratios
            distance_words = _words(round_trip)
            if round_trip:
                measured = _measured_round_trip(stage, stage.server.url(stage.drivers[0], host=host, port=port))
                distance_words += f" (measured: {1000 * measured:.2f} ms for a whole SELECT 1)"
            table.title = f"Units per second and ratio to stock: {distance_words}"
        tables.append(table)
        bars.append(Bars(f"Throughput, {_words(round_trip)}", "units per second, stock = 1", values))
    tables[-1].notes.append("medians of short rounds in turn; ratios are of the same round")
    return Result(tables, bars)


@contextlib.contextmanager
def _away(stage: Stage, round_trip: float) -> Iterator[tuple[str, int]]:
    if round_trip:
        with distance(stage.server, round_trip) as place:
            yield place
    else:
        yield stage.server.host, stage.server.port


def _words(round_trip: float) -> str:
    return f"{1000 * round_trip:g} ms round trip" if round_trip else "loopback"


def _measured_round_trip(stage: Stage, url: URL) -> float:
    engine = STOCK.engine(url)
    try:
        seconds = []
        with engine.connect() as connection:
            for _ in range(50):
                start = time.perf_counter()
                connection.exec_driver_sql("SELECT 1").scalar()
                seconds.append(time.perf_counter() - start)
    finally:
        engine.dispose()
    return median(seconds)


SECTION = Section("throughput", "Throughput", "How many units of work one thread gets done in a second.", run)
