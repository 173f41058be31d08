"""Units per second and their ratio to stock, at several distances from the server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from sqlalchemy import URL

from sqlalchemy_holdfast.cli.tables import Cell, Table
from sqlalchemy_holdfast.experiments.contenders import CONTENDERS, STOCK
from sqlalchemy_holdfast.experiments.guestbook import make_tables
from sqlalchemy_holdfast.experiments.stage import Stage
from sqlalchemy_holdfast.experiments.waits import UNITS, Unit

from .cores import PLACEMENTS, SCHEDULER, placed
from .distance import distance
from .rounds import median_ratio, rates_in_turn
from .section import Bars, Result, Section

__all__ = ["SECTION"]


@dataclass(frozen=True)
class _Place:
    """How far away the server is, and on which core."""

    words: str
    round_trip: float = 0.0
    placement: str = SCHEDULER


_PLACES = (
    *(_Place(f"loopback, {placement}", placement=placement) for placement in PLACEMENTS),
    _Place("1 ms round trip", 0.001),
    _Place("1.3 ms round trip", 0.0013),
)
_MEASURED_UNITS = UNITS[:2]
_LOOPBACK_SECONDS, _LOOPBACK_ROUNDS = 0.012, 60
_AWAY_SECONDS, _AWAY_ROUNDS = 0.04, 20
_NAMES = [contender.name for contender in CONTENDERS]


def run(stage: Stage) -> Result:
    """Measure every place, driver and unit."""
    make_tables(stage.server.url(stage.drivers[0]))
    result = Result([])
    for place in _PLACES:
        table = Table("", ("driver", "unit of work", *_NAMES), labels=2)
        bars = Bars(f"Throughput, {place.words}", "units per second, stock = 1", {})
        with _at(stage, place) as (host, port):
            for driver in stage.drivers:
                for unit in _MEASURED_UNITS:
                    stage.say(f"{place.words}: {driver}, {unit.title}")
                    rates = _rates(stage, place, unit, stage.server.url(driver, host=host, port=port))
                    ratios = {name: median_ratio(rates[name], rates[STOCK.name]) for name in _NAMES}
                    table.add(driver, unit.title, *_cells(rates, ratios))
                    bars.values[f"{driver}\n{unit.title}"] = ratios
            seconds = _one_query(stage.server.url(stage.drivers[0], host=host, port=port))
        table.title = f"Units per second, and ratio to stock: {place.words}"
        table.notes.append(f"SELECT 1 by itself took {1000 * seconds:.2f} ms ({stage.drivers[0]})")
        result.tables.append(table)
        result.bars.append(bars)
    result.tables[-1].notes.append("medians of short rounds in turn; a ratio is that of the same round")
    return result


def _rates(stage: Stage, place: _Place, unit: Unit, url: URL) -> dict[str, list[float]]:
    rounds, seconds = (_AWAY_ROUNDS, _AWAY_SECONDS) if place.round_trip else (_LOOPBACK_ROUNDS, _LOOPBACK_SECONDS)
    with contextlib.ExitStack() as stack:
        work: dict[str, Callable[[], object]] = {}
        for contender in CONTENDERS:
            ready = unit.prepare(url, contender)
            stack.callback(ready.dispose)
            work[contender.name] = ready.do
        rates_in_turn(work, rounds=1, seconds=seconds)  # connect, compile, fill caches
        return rates_in_turn(work, rounds=stage.rounds(rounds, 3), seconds=seconds)


def _cells(rates: dict[str, list[float]], ratios: dict[str, float]) -> list[Cell]:
    best = max(ratios.values())
    return [
        Cell(f"{median(rates[name]):.0f}  {ratios[name]:.2f}x", "good" if ratios[name] == best else "plain")
        for name in _NAMES
    ]


@contextlib.contextmanager
def _at(stage: Stage, place: _Place) -> Iterator[tuple[str, int]]:
    if place.round_trip:
        with distance(stage.server, place.round_trip) as address:
            yield address
    else:
        with placed(stage.server, place.placement):
            yield stage.server.host, stage.server.port


def _one_query(url: URL) -> float:
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


SECTION = Section(
    "throughput",
    "Throughput",
    "How many units of work one thread gets done in a second. Over loopback with a core each, every wait is a sleep "
    "and a wake-up; with one core for both nothing sleeps, and only the sum of all computing counts.",
    run,
)
