"""What the checks of an application find in what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy_holdfast.doctor import Finding, examine
from sqlalchemy_holdfast.doctor.application.facts import ApplicationFacts

__all__ = ["evidence", "found", "severities"]


def found(facts: ApplicationFacts) -> tuple[Finding, ...]:
    report = examine(None, application=facts, only=("prefork", "application"))
    assert [skipped.reason for skipped in report.skipped] == []
    return report.findings


def severities(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.id: finding.severity.value for finding in findings}


def evidence(facts: ApplicationFacts, check: str) -> str:
    (finding,) = [one for one in found(facts) if one.id == check]
    return finding.evidence
