"""What stands on the page of measurements: the tables that `make bench` wrote, and pictures of the main ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pictures
import report
from tables import Generated

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

_WAITS = "Commands sent / round trips waited for, per unit, back to back on one connection"
_RATE = "Units per second, and ratio to stock: "
_RATES = {
    "1 ms round trip": ("Reads per second, 1 ms away", "stock = 1; more is better"),
    "loopback, a core for each": ("Reads per second, same machine", "a core for each; stock = 1; more is better"),
    "loopback, one core for site and server": ("Reads per second, one core", "for both; stock = 1; more is better"),
}


class Pictures(Generated):
    """`{holdfast-pictures}`: one picture for each of the main tables."""

    def lines(self) -> Iterator[str]:
        text = report.REPORT.read_text(encoding="utf-8")
        self.env.note_dependency(str(report.REPORT))
        folder = Path(self.env.app.outdir) / "_images" / "measured"
        folder.mkdir(parents=True, exist_ok=True)
        for name, (said, picture) in _drawn(text).items():
            (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
            yield f"<img class='measured' src='_images/measured/{name}.svg' alt='{said}' width='{pictures.WIDTH}'>\n"


def _drawn(text: str) -> Mapping[str, tuple[str, str]]:
    """Return each picture under its file's name, with what it is called."""
    drawn: dict[str, tuple[str, str]] = {}
    for key, driver in report.DRIVERS.items():
        units = ("ORM read", "ORM write", "Core read", "Flask read")
        groups = {unit: report.figures(text, _WAITS, key, unit, r"/ (\S+)") for unit in units}
        title = f"Waits with {driver}"
        drawn[f"waits-{key}"] = (title, pictures.bars(title, "network round trips a request; less is better", groups))
    for where, (title, unit) in _RATES.items():
        groups = {
            driver: report.figures(text, _RATE + where, key, "ORM read", r"([\d.]+)x")
            for key, driver in report.DRIVERS.items()
        }
        drawn[re.sub(r"\W+", "-", where)] = (title, pictures.bars(title, unit, groups, decimals=2))
    return drawn


class Tables(Generated):
    """`{holdfast-tables}`: all that the report has, with a heading for each of its sections."""

    def lines(self) -> Iterator[str]:
        self.env.note_dependency(str(report.REPORT))
        for title, text in report.sections(report.REPORT.read_text(encoding="utf-8")):
            yield f"## {title}\n"
            yield text
            yield ""


class Surroundings(Generated):
    """`{holdfast-surroundings}`: where it was measured."""

    def lines(self) -> Iterator[str]:
        yield from (f"* {line}" for line in report.head(report.REPORT.read_text(encoding="utf-8")))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-pictures", Pictures)
    app.add_directive("holdfast-tables", Tables)
    app.add_directive("holdfast-surroundings", Surroundings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
