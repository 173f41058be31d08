"""The command ``holdfast doctor``: its options, and its exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sqlalchemy_holdfast import doctor as examiner
from sqlalchemy_holdfast import urls
from sqlalchemy_holdfast.doctor import Hosting, NoApplication, NoDatabase, Report, examine_application
from sqlalchemy_holdfast.doctor.application.watching import SECONDS
from sqlalchemy_holdfast.doctor.checks import CHECKS

from .options import TIME, Configured, CouldNotRun, end, examining_options, showing_options
from .shown import explain, list_checks

__all__ = ["doctor"]

_STDIN = "-"


# allow_extra_args: so that a second URL is not repeated in an error
@click.command(cls=Configured, context_settings={"allow_extra_args": True})
@click.argument("url", required=False)
@click.option("--app", metavar="MODULE:APP", help="Import an application and examine it, and the engines it makes.")
@click.option(
    "--app-timeout",
    type=TIME,
    default=SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long that import may take.",
)
@examining_options
@showing_options
@click.option("--explain", "explained", metavar="ID", help="Say what a check looks for and why it matters.")
@click.option("--list", "listed", is_flag=True, help="List all checks.")
@click.pass_context
def doctor(
    context: click.Context,
    /,
    *,
    url: str | None,
    app: str | None,
    app_timeout: float,
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
        reports: Sequence[Report] = _examine_application(app, app_timeout, hosting, only, ignore)
    else:
        if url is not None:
            _refuse_application(url)
        given = _read() if url == _STDIN else url or os.environ.get("DATABASE_URL") or _read()
        _refuse_others(given)
        reports = [examiner.examine(given, hosting=hosting, only=only, ignore=ignore)]
    end(reports, form, fail_level, verbose=verbose)


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


def _refuse_application(given: str) -> None:
    """End the command for an application that was given in a URL's place. Other words than its name are not repeated:
    they may be a part of a password."""
    found = re.fullmatch(r"([\w./]+?)(\.py)?(:[\w.]+(\(.*\))?)?", given)
    if found is None:
        return
    place = found[1] if found[2] or "/" in found[1] else found[1].replace(".", "/")
    if Path(f"{place}.py").is_file() or (not found[2] and Path(place, "__init__.py").is_file()):
        raise CouldNotRun(f"This is no URL. Did you mean --app {given}?")
    if found[2] or re.fullmatch(r"[a-z_][\w.]*:[a-z_]\w*(\(.*\))?", given):
        raise CouldNotRun(
            "This is no URL: it has no ://. If it is an application, write --app in front of it, as in --app shop:app; "
            "but there is no such file here."
        )


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
    app: str, seconds: float, hosting: Hosting, only: tuple[str, ...], ignore: tuple[str, ...]
) -> Sequence[Report]:
    try:
        return examine_application(app, seconds=seconds, hosting=hosting, only=only, ignore=ignore)
    except (NoApplication, NoDatabase) as error:
        raise CouldNotRun(str(error)) from None
