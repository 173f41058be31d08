"""What an application has of Flask's: its extension, its settings, and who ends its sessions."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import scoped_session

from .facts import FlaskFacts
from .sources import Source, removes_sessions

__all__ = ["describe_flask", "greenlets"]

_EXTENSION = "sqlalchemy"
_OLD = ("SQLALCHEMY_POOL_SIZE", "SQLALCHEMY_POOL_TIMEOUT", "SQLALCHEMY_POOL_RECYCLE", "SQLALCHEMY_MAX_OVERFLOW")
_EXTENSIONS = {"sqlalchemy_holdfast": "holdfast", "flask_sqlalchemy": "flask_sqlalchemy"}


def describe_flask(loaded: Any, sources: Iterable[Source]) -> FlaskFacts | None:
    """Describe a Flask application.

    :param loaded: the application, or something around one.
    :param sources: the application's own code.
    :return: ``None`` when there is none, or when there are several and it cannot be told which is meant.
    """
    app = _flask(loaded)
    if app is None:
        return None
    db = app.extensions.get(_EXTENSION)
    packages = [kind.__module__.partition(".")[0] for kind in type(db).__mro__]
    own = getattr(db, "session", None)
    scoped = [one for one in _all_of(scoped_session) if one is not own]
    return FlaskFacts(
        extension=next((name for package, name in _EXTENSIONS.items() if package in packages), ""),
        old_settings=tuple(name for name in _OLD if app.config.get(name) is not None),
        debug=bool(app.debug),
        scoped_sessions=len(scoped),
        removes_sessions=removes_sessions(sources),
    )


def _flask(loaded: Any) -> Any:
    flask = sys.modules.get("flask")
    if flask is None:
        return None
    if isinstance(loaded, flask.Flask):
        return loaded
    found = _all_of(flask.Flask)
    return found[0] if len(found) == 1 else None


def _all_of(kind: type[Any]) -> list[Any]:
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def greenlets() -> str:
    """Name what has patched Python's sockets to work with greenlets: ``gevent``, ``eventlet``, or nothing."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("socket"):
        return "eventlet"
    return ""
