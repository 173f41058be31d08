"""What a request waits for: commands sent and round trips waited for, per unit of work, on a warm connection.

The proxy counts the commands and makes every round trip long, so that time tells how many were waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from sqlalchemy import URL, Engine, select, text
from sqlalchemy.orm import Session

from sqlalchemy_holdfast.lab import Proxy

from .contenders import HOLDFAST, PRE_PING, STOCK, Contender
from .guestbook import Entry, make_tables
from .stage import Stage

__all__ = ["DELAY", "UNITS", "Ready", "Unit", "Waits", "run"]

DELAY = 0.005
"""Seconds that the proxy adds in each direction."""


@dataclass(frozen=True)
class Ready:
    """A unit of work that may be done again and again, and how to clear up after it."""

    do: Callable[[], object]
    dispose: Callable[[], object]


@dataclass(frozen=True)
class Unit:
    """A kind of work between a checkout and a return."""

    key: str
    title: str
    prepare: Callable[[URL, Contender], Ready]


@dataclass(frozen=True)
class Waits:
    """One measurement."""

    driver: str
    unit: str
    contender: str
    commands: float
    """Sent per unit."""
    waits: float
    """How many round trips long a unit was: the lower quartile, because a busy machine only adds to it."""

    @property
    def bad(self) -> int:
        """Nothing: a wait that is longer than it need be is no failure."""
        return 0


def on_engine(work: Callable[[Engine], object]) -> Callable[[URL, Contender], Ready]:
    """Make a unit's ``prepare`` of a function that takes an engine."""

    def prepare(url: URL, contender: Contender) -> Ready:
        engine = contender.engine(url)
        return Ready(lambda: work(engine), engine.dispose)

    return prepare


def core_read(engine: Engine) -> None:
    """Read one value, without the ORM."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).scalar_one()


def orm_read(engine: Engine) -> None:
    """Read some objects."""
    with Session(engine) as session:
        session.scalars(select(Entry).limit(5)).all()


def orm_write(engine: Engine) -> None:
    """Add an object."""
    with Session(engine) as session:
        session.add(Entry(book="waits", visitor="Ada"))
        session.commit()


def empty(engine: Engine) -> None:
    """Check out and return, and do nothing in between."""
    with engine.connect():
        pass


UNITS = (
    Unit("core_read", "Core read", on_engine(core_read)),
    Unit("orm_read", "ORM read", on_engine(orm_read)),
    Unit("orm_write", "ORM write", on_engine(orm_write)),
    Unit("empty", "empty checkout", on_engine(empty)),
)


def run(
    stage: Stage,
    contenders: Sequence[Contender] = (STOCK, PRE_PING, HOLDFAST),
    units: Sequence[Unit] = UNITS,
    *,
    repeat: int = 8,
) -> list[Waits]:
    """Measure every unit with every driver and contender, back to back on one connection."""
    stage.let_connections_idle()
    make_tables(stage.server.url(stage.drivers[0]))
    rows: list[Waits] = []
    with Proxy.for_server(stage.server) as proxy:
        for driver in stage.drivers:
            url = stage.server.url(driver, host=proxy.host, port=proxy.port)
            for unit in units:
                stage.say(f"{driver}: {unit.title}")
                for contender in contenders:
                    rows.append(_measure(proxy, url, driver, unit, contender, stage.rounds(repeat, 4)))
    return rows


def _measure(proxy: Proxy, url: URL, driver: str, unit: Unit, contender: Contender, repeat: int) -> Waits:
    ready = unit.prepare(url, contender)
    try:
        for _ in range(2):
            ready.do()
        proxy.delay = DELAY
        seconds = []
        with proxy.measure(repeat) as work:
            for _ in range(repeat):
                start = time.perf_counter()
                ready.do()
                seconds.append(time.perf_counter() - start)
    finally:
        proxy.delay = 0.0
        ready.dispose()
    waited = quantiles(seconds, n=4)[0] / work.round_trip
    return Waits(driver, unit.key, contender.name, work.commands_per_unit, waited)
