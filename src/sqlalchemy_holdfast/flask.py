"""Flask-SQLAlchemy with holdfast on: ``from sqlalchemy_holdfast.flask import SQLAlchemy``.

The class is Flask-SQLAlchemy's own (3.1 or later), and all of its documentation holds. What is added:

* every MySQL or MariaDB bind is held by holdfast, others are left as they are;
* what older versions of Flask-SQLAlchemy could do still works: ``SQLALCHEMY_POOL_RECYCLE`` and its siblings,
  ``db.get_engine(app)``, ``db.session.close()`` without an application context;
* settings that come too late are not ignored in silence;
* a request has a session of its own even where an application context was pushed at module level;
* ``db.run()`` and ``@db.transactional`` do whole units of work, as :func:`~.run` does, in ``db.session``;
* with ``HOLDFAST_RETRY_SAFE_REQUESTS`` a GET or HEAD request whose connection was lost is answered all the same;
* model bases with dataclasses work on SQLAlchemy 2.1, where Flask-SQLAlchemy 3.1.1 alone fails.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask, Response, current_app, got_request_exception, has_app_context, has_request_context, request
from flask.globals import app_ctx
from flask_sqlalchemy import SQLAlchemy as FlaskSQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import scoped_session
from sqlalchemy.pool import QueuePool

from .drivers import CommitRecord, from_outside, wire_of
from .errors import CommitOutcomeUnknown
from .pool.status import status
from .server.refusals import was_connecting
from .settings import PREFIX
from .transactions import Attempt, run
from .transactions.lazy import refuse_lazy_function
from .transactions.orm import has_changed
from .transactions.reasons import why_again
from .transactions.running import ATTEMPTS, DEADLINE

if TYPE_CHECKING:
    from flask_sqlalchemy.session import Session

__all__ = ["SQLAlchemy"]

logger = logging.getLogger("holdfast")

P = ParamSpec("P")
R = TypeVar("R")

_OLD = {
    "SQLALCHEMY_POOL_SIZE": "pool_size",
    "SQLALCHEMY_POOL_TIMEOUT": "pool_timeout",
    "SQLALCHEMY_POOL_RECYCLE": "pool_recycle",
    "SQLALCHEMY_MAX_OVERFLOW": "max_overflow",
}
"""Settings of Flask-SQLAlchemy 2, removed in 3.0 and ignored there in silence."""

_RETRY = "HOLDFAST_RETRY_SAFE_REQUESTS"

_READ_ONCE = (
    *("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_ECHO"),
    *_OLD,
    _RETRY,
)

_DATACLASS = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")


class SQLAlchemy(FlaskSQLAlchemy):
    """:class:`flask_sqlalchemy.SQLAlchemy`, held.

    Takes what that class takes; ``db = SQLAlchemy(app)`` and ``db = SQLAlchemy(); db.init_app(app)`` both work.
    holdfast's settings go where engine options go, as ``SQLALCHEMY_ENGINE_OPTIONS = {"holdfast_probe_timeout": 2}``, or
    into the URI.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read: WeakKeyDictionary[Flask, dict[str, Any]] = WeakKeyDictionary()
        self._looked: WeakSet[Flask] = WeakSet()
        self._served: WeakSet[Flask] = WeakSet()
        super().__init__(*args, **kwargs)

    def init_app(self, app: Flask) -> None:
        """Make the engines of an application from its configuration, as in Flask-SQLAlchemy.

        :raises RuntimeError: when the application has an extension already, or no database is configured.
        :raises sqlalchemy_holdfast.HoldfastError: for a URI or a setting that cannot work.
        """
        _warn_of_old_spellings(app)
        super().init_app(app)
        self._read[app] = _as_read(app)
        app.wsgi_app = _OwnSession(self, app, app.wsgi_app)  # type: ignore[method-assign]
        if app.config.get(_RETRY):
            app.wsgi_app = _OnceMore(self, app, app.wsgi_app)  # type: ignore[method-assign]

    def run(
        self,
        fn: Callable[[], R],
        *,
        attempts: int = ATTEMPTS,
        deadline: float = DEADLINE,
        verify: bool = False,
        on_retry: Callable[[Attempt], object] | None = None,
    ) -> R:
        """Do a unit of work in ``db.session``: begin, call a function, commit; again from its start where that is safe.

        :param fn: gets no argument: the session is ``db.session``, as everywhere. It must not commit.
        :param attempts: as the other options, for :func:`sqlalchemy_holdfast.run`.
        :return: what the function returned in the attempt that was committed.
        :raises: what :func:`sqlalchemy_holdfast.run` raises.
        """
        options: dict[str, Any] = {"attempts": attempts, "deadline": deadline, "verify": verify, "on_retry": on_retry}
        refuse_lazy_function(fn)
        return run(self.session, lambda session: fn(), **options)

    @overload
    def transactional(self, function: Callable[P, R]) -> Callable[P, R]: ...

    @overload
    def transactional(
        self,
        *,
        attempts: int = ...,
        deadline: float = ...,
        verify: bool = ...,
        on_retry: Callable[[Attempt], object] | None = ...,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def transactional(self, function: Any = None, **options: Any) -> Any:
        """Make each call of a function a unit of work in ``db.session``: :meth:`run` as a decorator.

        Written as ``@db.transactional`` or ``@db.transactional(verify=True)``. The function, which may be a view, gets
        the arguments that it is called with and no other.
        """
        if function is None:
            return lambda function: self._transactional(function, options)
        return self._transactional(function, options)

    def _transactional(self, function: Callable[..., R], options: dict[str, Any]) -> Callable[..., R]:
        refuse_lazy_function(function)

        @functools.wraps(function)
        def unit(*args: Any, **kwargs: Any) -> R:
            return self.run(lambda: function(*args, **kwargs), **options)

        return unit

    @property
    def engines(self) -> Mapping[str | None, Engine]:
        """The engines of the current application, by bind key; ``None`` is the default's."""
        engines = super().engines
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        if app not in self._looked:
            self._looked.add(app)
            self._look_for_late_settings(app)
        return engines

    def get_engine(  # type: ignore[override]
        self, app: Flask | str | None = None, bind_key: str | None = None, **kwargs: Any
    ) -> Engine:
        """Return an engine, as all versions of Flask-SQLAlchemy have spelt it.

        :param app: an application (which then need not be the current one), or a bind key, or nothing.
        :param bind_key: the bind key, when an application is given; ``bind`` is the older name.
        :raises KeyError: when there is no such bind.
        :raises RuntimeError: without an application and outside an application context.
        """
        key = kwargs.pop("bind", bind_key)
        if isinstance(app, Flask):
            with app.app_context():
                return self.engines[key]
        return self.engines[key if app is None else app]

    # -- what Flask-SQLAlchemy calls "internal": tests/flask/test_extension.py names each ----------------

    def _apply_driver_defaults(self, options: dict[str, Any], app: Flask) -> None:
        pool = options.get("poolclass", QueuePool)
        queued = "pool" not in options and isinstance(pool, type) and issubclass(pool, QueuePool)
        if queued and not make_url(options["url"]).drivername.startswith("sqlite"):
            for old, new in _OLD.items():
                if app.config.get(old) is not None:
                    options.setdefault(new, app.config[old])
        super()._apply_driver_defaults(options, app)

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> Engine:
        url = make_url(options["url"])
        # The plugin takes holdfast's settings out, for every database; it may be named in the URI as well.
        if url.get_backend_name() in ("mysql", "mariadb") or any(name.startswith(PREFIX) for name in options):
            plugins = list(options.get("plugins", ()))
            options["plugins"] = [*plugins, *(["holdfast"] if "holdfast" not in plugins else [])]
        engine = super()._make_engine(bind_key, options, app)
        if app.config.get(_RETRY):
            event.listen(engine, "checkout", _keep_record)
            event.listen(engine, "commit", _note_commit)
            event.listen(engine, "commit_twophase", _note_commit)
        return engine

    def _make_scoped_session(self, options: dict[str, Any]) -> scoped_session[Session]:
        scope = options.pop("scopefunc", _scope)
        return _ScopedSession(self._make_session_factory(options), scope)

    def _make_declarative_base(self, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        # Flask-SQLAlchemy copies the base's attributes into a new one. SQLAlchemy 2.1 makes a dataclass of the base
        # already, and refuses the copy with these.
        kept = {name: model_class.__dict__[name] for name in _DATACLASS if name in vars(model_class)}
        for name in kept:
            delattr(model_class, name)
        try:
            return super()._make_declarative_base(model_class, *args, **kwargs)
        finally:
            for name, value in kept.items():
                setattr(model_class, name, value)

    def _begin(self, app: Flask) -> None:
        """Called at the beginning of a request; does something at the first."""
        if app not in self._served:
            self._served.add(app)
            self._look_for_late_settings(app)

    # -- settings that come too late ---------------------------------------------------------------------------

    def _look_for_late_settings(self, app: Flask) -> None:
        before = self._read.get(app)
        if before is None:
            return
        now = _as_read(app)
        late = [name for name in _READ_ONCE if before[name] != now[name]]
        if not late:
            return
        self._read[app] = now
        message = (
            f"{' and '.join(late)} changed after SQLAlchemy(app) or init_app(app) had made the database engines; the "
            "change has no effect. Move it above that line."
        )
        logger.warning(message)
        warnings.warn(message, RuntimeWarning, stacklevel=_callers_level())


class _ScopedSession(scoped_session[Any]):
    """A scoped session that can also be invalidated, and closed where there is no application context."""

    def close(self) -> None:
        if has_app_context() or self.registry.scopefunc is not _scope:
            super().close()

    def invalidate(self) -> None:
        """Close the current session and its connections, as :meth:`sqlalchemy.orm.Session.invalidate` does."""
        self.registry().invalidate()


_request: ContextVar[tuple[object, object] | None] = ContextVar("holdfast_request", default=None)
"""The application context that a request shares with what is outside of it, and what stands for the request."""


def _scope() -> int:
    """Say whose session it is: the application context's, or the request's where that context is not its own."""
    context = app_ctx._get_current_object()  # type: ignore[attr-defined]
    shared = _request.get()
    return id(shared[1]) if shared is not None and shared[0] is context else id(context)


class _OwnSession:
    """WSGI middleware: give a request its own session where an application context was pushed outside of requests.

    On small sites ``app.app_context().push()`` stands at module level. Flask then runs every request in that context,
    which never ends: with one session, one transaction and one snapshot for the life of the worker. Only the session
    is the request's own; the context and ``flask.g`` stay shared, as in Flask.

    Not where sharing may be meant: while ``app.testing`` is set, inside another request, when the session outside has
    changes that are not committed, and for other databases than those that holdfast holds (SQLite in memory has one
    connection for all sessions).
    """

    def __init__(self, db: SQLAlchemy, app: Flask, inner: Callable[..., Iterable[bytes]]) -> None:
        self.db = db
        self.app = app
        self.inner = inner
        app.after_request(self._note)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.db._begin(self.app)
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
        if current_app._get_current_object() is not self.app or db.session.registry.scopefunc is not _scope:  # type: ignore[attr-defined]
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


_STREAMED = "holdfast.streamed"
_ERROR = "holdfast.error"
_COMMITTING = "holdfast.committing"
_RECORDS = "holdfast.records"


class _OnceMore:
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
        first, held = dict(environ), _HeldStart(start_response)
        try:
            body = self.inner(first, held)
        except DBAPIError as error:  # as with PROPAGATE_EXCEPTIONS
            first[_ERROR] = error
            if not self._may_be_repeated(first, held):
                raise
        else:
            if not self._may_be_repeated(first, held):
                held.release()
                return body
            getattr(body, "close", lambda: None)()
        return self.inner(environ, start_response)

    def _goes_on_in_a_session(self) -> bool:
        """Say whether the request is a part of a transaction that was begun before it."""
        return has_app_context() and self.db.session.registry.has() and self.db.session().in_transaction()

    def _may_be_repeated(self, environ: dict[str, Any], held: _HeldStart) -> bool:
        error = environ.get(_ERROR)
        if held.released or not isinstance(error, DBAPIError) or error.orig is None:
            return False
        if isinstance(error, CommitOutcomeUnknown) or from_outside(error.orig) is not None:
            return False
        records: list[CommitRecord] = environ.get(_RECORDS, [])
        if environ.get(_COMMITTING) or any(record.may_have_committed for record in records):
            return False
        reason = why_again(error.orig, connected=error.statement is not None)
        # Without a statement it may have been a COMMIT.
        if reason is None or (error.statement is None and not was_connecting(error.orig)):
            return False
        logger.info("%s %s is run once more: %s.", environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), reason)
        return True


class _HeldStart:
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
    wire = wire_of(dbapi_connection)
    if not has_request_context():
        return
    if wire is None:
        request.environ[_COMMITTING] = True  # what is not held is not known
        return
    wire.keep_record(CommitRecord())
    request.environ.setdefault(_RECORDS, []).append(wire.record)


def _note_commit(connection: Any, *rest: Any) -> None:
    if has_request_context():
        request.environ[_COMMITTING] = True


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


def _callers_level() -> int:
    """How many frames up the application's own code is, as ``warnings.warn`` counts them."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "sqlalchemy_holdfast",
        "flask_sqlalchemy",
    ):
        level, frame = level + 1, frame.f_back
    return level


def _as_read(app: Flask) -> dict[str, Any]:
    values = {name: app.config.get(name) for name in _READ_ONCE}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}


def _warn_of_old_spellings(app: Flask) -> None:
    old = {new: app.config[name] for name, new in _OLD.items() if app.config.get(name) is not None}
    if not old:
        return
    named = ", ".join(name for name in _OLD if app.config.get(name) is not None)
    given = app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
    new = {name: given.get(name, value) for name, value in old.items()}  # nothing else of it: it may hold a password
    message = (
        f"{named}: Flask-SQLAlchemy 3 has no such setting any more; holdfast honours it. The new form is "
        f"SQLALCHEMY_ENGINE_OPTIONS = {new!r}"
    )
    if "pool_recycle" in new:
        message += " (and pool_recycle is not needed with holdfast)"
    logger.warning(message)  # Python hides most deprecation warnings
    warnings.warn(message, DeprecationWarning, stacklevel=_callers_level())
