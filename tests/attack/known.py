"""What stock SQLAlchemy and the drivers do wrong themselves. It counts as no difference where the held side is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .fuzz import Finding
from .script import Script, walk

__all__ = ["KNOWN", "reason_of"]


@dataclass(frozen=True)
class Known:
    """One fault of stock's."""

    reason: str
    rules: tuple[str, ...]
    applies: Callable[[frozenset[str], str], bool]
    """Told the names of the sequence's steps and the driver's."""


KNOWN: tuple[Known, ...] = ()


def reason_of(finding: Finding, steps: Script, driver: str) -> str | None:
    """Return why stock may do this, or ``None`` when nobody knows."""
    names = frozenset(step.name for step in walk(steps))
    for known in KNOWN:
        if finding.rule in known.rules and known.applies(names, driver):
            return known.reason
    return None
