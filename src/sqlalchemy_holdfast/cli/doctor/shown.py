"""Reports and checks for people, on a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sqlalchemy_holdfast.doctor import Check, Report, Severity

__all__ = ["explain", "list_checks", "show_report"]

_COLUMNS = 80
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_PLURALS = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.NOTE: "notes"}


def _console() -> Console:
    console = Console(highlight=False)
    console.width = min(console.width, _COLUMNS) if console.is_terminal else _COLUMNS
    return console


def show_report(reports: Sequence[Report], *, verbose: bool) -> None:
    """Print what was found, the worst first; and what was not looked at, where that was asked for."""
    console = _console()
    for report in reports:
        _show(console, report, verbose=verbose)


def _show(console: Console, report: Report, *, verbose: bool) -> None:
    console.print(Text.assemble(("Examined ", "bold"), report.where, f", {report.server}" if report.server else ""))
    console.print()
    if report.findings:
        table = _table()
        for finding in report.findings:
            what = Text.assemble(
                (finding.title, "bold"), "\n", finding.evidence, "\n", (f"Cure: {finding.cure}", "green")
            )
            table.add_row(Text(finding.severity.value, style=_STYLES[finding.severity]), finding.id, what)
        console.print(table)
        console.print()
    console.print(_summary(report))
    if report.findings:
        console.print(Text("holdfast doctor --explain ID says why a finding matters.", style="dim"))
    if verbose:
        _show_skipped(console, report)
    console.print()


def _table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False, show_lines=True)
    table.add_column(width=7, no_wrap=True)
    table.add_column(width=5, no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _summary(report: Report) -> Text:
    counted = Counter(finding.severity for finding in report.findings)
    found = [f"{counted[s]} {s.value if counted[s] == 1 else _PLURALS[s]}" for s in Severity if counted[s]]
    worst = next((_STYLES[s] for s in Severity if counted[s]), "bold green")
    words = f". {len(report.checks)} checks have run"
    if report.skipped:
        words += f", {len(report.skipped)} could not"
    if report.statements:
        words += f"; {report.statements} statements, {report.seconds:.2f} s"
    return Text.assemble((", ".join(found) or "Nothing was found", worst), f"{words}.")


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
