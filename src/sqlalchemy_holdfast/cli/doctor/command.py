"""The command ``holdfast doctor``: its options, and its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sqlalchemy_holdfast import doctor as examiner
from sqlalchemy_holdfast import urls
from sqlalchemy_holdfast.doctor import Hosting, Report, Severity
from sqlalchemy_holdfast.doctor.checks import CHECKS

from .configuration import configured
from .formats import FORMATS
from .shown import explain, list_checks, show_report

__all__ = ["FAIL_LEVELS", "CouldNotRun", "doctor", "fails"]

_STDIN = "-"
FAIL_LEVELS = ("error", "warning", "note", "never")
"""From which severity on a finding makes the exit status 1."""


class CouldNotRun(click.ClickException):
    """Ends the command with exit status 2."""

    exit_code = 2


def _names(context: click.Context, parameter: click.Parameter, given: Any) -> tuple[str, ...]:
    """Split what was given: an option may be repeated, and may have several with commas in between."""
    return tuple(name.strip() for value in given for name in value.split(",") if name.strip())


class _Configured(click.Command):
    """A command whose options' defaults may stand in pyproject.toml."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            extra.setdefault("default_map", configured(self.params))
        except ValueError as error:
            raise CouldNotRun(str(error)) from None
        return super().make_context(info_name, args, parent, **extra)


# allow_extra_args: so that a second URL is not repeated in an error
@click.command(cls=_Configured, context_settings={"allow_extra_args": True})
@click.argument("url", required=False)
@click.option("--app", metavar="MODULE:APP", help="Import an application and examine it, and the engines it makes.")
@click.option("--processes", type=click.IntRange(1), metavar="N", help="How many processes serve the site.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="How many threads each of them has.")
@click.option(
    "--web-timeout", type=click.FloatRange(0.1), metavar="SECONDS", help="When the web server ends a request."
)
@click.option("--only", multiple=True, callback=_names, metavar="IDS", help="Run these checks or groups: HF401,limits.")
@click.option("--ignore", multiple=True, callback=_names, metavar="IDS", help="Leave these checks or groups out.")
@click.option("--format", "form", type=click.Choice(["table", *FORMATS]), default="table", show_default=True)
@click.option(
    "--fail-level",
    type=click.Choice(FAIL_LEVELS),
    default="warning",
    show_default=True,
    help="From which severity on the exit status is 1.",
)
@click.option("--explain", "explained", metavar="ID", help="Say what a check looks for and why it matters.")
@click.option("--list", "listed", is_flag=True, help="List all checks.")
@click.option("-v", "--verbose", is_flag=True, help="Also list the checks that could not run, and why.")
@click.pass_context
def doctor(
    context: click.Context,
    /,
    *,
    url: str | None,
    app: str | None,
    processes: int | None,
    threads: int | None,
    web_timeout: float | None,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
    fail_level: str,
    explained: str | None,
    listed: bool,
    verbose: bool,
) -> None:
    """Say what is wrong, or will be, with a database connection and its server.

    Without a URL it takes $DATABASE_URL, or reads a URL from the standard input (also with -), out of the shell's
    history. It only reads: at most 25 statements in 2 seconds, and it needs no rights but the account's own.

    The exit status is 0, or 1 for findings from --fail-level on, or 2 when it could not run. Options may stand in
    pyproject.toml, under [tool.holdfast.doctor].
    """
    if context.args:
        raise CouldNotRun("There is more than one URL. Give one, or none to have it read from the standard input.")
    if explained is not None:
        _explain(explained)
        return
    if listed:
        list_checks(CHECKS)
        return
    try:
        examiner.choose(only, ignore)
    except ValueError as error:
        raise CouldNotRun(f"{error}. holdfast doctor --list lists the checks.") from None
    hosting = Hosting(processes, threads, web_timeout)
    if app is not None:
        if url is not None:
            raise CouldNotRun("Give a URL or --app, not both: the application has its own URL.")
        reports: Sequence[Report] = _examine_application(app, hosting, only, ignore)
    else:
        given = _read() if url == _STDIN else url or os.environ.get("DATABASE_URL") or _read()
        _refuse_others(given)
        reports = [examiner.examine(given, hosting=hosting, only=only, ignore=ignore)]
    if form == "table":
        show_report(reports, verbose=verbose)
    else:
        click.echo(FORMATS[form](reports, fail_level))
    raise SystemExit(1 if fails(reports, fail_level) else 0)


def fails(reports: Sequence[Report], fail_level: str) -> bool:
    """Say whether there is a finding at the level, or worse."""
    return fail_level != "never" and any(report.at_least(Severity(fail_level)) for report in reports)


def _explain(id: str) -> None:
    found = next((check for check in CHECKS if check.id == id.strip().upper()), None)
    if found is None:
        raise CouldNotRun(f"There is no check {id!r}. holdfast doctor --list lists the checks.")
    explain(found)


def _read() -> str:
    """Read a URL from the standard input; from a terminal without showing it."""
    if sys.stdin.isatty():
        return str(click.prompt("URL (not shown)", hide_input=True, err=True))
    given = sys.stdin.readline().strip()
    if not given:
        raise CouldNotRun(
            "There is no URL. Give it as an argument, in $DATABASE_URL or on the standard input; or name an "
            "application with --app."
        )
    return given


def _refuse_others(given: str) -> None:
    """End the command for a URL that is well written, and that the doctor knows nothing about."""
    try:
        url = make_url(given)
        if urls.is_ours(url) and url.get_dialect().is_async:
            raise CouldNotRun(
                f"{url.drivername} is an asyncio driver, which the doctor cannot use. Give it the URL with another "
                "driver, such as mysql+pymysql: server and account are the same."
            )
        if urls.is_ours(url) or any(finding.wrong for finding in urls.examine(given)):
            return
    except (ArgumentError, ValueError, ImportError):
        return  # which is a finding
    raise CouldNotRun(f"This is the URL of a {url.get_backend_name()} database. The doctor examines MySQL and MariaDB.")


def _examine_application(
    app: str, hosting: Hosting, only: tuple[str, ...], ignore: tuple[str, ...]
) -> Sequence[Report]:
    raise CouldNotRun("--app is not there yet.")
