"""Settings of a Flask application: older spellings that still work, and changes that come too late."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from flask import Flask
from sqlalchemy.engine import URL

from .. import reporting, urls
from .._pages import page
from ..errors import DatabaseURLError

__all__ = [
    "OLD",
    "RETRY",
    "UNAVAILABLE",
    "as_read",
    "look_at_uris",
    "warn_of_late_settings",
    "warn_of_old_spellings",
]

OLD = {
    "SQLALCHEMY_POOL_SIZE": "pool_size",
    "SQLALCHEMY_POOL_TIMEOUT": "pool_timeout",
    "SQLALCHEMY_POOL_RECYCLE": "pool_recycle",
    "SQLALCHEMY_MAX_OVERFLOW": "max_overflow",
}
"""Settings of Flask-SQLAlchemy 2, removed in 3.0 and ignored there in silence."""

RETRY = "HOLDFAST_RETRY_SAFE_REQUESTS"
"""The setting that turns :mod:`.safe_requests` on."""

UNAVAILABLE = "HOLDFAST_503"
"""The setting that turns :mod:`.no_database` off, when it is false."""

_PAGE = page("errors/database-url-error")
_READ_ONCE = (
    *("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_ECHO"),
    *OLD,
    RETRY,
    UNAVAILABLE,
)
"""Settings that are read when the engines are made, and never again."""


def as_read(app: Flask) -> dict[str, Any]:
    """Copy the settings that are read once, as they are now."""
    values = {name: app.config.get(name) for name in _READ_ONCE}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}


def look_at_uris(app: Flask, *, other_engines: bool = False) -> None:
    """Refuse database URIs that cannot be read, with the setting's name.

    Flask-SQLAlchemy takes ``None`` for no setting at all, and hands everything else to SQLAlchemy.

    :param other_engines: whether ``SQLALCHEMY_BINDS`` or the engine options may well have the only one.
    :raises RuntimeError: when there is none (as Flask-SQLAlchemy does).
    :raises DatabaseURLError: for one that is empty, or not a URL, or in which ``plugin=holdfast`` is
        misspelt, or for a database that SQLAlchemy does not know.
    """
    uri = app.config.get("SQLALCHEMY_DATABASE_URI")
    binds = app.config.get("SQLALCHEMY_BINDS") or {}
    if uri is None and "SQLALCHEMY_DATABASE_URI" in app.config and not binds and not other_engines:
        raise RuntimeError(
            "SQLALCHEMY_DATABASE_URI is None, so there is no database. Either 'SQLALCHEMY_DATABASE_URI' or "
            "'SQLALCHEMY_BINDS' must be set. os.environ.get('DATABASE_URL') is None where that variable is not set: is "
            "it set where this program runs (a web server has an environment of its own), and its name spelt right? "
            f"{_PAGE}"
        )
    named: dict[str, Any] = {"SQLALCHEMY_DATABASE_URI": uri}
    for key, value in binds.items():
        named[f"SQLALCHEMY_BINDS[{key!r}]"] = value.get("url") if isinstance(value, dict) else value
    for name, value in named.items():
        if value is None:
            continue
        try:
            if not isinstance(value, (str, URL)):
                raise DatabaseURLError(
                    f"A database URL is a text or a sqlalchemy.URL, not {type(value).__name__}. {_PAGE}"
                )
            url = urls.parse(value) if isinstance(value, str) else value
            urls.check_plugins(url)
            if not url.query.get("plugin"):  # a plugin looks itself, or changes the URL
                urls.check_dialect(url)
        except DatabaseURLError as error:
            raise DatabaseURLError(f"{name}: {error}") from None


def warn_of_old_spellings(app: Flask) -> None:
    """Warn of settings of Flask-SQLAlchemy 2, with their new form: in the log, and as a ``DeprecationWarning``."""
    old = {new: app.config[name] for name, new in OLD.items() if app.config.get(name) is not None}
    if not old:
        return
    named = ", ".join(name for name in OLD if app.config.get(name) is not None)
    given = app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
    new = {name: given.get(name, value) for name, value in old.items()}  # nothing else of it: it may hold a password
    message = (
        f"{named}: Flask-SQLAlchemy 3 has no such setting any more; holdfast honours it. The new form is "
        f"SQLALCHEMY_ENGINE_OPTIONS = {new!r}"
    )
    if "pool_recycle" in new:
        message += " (and pool_recycle is not needed with holdfast)"
    reporting.configuration(message)  # Python hides most deprecation warnings
    warnings.warn(message, DeprecationWarning, stacklevel=_callers_level())


def warn_of_late_settings(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Warn of settings that changed after they were read: in the log, and as a ``RuntimeWarning``.

    :param before: what :func:`as_read` returned when the engines were made.
    :param now: what it returns now.
    """
    late = [name for name in _READ_ONCE if before[name] != now[name]]
    if not late:
        return
    message = (
        f"{' and '.join(late)} changed after SQLAlchemy(app) or init_app(app) had made the database engines; the "
        "change has no effect. Move it above that line."
    )
    reporting.configuration(message)
    warnings.warn(message, RuntimeWarning, stacklevel=_callers_level())


def _callers_level() -> int:
    """How many frames up the application's own code is, as ``warnings.warn`` counts them."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "sqlalchemy_holdfast",
        "flask_sqlalchemy",
    ):
        level, frame = level + 1, frame.f_back
    return level
