"""``flask holdfast doctor``: the doctor in Flask's own command, for the application that Flask has loaded."""

from __future__ import annotations

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from sqlalchemy_holdfast.doctor import Hosting, NoDatabase, examine_running

from .options import Configured, CouldNotRun, end, examining_options, showing_options

__all__ = ["doctor"]


class _InFlask(Configured):
    elsewhere = ("app", "app-timeout")


@click.command(cls=_InFlask)
@examining_options
@showing_options
@with_appcontext
def doctor(
    processes: int | None,
    threads: int | None,
    web_timeout: float | None,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
    fail_level: str,
    verbose: bool,
) -> None:
    """Say what is wrong, or will be, with this application and its databases.

    It uses the application's own engines, for all binds, and only reads. The exit status is 0, or 1 for findings from
    --fail-level on, or 2 when it could not run.
    """
    app: Any = current_app._get_current_object()  # type: ignore[attr-defined]
    engines = getattr(app.extensions.get("sqlalchemy"), "engines", None) or {}
    try:
        reports = examine_running(
            app.import_name,
            app,
            flask_engines=tuple(engines.values()),
            hosting=Hosting(processes, threads, web_timeout),
            only=only,
            ignore=ignore,
        )
    except NoDatabase as error:
        raise CouldNotRun(str(error)) from None
    except ValueError as error:
        raise CouldNotRun(f"{error}. holdfast doctor --list lists the checks.") from None
    end(reports, form, fail_level, verbose=verbose)
