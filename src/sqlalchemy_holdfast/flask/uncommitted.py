"""In Flask's debug mode: warn of what a request has changed and not committed.

What was sent to the server and rolled back is noticed by :mod:`sqlalchemy_holdfast.pool.uncommitted`. Here is what only
Flask knows: whether the request was given up, by an exception that the application's error handler took or with an
error page, so that nothing was to be committed; and what was added to ``db.session`` and was not even sent.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request, request_finished, request_started, request_tearing_down
from sqlalchemy.engine import Engine

from .. import reporting
from .._pages import page
from ..pool.engine import HeldEngine
from ..pool.status import status
from ..pool.uncommitted import given_up

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

__all__ = ["warn_in_debug_mode", "warns"]


def warns(app: Flask, engines: Iterable[Engine]) -> bool:
    """Have the engines warn, where the application is in debug mode or their own setting says so.

    :return: whether any of them does.
    """
    held = [found for engine in engines if isinstance(found := status(engine), HeldEngine)]
    warning = [engine.warn_of_uncommitted(debugging=app.debug and not app.testing) for engine in held]
    return any(warning)


def warn_in_debug_mode(db: SQLAlchemy, app: Flask, engines: Iterable[Engine]) -> None:
    """Called at an application's first request: only then is its debug mode known (``app.run(debug=True)``)."""
    if warns(app, engines):
        Requests(db, app).watch()


class Requests:
    """The requests of one application, in which what is not committed is a mistake."""

    def __init__(self, db: SQLAlchemy, app: Flask) -> None:
        self._db = db
        self._app = app
        self._said: set[str] = set()

    def watch(self) -> None:
        """Listen to their signals, and to each exception that Flask deals with (``abort()`` raises one, too)."""
        app: Any = self._app
        request_started.connect(self._begin, app, weak=False)
        request_finished.connect(self._finish, app, weak=False)
        request_tearing_down.connect(self._end, app, weak=False)
        handle = app.handle_user_exception

        def note_and_handle(error: Exception) -> Any:
            given_up.set(True)
            return handle(error)

        app.handle_user_exception = note_and_handle

    def _begin(self, app: Flask, **rest: Any) -> None:
        given_up.set(False)

    def _finish(self, app: Flask, response: Response, **rest: Any) -> None:
        if response.status_code >= 400:
            given_up.set(True)

    def _end(self, app: Flask, exc: BaseException | None = None, **rest: Any) -> None:
        if exc is not None:
            given_up.set(True)
        endpoint = request.endpoint
        if endpoint is None or endpoint in self._said or given_up.get() or not self._db.session.registry.has():
            return
        session = self._db.session()
        changes = [
            *(("new", one) for one in session.new),
            *(("changed", one) for one in session.dirty if session.is_modified(one)),
            *(("deleted", one) for one in session.deleted),
        ]
        if changes:
            self._said.add(endpoint)
            counted = Counter(f"{what} {type(one).__name__}" for what, one in changes)
            named = ", ".join(f"{count} {name}" for name, count in counted.items())
            reporting.never_sent(endpoint, _place(app, endpoint), named, page("errors/uncommitted"))


def _place(app: Flask, endpoint: str) -> str:
    """Say where a view is, as 'FILE, line N'."""
    code = getattr(inspect.unwrap(app.view_functions[endpoint]), "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno})" if code is not None else ""
