"""Reports for people, as plain text: where rich is not installed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click

from sqlalchemy_holdfast.doctor import Report, Severity

from .wording import COLUMNS, counted, in_lines, paragraphs, summary

__all__ = ["show_report"]

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_INDENT = " " * 16


def show_report(reports: Sequence[Report], *, verbose: bool) -> None:
    """Print what was found, the worst first; and what was not looked at, where that was asked for."""
    for report in reports:
        server = f", {report.server}" if report.server else ""
        click.echo(textwrap.fill(f"Examined {report.where}{server}", COLUMNS) + "\n")
        for finding in report.findings:
            severity = click.style(f"{finding.severity.value:<9}", fg=_COLOURS[finding.severity], bold=True)
            click.echo(f"{severity}{finding.id}  {finding.title}")
            for paragraph in paragraphs(finding):
                for line in in_lines(paragraph, _INDENT):
                    click.echo(line)
            click.echo()
        found = ", ".join(words for _, words in counted(report)) or "Nothing was found"
        click.echo(textwrap.fill(f"{found}. {summary(report)}", COLUMNS))
        if verbose:
            for skipped in report.skipped:
                click.echo(f"  {skipped.check.id}  {skipped.reason}")
            for line in report.unseen:
                click.echo(f"  {line}")
        click.echo()
