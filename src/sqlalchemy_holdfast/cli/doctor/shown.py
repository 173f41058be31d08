"""Reports and checks for people, on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sqlalchemy_holdfast.doctor import Check, Finding, Report, Severity

from .wording import COLUMNS, counted, in_lines, paragraphs, summary

__all__ = ["explain", "list_checks", "show_report"]

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_INDENT = " " * 18


def _console() -> Console:
    console = Console(highlight=False)
    console.width = min(console.width, COLUMNS) if console.is_terminal else COLUMNS
    return console


def show_report(reports: Sequence[Report], *, verbose: bool) -> None:
    """Print what was found, the worst first; and what was not looked at, where that was asked for."""
    console = _console()
    for report in reports:
        _show(console, report, verbose=verbose)


def _show(console: Console, report: Report, *, verbose: bool) -> None:
    console.print(Text.assemble(("Examined ", "bold"), report.where, f", {report.server}" if report.server else ""))
    console.print()
    for finding in report.findings:
        _show_finding(console, finding)
    found = list(counted(report))
    words = ", ".join(words for _, words in found) or "Nothing was found"
    console.print(Text.assemble((words, _STYLES[found[0][0]] if found else "bold green"), f". {summary(report)}"))
    if report.findings:
        console.print(Text("holdfast doctor --explain ID says why a finding matters.", style="dim"))
    if verbose:
        _show_skipped(console, report)
    console.print()


def _show_finding(console: Console, finding: Finding) -> None:
    severity = (f"{finding.severity.value:<10}", _STYLES[finding.severity])
    console.print(Text.assemble(severity, f"{finding.id}   ", (finding.title, "bold")), soft_wrap=True)
    for paragraph, style in zip(paragraphs(finding), ("", "green"), strict=True):
        for line in in_lines(paragraph, _INDENT):
            console.print(Text(line, style=style), soft_wrap=True)  # an address may be longer than a line
    console.print()


def _show_skipped(console: Console, report: Report) -> None:
    if report.skipped:
        console.print(Text("\nThese checks could not run:", style="bold"))
        for skipped in report.skipped:
            console.print(Text(f"  {skipped.check.id}  {skipped.reason}"))
    if report.unseen:
        console.print(Text("\nThe server did not answer:", style="bold"))
        for line in report.unseen:
            console.print(Text(f"  {line}"))


def explain(check: Check) -> None:
    """Print what a check looks for, and why it matters."""
    console = _console()
    console.print(Text.assemble((f"{check.id} ", "bold"), (check.title, "bold"), f" ({check.severity.value})"))
    console.print()
    console.print(Text(check.explanation))
    console.print()
    console.print(Text(f"Cure: {check.cure}", style="green"))
    if check.page:
        console.print(Text(check.page, style="dim"), soft_wrap=True)


def list_checks(checks: Sequence[Check]) -> None:
    """Print the checks, with group and severity."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in checks:
        severity = Text(check.severity.value, style=_STYLES[check.severity])
        table.add_row(check.id, check.group, severity, Text(check.title))
    _console().print(table)
