"""Reports for people, as plain text: where rich is not installed."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

import click

from sqlalchemy_holdfast.doctor import Report, Severity

__all__ = ["show_report"]

_COLUMNS = 80
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_INDENT = " " * 16


def show_report(reports: Sequence[Report], *, verbose: bool) -> None:
    """Print what was found, the worst first; and what was not looked at, where that was asked for."""
    for report in reports:
        server = f", {report.server}" if report.server else ""
        click.echo(textwrap.fill(f"Examined {report.where}{server}", _COLUMNS) + "\n")
        for finding in report.findings:
            severity = click.style(f"{finding.severity.value:<9}", fg=_COLOURS[finding.severity], bold=True)
            click.echo(f"{severity}{finding.id}  {finding.title}")
            for paragraph in (*finding.evidence.splitlines(), f"Cure: {finding.cure}"):
                click.echo(textwrap.fill(paragraph, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT))
            click.echo()
        counted = Counter(finding.severity.value for finding in report.findings)
        found = ", ".join(f"{counted[one.value]} {one.value}{'s' * (counted[one.value] != 1)}" for one in Severity)
        click.echo(f"{found}. {len(report.checks)} checks have run, {len(report.skipped)} could not.")
        if verbose:
            for skipped in report.skipped:
                click.echo(f"  {skipped.check.id}  {skipped.reason}")
            for line in report.unseen:
                click.echo(f"  {line}")
        click.echo()
