"""The class that takes the place of Flask-SQLAlchemy's: :class:`SQLAlchemy`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy as FlaskSQLAlchemy
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.orm import scoped_session
from sqlalchemy.pool import QueuePool

from ..settings import PREFIX
from ..transactions import Attempt, run
from ..transactions.lazy import refuse_lazy_function
from ..transactions.running import ATTEMPTS, DEADLINE
from .configuration import (
    OLD,
    RETRY,
    UNAVAILABLE,
    as_read,
    look_at_uris,
    warn_of_late_settings,
    warn_of_old_spellings,
)
from .no_database import answer_unavailable
from .own_session import OwnSession, ScopedSession, current_scope
from .safe_requests import OnceMore, keep_records_of
from .uncommitted import warn_in_debug_mode, warns

if TYPE_CHECKING:
    from flask_sqlalchemy.session import Session

__all__ = ["SQLAlchemy"]

P = ParamSpec("P")
R = TypeVar("R")

_DATACLASS = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")


class SQLAlchemy(FlaskSQLAlchemy):
    """:class:`flask_sqlalchemy.SQLAlchemy`, held.

    Takes what that class takes; ``db = SQLAlchemy(app)`` and ``db = SQLAlchemy(); db.init_app(app)`` both work.
    holdfast's settings go where engine options go, as ``SQLALCHEMY_ENGINE_OPTIONS = {"holdfast_probe_timeout": 2}``, or
    into the URI.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read: WeakKeyDictionary[Flask, dict[str, Any]] = WeakKeyDictionary()
        self._made: WeakKeyDictionary[Flask, list[Engine]] = WeakKeyDictionary()
        self._looked: WeakSet[Flask] = WeakSet()
        self._served: WeakSet[Flask] = WeakSet()
        super().__init__(*args, **kwargs)

    def init_app(self, app: Flask) -> None:
        """Make the engines of an application from its configuration, as in Flask-SQLAlchemy.

        :raises RuntimeError: when the application has an extension already, or no database is configured.
        :raises sqlalchemy_holdfast.HoldfastError: for a URI or a setting that cannot work.
        """
        warn_of_old_spellings(app)
        options = {**self._engine_options, **(app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {})}
        look_at_uris(app, other_engines="url" in options)
        super().init_app(app)
        self._read[app] = as_read(app)
        warns(app, self._made.get(app, ()))
        app.wsgi_app = OwnSession(self, app, app.wsgi_app, lambda: self._begin(app))  # type: ignore[method-assign]
        if app.config.get(RETRY):
            app.wsgi_app = OnceMore(self, app, app.wsgi_app)  # type: ignore[method-assign]
        if app.config.get(UNAVAILABLE, True):
            answer_unavailable(app)

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
            for old, new in OLD.items():
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
        if app.config.get(RETRY):
            keep_records_of(engine)
        self._made.setdefault(app, []).append(engine)
        return engine

    def _make_scoped_session(self, options: dict[str, Any]) -> scoped_session[Session]:
        scope = options.pop("scopefunc", current_scope)
        return ScopedSession(self._make_session_factory(options), scope)

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
            warn_in_debug_mode(self, app, self._made.get(app, ()))
            self._look_for_late_settings(app)

    def _look_for_late_settings(self, app: Flask) -> None:
        before = self._read.get(app)
        if before is not None:
            self._read[app] = as_read(app)
            warn_of_late_settings(before, self._read[app])
