"""What came of an examination."""

from __future__ import annotations

from dataclasses import dataclass

from .check import Check
from .finding import Finding, Severity

__all__ = ["Report", "Skipped"]


@dataclass(frozen=True)
class Skipped:
    """A check that did not run, or could not see what it needs."""

    check: Check
    """The check."""
    reason: str
    """Why."""
    not_given: bool = False
    """Whether it only lacks what was not given: an application, or an option such as ``--processes``."""


@dataclass(frozen=True)
class Report:
    """What came of an examination."""

    where: str
    """What was examined: driver, host, port and database; no account."""
    server: str
    """Who answered, such as ``MariaDB 10.11.6``; empty when nobody did."""
    findings: tuple[Finding, ...]
    """What was found, the worst first."""
    checks: tuple[Check, ...]
    """The checks that have run."""
    skipped: tuple[Skipped, ...]
    """The checks that have not."""
    unseen: tuple[str, ...]
    """What the server would not answer, and why."""
    statements: int
    """How many statements were sent."""
    connect_seconds: float | None
    """How long connecting took."""
    seconds: float
    """How long the statements took."""

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings that are as bad as that, or worse."""
        return tuple(finding for finding in self.findings if finding.severity.at_least(severity))
