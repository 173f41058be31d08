"""One engine, held: what belongs together is put together here, attached, and told of a fork."""

from __future__ import annotations

import functools
import os
import time
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool

from .. import credentials, drivers, fork
from .._clock import monotonic_also_asleep
from ..budget import Snapshot
from ..counters import Cause
from ..drivers import ConnectionState
from ..server import hints
from ..server.hints import Place
from ..server.limits import Limits
from ..server.tls import Encryption
from ..settings import Settings
from . import dialect, first_statement, liveness, queue_pool
from .connection_limit import ConnectionLimit
from .encryption import EncryptionCheck
from .listeners import Listeners
from .replacing import Replacer
from .status import EngineStatus, remember
from .uncommitted import Uncommitted
from .waiting import DEFAULT_TIMEOUT, Connector
from .who_answers import place_of

__all__ = ["HeldEngine"]

_EXCLUSIVE_POOLS = (QueuePool, NullPool, AssertionPool)
"""Pools that give a connection to one user at a time. A StaticPool's or SingletonThreadPool's connection can be in
use by a second checkout; there every ROLLBACK is waited for."""


class HeldEngine(EngineStatus):
    """One engine whose connections are held. It lives for as long as the engine's dialect.

    :param clock: monotonic time; another one in tests.
    """

    def __init__(
        self, where: str, settings: Settings | None = None, *, clock: Callable[[], float] = monotonic_also_asleep
    ) -> None:
        super().__init__(where, settings)
        self._engine = _Engine()
        self._limit = ConnectionLimit(self.settings, self._reporter, self._engine)
        self._encryption = EncryptionCheck(self.settings, self._reporter)
        self._connector = Connector(self.settings, self._reporter, self._limit, time.monotonic)
        self._replacer = Replacer(self, self._engine, self._reporter, self._connector, self._limit, clock)
        self._listeners = Listeners(
            self._engine,
            self.settings,
            self._reporter,
            connector=self._connector,
            limit=self._limit,
            replacer=self._replacer,
            encryption=self._encryption,
            step_aside=self._step_aside,
            clock=clock,
        )
        self._uncommitted = Uncommitted(self._reporter)
        self._connector.holders = self._listeners.leaks.holders
        self._passwords = credentials.from_settings(self.settings, self._reporter)
        self._leaving: dict[int, ConnectionState] = {}
        """In a child: connections that are being left to the parent."""
        self._stranger_said = False

    @property
    def engine_key(self) -> str:
        return self._connector.engine_key

    @property
    def limits(self) -> Limits | None:
        return self._limit.limits

    @property
    def budget(self) -> Snapshot | None:
        budget = self._limit.budget
        return None if budget is None else budget.snapshot()

    @property
    def middlebox(self) -> str:
        return next(filter(None, tuple(self._limit.middleboxes.values())), "")

    @property
    def encryption(self) -> tuple[Encryption, ...]:
        states = [state for state in self._listeners.connections if state.unusable_because is None]
        return tuple(dict.fromkeys(state.encryption for state in states if state.pid == os.getpid()))

    def also_tell_of_errors(self, listener: Callable[[ExceptionContext], object]) -> None:
        """Call something at each error of the engine, after what is done here."""
        self._listeners.also_tell_of_errors(listener)

    def warn_of_uncommitted(self, *, debugging: bool = False) -> bool:
        """Warn from now on of what is rolled back because nobody has committed it, as ``holdfast_uncommitted_warning``
        says.

        :param debugging: whether this is an application's debug mode.
        :return: whether it does.
        """
        wanted = self.settings.uncommitted_warning
        engine = self._engine()
        if self.active and engine is not None and (wanted is True or (wanted == "debug" and debugging)):
            if not self._uncommitted.on:
                self._uncommitted.listen(engine)
                self.also_tell_of_errors(self._uncommitted.note_error)
            return True
        return False

    # -- attaching -----------------------------------------------------------------------------------------------

    def attach(
        self, engine: Engine, driver: drivers.Driver | None, *, own_connect: bool = True, charset_once: bool = False
    ) -> None:
        """Hold an engine.

        :param driver: the driver that its URL names, when holdfast knows it.
        :param own_connect: whether connections are made by the dialect, not by a ``creator``.
        :param charset_once: whether a SET NAMES that repeats the driver's own may be left out while connecting.
        """
        exclusive = isinstance(engine.pool, _EXCLUSIVE_POOLS)
        self._listeners.listen(engine, exclusive=exclusive, made_by_driver=own_connect, charset_once=charset_once)
        remember(engine, self)
        own: Any = engine.dialect
        before = dict(vars(own))
        dialect.wrap(own, self._replacer)
        if self.settings.replay:
            first_statement.wrap(own, self._replacer)
        self._engine.set(engine)
        # All of it below any do_connect listener of the application's, which decides.
        connect = own.connect
        if self._passwords is not None:  # also when holdfast steps aside
            own.connect = before["connect"] = self._passwords.connecting(connect, self._pool_timeout)
            self.also_tell_of_errors(self._passwords.explain_refusal)
        if own_connect:
            self._limit.share(engine.url)
            self._listeners.place = place = place_of(engine.url, driver, self.settings.wait_for_server or 0.0)
            self._connector.who_answers = place.who_answers
            if driver is not None:
                if self._passwords is not None:  # innermost: it sees what holdfast_tls has asked the driver for
                    connect = drivers.refuse_clear_text(driver, connect)
                connect = drivers.wrap_connect(driver, connect, self._encryption.policy)
            connect = self._connector.asking(connect)
            if self._passwords is not None:
                connect = self._passwords.connecting(connect, self._pool_timeout)
            explained = _explaining(connect, own.loaded_dbapi.Error, place)
            own.connect = self._connector.retrying_connect(explained, self._pool_timeout)
        # On the dialect: whatever this object has of it would keep the engine alive for ever.
        own.holdfast_put_back = _putting_back(own, before)
        queue_pool.make_wait(engine, self._connector, self._may_stay_open, self._engine)
        queue_pool.on_dispose(engine, self._on_dispose)
        fork.watch(self)
        self.warn_of_uncommitted()

    def _pool_timeout(self) -> float:
        engine = self._engine()
        timeout = queue_pool.timeout(engine) if engine is not None else None
        return DEFAULT_TIMEOUT if timeout is None else timeout

    def _may_stay_open(self, dbapi_connection: Any) -> bool:
        return self._limit.may_stay_open(dbapi_connection, own_waiting=bool(self._connector.in_pool.known))

    def _step_aside(self, stranger: type) -> None:
        """Leave the engine to work as in stock SQLAlchemy, because its connections are of no driver that is known.

        Where some of them are held, that one alone is left as it is. The listeners stay, and do nothing: another thread
        may be going through the row of them at this moment.
        """
        name = f"{stranger.__module__}.{stranger.__qualname__}"
        if self._reporter.counters.connects:
            if not self._stranger_said:
                self._stranger_said = True
                self._reporter.stranger(name)
            return
        if not self.active:
            return
        self._connector.aside = self._limit.unknown = True
        self.reason = f"its connections are of class {name}, which is of no driver that holdfast knows"
        engine: Any = self._engine()
        if engine is not None:
            engine.dialect.holdfast_put_back()
        fork.unwatch(self)
        self._reporter.stepped_aside(self.reason)

    def _on_dispose(self, engine: Engine) -> None:
        fork.after_fork()
        own = self._engine()  # not a copy with other execution options
        if own is not None:
            queue_pool.let_nest(own)
            if self._limit.budget is not None:
                queue_pool.drop_idle(self._limit.pools, but=own.pool)

    # -- in a forked child ---------------------------------------------------------------------------------------

    def leave_to_parent(self) -> None:
        """Called by :mod:`sqlalchemy_holdfast.fork`."""
        for state in self._listeners.connections:
            # Not those of a grandparent, which were left before.
            if (fork.same_pid or state.pid != os.getpid()) and state.unusable_because is not Cause.INHERITED:
                self._leaving[id(state)] = state  # until all is done, should an exception from outside come
                state.unusable_because = Cause.INHERITED  # whatever happens next, it is not used
        for state in list(self._leaving.values()):
            state.leave_to_parent()

    def start_anew(self) -> Callable[[], object] | None:
        """Called by :mod:`sqlalchemy_holdfast.fork`."""
        listeners = self._listeners
        listeners.inherited = len(self._leaving)
        listeners.known = listeners.known or self._reporter.counters.checkouts > 0
        self._reporter.start_anew()
        self._connector.start_anew()
        self._reporter.inherited(listeners.inherited)
        self._replacer.suspicion = liveness.Suspicion()
        engine = self._engine()
        for state in self._leaving.values():
            queue_pool.forget_if_idle(state.pool_entry)
        self._leaving.clear()
        if engine is None:
            return None
        queue_pool.renew(engine)
        if not listeners.known:
            queue_pool.initialise_again(engine)
        return functools.partial(queue_pool.tell_disposed, engine)


class _Engine:
    """Finds the engine, for as long as it exists: a connection that outlives it does not keep it."""

    def __init__(self) -> None:
        self._ref: Callable[[], Engine | None] = lambda: None

    def set(self, engine: Engine) -> None:
        """Say which one it is."""
        self._ref = weakref.ref(engine)

    def __call__(self) -> Engine | None:
        return self._ref()


def _explaining(connect: Callable[..., Any], drivers_error: type[Exception], place: Place) -> Callable[..., Any]:
    """Let an error while connecting that is none of the driver's classes say what to do, too.

    SQLAlchemy tells its listeners of the driver's errors alone. (PyMySQL: RuntimeError without the package
    cryptography, struct.error when what answers is no MySQL server.)
    """

    def connect_or_explain(*positional: Any, **arguments: Any) -> Any:
        try:
            return connect(*positional, **arguments)
        except drivers_error:
            raise
        except Exception as error:
            hints.explain_other_error(error, place)
            raise

    return connect_or_explain


def _putting_back(dialect: Any, before: dict[str, Any]) -> Callable[[], None]:
    """Return what gives a dialect its own methods back, but for those that somebody else has wrapped meanwhile."""
    ours = {name: value for name, value in vars(dialect).items() if before.get(name) is not value}

    def put_back() -> None:
        for name, value in ours.items():
            if vars(dialect).get(name) is value:
                if name in before:
                    setattr(dialect, name, before[name])
                else:
                    delattr(dialect, name)

    return put_back
