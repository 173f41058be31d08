"""``HOLDFAST_RETRY_SAFE_REQUESTS``: a GET or HEAD request whose connection was lost is run once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, got_request_exception, has_app_context, has_request_context, request
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from .. import reporting
from ..drivers import CommitRecord, from_outside, state_of
from ..errors import CommitOutcomeUnknown, ServerAway
from ..server.faults import judge

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

__all__ = ["OnceMore", "keep_records_of"]

_ERROR = "holdfast.error"
_COMMITTING = "holdfast.committing"
_RECORDS = "holdfast.records"


class OnceMore:
    """WSGI middleware: with ``HOLDFAST_RETRY_SAFE_REQUESTS``, run a request once more that failed for its connection.

    Only a GET or HEAD request without a body, only for an error after which a unit of work may be begun again, only
    when the request has sent nothing that may have committed, and only while nothing of the response was sent. An
    error that the application's own error handler took is the application's.
    """

    def __init__(self, db: SQLAlchemy, app: Flask, inner: Callable[..., Iterable[bytes]]) -> None:
        self.db = db
        self.inner = inner
        got_request_exception.connect(_note_error, app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _is_safe(environ) or self._goes_on_in_a_session():
            return self.inner(environ, start_response)
        first, start = dict(environ), _DelayedStart(start_response)
        try:
            body = self.inner(first, start)
        except DBAPIError as error:  # as with PROPAGATE_EXCEPTIONS
            first[_ERROR] = error
            if not self._may_be_repeated(first, start):
                raise
        else:
            if not self._may_be_repeated(first, start):
                start.release()
                return body
            getattr(body, "close", lambda: None)()
        return self.inner(environ, start_response)

    def _goes_on_in_a_session(self) -> bool:
        """Say whether the request is a part of a transaction that was begun before it."""
        return has_app_context() and self.db.session.registry.has() and self.db.session().in_transaction()

    def _may_be_repeated(self, environ: dict[str, Any], start: _DelayedStart) -> bool:
        error = environ.get(_ERROR)
        if start.released or not isinstance(error, DBAPIError) or error.orig is None:
            return False
        if isinstance(error, (CommitOutcomeUnknown, ServerAway)) or from_outside(error.orig) is not None:
            return False
        records: list[CommitRecord] = environ.get(_RECORDS, [])
        if environ.get(_COMMITTING) or any(record.may_have_committed for record in records):
            return False
        verdict = judge(error.orig, connected=error.statement is not None)
        reason = verdict.retry
        # Without a statement it may have been a COMMIT.
        if reason is None or (error.statement is None and not verdict.proves_connecting):
            return False
        reporting.request_repeated(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), reason)
        return True


class _DelayedStart:
    """A ``start_response`` that is called later, or not at all."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self.start_response = start_response
        self.call: tuple[Any, ...] | None = None
        self.released = False

    def __call__(self, *call: Any) -> Callable[[bytes], object]:
        self.call = call
        return self._write

    def _write(self, data: bytes) -> object:
        return self.release()(data)

    def release(self) -> Any:
        """Begin the response."""
        self.released = True
        return self.start_response(*self.call) if self.call is not None else None


def _is_safe(environ: dict[str, Any]) -> bool:
    return (
        environ["REQUEST_METHOD"] in ("GET", "HEAD")
        and environ.get("CONTENT_LENGTH") in (None, "", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    )


def _note_error(app: Flask, exception: BaseException, **rest: Any) -> None:
    request.environ[_ERROR] = exception


def _keep_record(dbapi_connection: Any, *rest: Any) -> None:
    """Have a connection that a request gets write down what it sends that may commit."""
    state = state_of(dbapi_connection)
    if not has_request_context():
        return
    if state is None:
        request.environ[_COMMITTING] = True  # what is not held is not known
        return
    state.keep_record(CommitRecord())
    request.environ.setdefault(_RECORDS, []).append(state.record)


def _note_commit(connection: Any, *rest: Any) -> None:
    if has_request_context():
        request.environ[_COMMITTING] = True


def keep_records_of(engine: Engine) -> None:
    """Have an engine note, for each request, whether it sent something that may have committed."""
    event.listen(engine, "checkout", _keep_record)
    event.listen(engine, "commit", _note_commit)
    event.listen(engine, "commit_twophase", _note_commit)
