"""What a run of `tests.transactions.ledger` found, and the tables that show the modes side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy_holdfast.cli.tables import Cell, Table

MODES = {
    "holdfast": "holdfast",
    "stock": "stock",
    "naive": "stock + naive retry",
    "no-verify": "holdfast, no verification",
}
"""How a unit of work is done, and what that is called in a table."""
HELD = ("holdfast", "no-verify")
"""The modes with holdfast."""
NONE = Cell("-", "dim")


@dataclass
class Report:
    """What was done, what was told, and what was found."""

    driver: str
    mode: str
    seconds: float
    server: str
    """Flavour and version."""
    faults: Counter[str] = field(default_factory=Counter)
    """How many of each kind were injected."""
    told: Counter[str] = field(default_factory=Counter)
    """How many units the workers were told were done, failed, unknown."""
    errors: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """The worker was told that it was done, and it was not."""
    doubled: int = 0
    """It was done more than once."""
    denied: int = 0
    """The worker was told that it failed, and it was done."""
    unknown_done: int = 0
    sums_right: bool = True
    slowest: float = 0.0
    """Seconds that one unit took at the most."""
    counters: dict[str, int] = field(default_factory=dict)
    unexpected: str = ""
    """The traceback of the first error that holdfast let through."""

    @property
    def right(self) -> bool:
        """Whether everybody was told the truth."""
        return self.sums_right and not (self.lost or self.doubled or self.denied)

    @property
    def kept(self) -> bool:
        """Whether holdfast has kept its promise for this mode. Of stock SQLAlchemy none is asked."""
        if self.mode not in HELD:
            return True
        return self.right and not self.told["failed"] and not (self.mode == "holdfast" and self.told["unknown"])

    def __str__(self) -> str:
        return (
            f"{self.driver}, {self.server}, {self.mode}, {self.seconds:.0f} s: {_list(self.told)} "
            f"(unknown and done: {self.unknown_done}); lost {self.lost}, doubled {self.doubled}, "
            f"done though told failed {self.denied}, sums {'right' if self.sums_right else 'WRONG'}, "
            f"slowest {self.slowest:.1f} s; errors: {_list(self.errors)}; faults: {_list(self.faults)}\n"
            + self.unexpected
        )


def outcomes(title: str, reports: Sequence[Report]) -> Table:
    """What became of the units of work: a column for each mode."""
    table = _table(title, reports)
    table.add("seconds", *(f"{report.seconds:.0f}" for report in reports))
    table.add("units of work", *(f"{report.told.total():,}" for report in reports))
    table.add("done", *(f"{report.told['done']:,}" for report in reports))
    table.add("errors the user saw", *(_zero(report.told["failed"]) for report in reports))
    table.add("outcome unknown", *(_unknown(report) for report in reports))
    table.add("  of which done", *(f"{report.unknown_done:,}" if report.mode in HELD else NONE for report in reports))
    table.add("lost", *(_zero(report.lost) for report in reports))
    table.add("doubled", *(_zero(report.doubled) for report in reports))
    table.add("done though told failed", *(_zero(report.denied) for report in reports))
    table.add("sums right", *(Cell("yes", "good") if report.sums_right else Cell("no", "bad") for report in reports))
    table.add("slowest unit s", *(f"{report.slowest:.1f}" for report in reports))
    table.notes.append("lost: told done, and not in the ledger; doubled: there more than once")
    table.notes.append(
        "outcome unknown: CommitOutcomeUnknown; stock SQLAlchemy raises the same errors as for a failure"
    )
    return table


def faults(title: str, reports: Sequence[Report]) -> Table:
    """The faults by kind: a column for each mode. The notes have the errors that the workers saw."""
    table = _table(title, reports)
    total: Counter[str] = sum((report.faults for report in reports), Counter())
    for kind, _ in total.most_common():
        table.add(kind, *(f"{report.faults[kind]:,}" for report in reports))
    table.add("all", *(f"{report.faults.total():,}" for report in reports))
    for report in reports:
        table.notes.append(f"errors seen, {MODES[report.mode]}: {_list(report.errors)}")
    for report in reports:
        counted = Counter({name: n for name, n in report.counters.items() if name.startswith(("repeated", "commits"))})
        if counted.total():
            table.notes.append(f"counters, {MODES[report.mode]}: {_list(+counted)}")
    return table


def _table(title: str, reports: Sequence[Report]) -> Table:
    return Table(title, ("", *(MODES[report.mode] for report in reports)))


def _zero(count: int) -> Cell:
    return Cell(f"{count:,}", "bad" if count else "good")


def _unknown(report: Report) -> Cell:
    """Without verification it is the truth; stock SQLAlchemy does not tell it from an error."""
    if report.mode in HELD:
        count = report.told["unknown"]
        return _zero(count) if report.mode == "holdfast" else Cell(f"{count:,}")
    return NONE


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "none"
