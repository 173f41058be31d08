"""What ``holdfast doctor`` and ``flask holdfast doctor`` have in common: options, exit status, and how it is shown.

Needs click alone: Flask brings that, and not rich.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from sqlalchemy_holdfast.doctor import Report, Severity

from .configuration import configured
from .formats import FORMATS

__all__ = ["FAIL_LEVELS", "TIME", "Configured", "CouldNotRun", "end", "examining_options", "fails", "showing_options"]

FAIL_LEVELS = ("error", "warning", "note", "never")
"""From which severity on a finding makes the exit status 1."""

_F = TypeVar("_F", bound=Callable[..., Any])


class CouldNotRun(click.ClickException):
    """Ends the command with exit status 2."""

    exit_code = 2


def _names(context: click.Context, parameter: click.Parameter, given: Any) -> tuple[str, ...]:
    """Split what was given: an option may be repeated, and may have several with commas in between."""
    return tuple(name.strip() for value in given for name in value.split(",") if name.strip())


class _Count(click.IntRange):
    """A whole number, refused in plain words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number from {self.min} on. Give one, such as 4.", param, ctx)


class _Time(click.FloatRange):
    """A number of seconds, refused in plain words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a number of seconds from {self.min} on. Give one, such as 30.", param, ctx)


TIME = _Time(0.1)
"""What an option takes that is a time."""


class Configured(click.Command):
    """A command whose options' defaults may stand in pyproject.toml."""

    elsewhere: tuple[str, ...] = ()
    """Options of ``holdfast doctor`` that this command has not; there they may stand, too."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            extra.setdefault("default_map", configured(self.params, self.elsewhere))
        except ValueError as error:
            raise CouldNotRun(str(error)) from None
        return super().make_context(info_name, args, parent, **extra)


def _all(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


examining_options = _all(
    click.option("--processes", type=_Count(1), metavar="N", help="How many processes serve the site."),
    click.option("--threads", type=_Count(1), metavar="N", help="How many threads each of them has."),
    click.option("--web-timeout", type=TIME, metavar="SECONDS", help="When the web server ends a request."),
    click.option(
        "--only", multiple=True, callback=_names, metavar="IDS", help="Run these checks or groups: HF401,limits."
    ),
    click.option("--ignore", multiple=True, callback=_names, metavar="IDS", help="Leave these checks or groups out."),
)
"""What is examined, and what is known about it."""

showing_options = _all(
    click.option("--format", "form", type=click.Choice(["table", *FORMATS]), default="table", show_default=True),
    click.option(
        "--fail-level",
        type=click.Choice(FAIL_LEVELS),
        default="warning",
        show_default=True,
        help="From which severity on the exit status is 1.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Also list the checks that could not run, and why."),
)
"""How the reports are shown, and when the command fails."""


def end(reports: Sequence[Report], form: str, fail_level: str, *, verbose: bool) -> None:
    """Show reports, and end the command.

    :raises SystemExit: always: 0, or 1 when there is a finding at the level.
    """
    if form == "table":
        _show(reports, verbose)
    else:
        click.echo(FORMATS[form](reports, fail_level))
    raise SystemExit(1 if fails(reports, fail_level) else 0)


def fails(reports: Sequence[Report], fail_level: str) -> bool:
    """Say whether there is a finding at the level, or worse."""
    return fail_level != "never" and any(report.at_least(Severity(fail_level)) for report in reports)


def _show(reports: Sequence[Report], verbose: bool) -> None:
    try:
        from .shown import show_report
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        from .plain import show_report
    show_report(reports, verbose=verbose)
