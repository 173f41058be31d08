"""What both ways to show a report to people have in common: wrapped text, whole addresses, and the summary."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator

from sqlalchemy_holdfast.doctor import Finding, Report, Severity

__all__ = ["COLUMNS", "counted", "in_lines", "paragraphs", "summary"]

COLUMNS = 80
_ADDRESS = re.compile(r"\(?(https?://[^\s()]*[^\s().,;:?!])\)?[.,;]?")


def in_lines(text: str, indent: str = "") -> Iterator[str]:
    """Wrap a text. An address of a page is a line of its own, and whole, however long: so it can be clicked and copied.

    :param indent: what each line begins with.
    """
    for paragraph in text.splitlines():
        for number, part in enumerate(_ADDRESS.split(paragraph)):
            if number % 2:
                yield f"{indent}{part}"
            elif part.strip():
                lead = indent + " " * (len(part) - len(part.lstrip()) if number == 0 else 0)
                yield from textwrap.wrap(
                    part.strip(), COLUMNS, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False
                )


def paragraphs(finding: Finding) -> tuple[str, str]:
    """Return what was seen, and what to do."""
    return finding.evidence, f"Cure: {finding.cure}"


def counted(report: Report) -> Iterator[tuple[Severity, str]]:
    """Yield how many findings of each severity there are, the worst first; none where there are none."""
    numbers = Counter(finding.severity for finding in report.findings)
    for severity in Severity:
        if number := numbers[severity]:
            yield severity, f"{number} {severity.value}{'s' * (number != 1)}"


def summary(report: Report) -> str:
    """Say how many checks have run, how many lack something that was not given, and how many could not run."""
    words = [f"{len(report.checks)} checks have run" if len(report.checks) != 1 else "1 check has run"]
    lacking = [skipped for skipped in report.skipped if skipped.not_given]
    if lacking:
        app = "--app or " if any("application" in skipped.check.needs for skipped in lacking) else ""
        words.append(f"{len(lacking)} need {app}other options" if len(lacking) > 1 else f"1 needs {app}another option")
    if unable := len(report.skipped) - len(lacking):
        words.append(f"{unable} could not")
    cost = f"; {report.statements} statements, {report.seconds:.2f} s" if report.statements else ""
    return f"{', '.join(words)}{cost}."
