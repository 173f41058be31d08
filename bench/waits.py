"""Commands and waits per unit: the demonstration's experiment, with more contenders and a Flask site."""

from __future__ import annotations

from sqlalchemy_holdfast.cli.demo import shown
from sqlalchemy_holdfast.experiments import waits
from sqlalchemy_holdfast.experiments.contenders import CONTENDERS
from sqlalchemy_holdfast.experiments.stage import Stage

from .flask_site import FLASK_READ
from .section import Bars, Result, Section

__all__ = ["SECTION"]

_UNITS = (*waits.UNITS[:2], FLASK_READ, *waits.UNITS[2:])


def run(stage: Stage) -> Result:
    """Measure."""
    rows = waits.run(stage, CONTENDERS, _UNITS, repeat=12)
    bars = [
        Bars(
            f"Round trips waited for: {driver}",
            "waits per unit of work",
            {
                unit.title: {row.contender: row.waits for row in rows if (row.driver, row.unit) == (driver, unit.key)}
                for unit in _UNITS
            },
        )
        for driver in stage.drivers
    ]
    tables = shown.waits_tables(rows, _UNITS)
    tables[0].notes.append("NullPool's commands are those after the login; the login is waited for as well.")
    return Result(tables, bars)


SECTION = Section(
    "waits",
    "What a unit of work waits for",
    f"A round trip takes {2000 * waits.DELAY:g} ms; waits are the time of a unit in round trips (lower quartile).",
    run,
)
