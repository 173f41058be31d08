"""What a section is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy_holdfast.cli.tables import Table
from sqlalchemy_holdfast.experiments.stage import Stage

__all__ = ["Bars", "Result", "Section"]


@dataclass(frozen=True)
class Bars:
    """A group of bars for the picture: one panel with a group for each label, a bar for each contender."""

    title: str
    unit: str
    values: dict[str, dict[str, float]]
    """By label, then by contender."""


@dataclass
class Result:
    """What a section measured, ready to be shown."""

    tables: list[Table]
    bars: list[Bars] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """One section of the benchmarks."""

    key: str
    title: str
    words: str
    run: Callable[[Stage], Result]
