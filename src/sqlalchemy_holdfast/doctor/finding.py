"""What an examination finds, and how bad it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Severity"]


class Severity(enum.Enum):
    """How bad a finding is."""

    ERROR = "error"
    """Something does not work, or will fail."""
    WARNING = "warning"
    """Something will go wrong under load, at a restart, or at a date that can be named."""
    NOTE = "note"
    """Worth to know; nothing needs to be done now."""

    def at_least(self, other: Severity) -> bool:
        """Whether this is as bad as the other, or worse."""
        order = list(Severity)
        return order.index(self) <= order.index(other)


@dataclass(frozen=True)
class Finding:
    """One thing that was found. No part of it ever has a password or a statement's value in it."""

    id: str
    """The check's id, such as ``HF401``. It never changes its meaning."""
    group: str
    """The check's group, such as ``session``."""
    title: str
    """What is the matter, in a few words."""
    severity: Severity
    """How bad it is."""
    evidence: str
    """What was seen, with its figures, in a sentence or two."""
    cure: str
    """What to do, in one line."""
    page: str
    """The address of the page about it; empty where the package's metadata do not say where the documentation is."""
