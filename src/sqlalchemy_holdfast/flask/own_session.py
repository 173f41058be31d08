"""A request has a session of its own, even where an application context was pushed outside of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, has_app_context, has_request_context, request
from flask.globals import app_ctx
from sqlalchemy.orm import scoped_session

from ..pool.status import status
from ..transactions.orm import has_changed

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

__all__ = ["OwnSession", "ScopedSession", "current_scope"]

_STREAMED = "holdfast.streamed"


class ScopedSession(scoped_session[Any]):
    """A scoped session that can also be invalidated, and closed where there is no application context."""

    def close(self) -> None:
        if has_app_context() or self.registry.scopefunc is not current_scope:
            super().close()

    def invalidate(self) -> None:
        """Close the current session and its connections, as :meth:`sqlalchemy.orm.Session.invalidate` does."""
        self.registry().invalidate()


_request: ContextVar[tuple[object, object] | None] = ContextVar("holdfast_request", default=None)
"""The application context that a request shares with what is outside of it, and what stands for the request."""


def current_scope() -> int:
    """Say whose session it is: the application context's, or the request's where that context is not its own."""
    context = app_ctx._get_current_object()  # type: ignore[attr-defined]
    shared = _request.get()
    return id(shared[1]) if shared is not None and shared[0] is context else id(context)


class OwnSession:
    """WSGI middleware: give a request its own session where an application context was pushed outside of requests.

    On small sites ``app.app_context().push()`` stands at module level. Flask then runs every request in that context,
    which never ends: with one session, one transaction and one snapshot for the life of the worker. Only the session
    is the request's own; the context and ``flask.g`` stay shared, as in Flask.

    Not where sharing may be meant: while ``app.testing`` is set, inside another request, when the session outside has
    changes that are not committed, and for other databases than those that holdfast holds (SQLite in memory has one
    connection for all sessions).
    """

    def __init__(
        self, db: SQLAlchemy, app: Flask, inner: Callable[..., Iterable[bytes]], begin: Callable[[], object]
    ) -> None:
        """Wrap an application.

        :param inner: the WSGI application that answers.
        :param begin: called at the beginning of each request.
        """
        self.db = db
        self.app = app
        self.inner = inner
        self.begin = begin
        app.after_request(self._note)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.begin()
        if not self._is_shared():
            return self.inner(environ, start_response)
        scope = app_ctx._get_current_object(), object()  # type: ignore[attr-defined]
        token = _request.set(scope)
        try:
            body = self.inner(environ, start_response)
        except BaseException:
            self.db.session.remove()
            raise
        else:
            if environ.get(_STREAMED):
                return _Body(body, scope, self.db)
            self.db.session.remove()
            return body
        finally:
            _request.reset(token)

    def _is_shared(self) -> bool:
        if not has_app_context() or has_request_context() or self.app.testing:
            return False
        db = self.db
        if current_app._get_current_object() is not self.app or db.session.registry.scopefunc is not current_scope:  # type: ignore[attr-defined]
            return False
        engine = db.engines.get(None)
        if engine is None or not status(engine).active:
            return False
        if not db.session.registry.has():
            return True
        outer = db.session()
        return not (outer.new or outer.dirty or outer.deleted or (outer.in_transaction() and has_changed(outer)))

    @staticmethod
    def _note(response: Response) -> Response:
        # Werkzeug's own error pages look streamed as well, and need no session.
        request.environ[_STREAMED] = response.is_streamed and response.status_code < 400
        return response


class _Body:
    """The body of a streamed response, made with the request's session, which ends when it is closed."""

    def __init__(self, body: Iterable[bytes], scope: tuple[object, object], db: SQLAlchemy) -> None:
        self.body = body
        self.parts = iter(body)
        self.scope = scope
        self.db = db

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = _request.set(self.scope)
        try:
            return next(self.parts)
        finally:
            _request.reset(token)

    def close(self) -> None:
        token = _request.set(self.scope)
        try:
            getattr(self.body, "close", lambda: None)()
        finally:
            if has_app_context():
                self.db.session.remove()
            _request.reset(token)
