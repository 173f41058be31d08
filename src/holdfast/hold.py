"""One engine, held: the listeners on its pool and its errors, and what they counted."""

from __future__ import annotations

import logging
import os
import sys
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool

from . import drivers, faults, fork, hints, liveness, pools
from .counters import Cause, Counters
from .drivers import Wire
from .settings import Settings

__all__ = ["Hold", "of"]

logger = logging.getLogger("holdfast")

_EXCLUSIVE_POOLS = (QueuePool, NullPool, AssertionPool)
"""Pools that give a connection to one user at a time. A StaticPool's or SingletonThreadPool's connection can be in
use by a second checkout; there every ROLLBACK is waited for."""

_NO_SAVEPOINT = 1305  # ER_SP_DOES_NOT_EXIST

_holds: weakref.WeakKeyDictionary[Any, Hold] = weakref.WeakKeyDictionary()


class Hold:
    """What holdfast does for one engine.

    Get it with :func:`holdfast.of`. Its ``repr`` is safe to log: it never contains a password.
    """

    def __init__(
        self,
        where: str,
        settings: Settings | None = None,
        *,
        reason: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where: str = where
        """Driver, host, port and database; no account."""
        self.active: bool = not reason
        """Whether the engine's connections are held."""
        self.reason: str = reason
        """Why not, when they are not; else empty."""
        self.settings: Settings = settings or Settings()
        """The settings in force."""
        self._counters = Counters()
        self._clock = clock
        self._suspicion = liveness.Suspicion()
        self._engine: weakref.ref[Engine] | None = None
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._inherited = 0
        self._known = False  # in this process or a parent of it, the first connection was made and handed out
        self._charset_once = False
        self._exclusive = False
        self._unknown_said = False

    @property
    def counters(self) -> Counters:
        """The running totals, as a copy that no longer changes."""
        return self._counters.snapshot()

    def __repr__(self) -> str:
        if not self.active:
            return f"<holdfast: {self.where} is not held: {self.reason}>"
        c = self._counters
        replaced = ", ".join(f"{count} {cause}" for cause, count in c.replaced.items()) or "none"
        return (
            f"<holdfast: {self.where} is held; {c.checkouts} checkouts, {c.connects} connects, replaced: {replaced}; "
            f"rollbacks: {c.rollbacks_deferred} deferred, {c.rollbacks_skipped} skipped; {c.probes} probes>"
        )

    # -- attaching ---------------------------------------------------------------------------------------------

    def attach(
        self, engine: Engine, driver: drivers.Driver | None, *, own_connect: bool = True, charset_once: bool = False
    ) -> None:
        """Listen to an engine.

        :param driver: the driver that its URL names, when holdfast knows it.
        :param own_connect: whether connections are made by the dialect, not by a ``creator``.
        :param charset_once: whether a SET NAMES that repeats the driver's own may be left out while connecting.
        """
        self._charset_once = charset_once
        hook = drivers.connect_hook(driver) if driver is not None and own_connect else None
        if hook is not None:
            connect = hook

            def do_connect(dialect: Any, record: Any, positional: list[Any], arguments: dict[str, Any]) -> Any:
                return connect(dialect, positional, arguments)

            event.listen(engine, "do_connect", do_connect)
        # First in the row: the dialect's own listeners and everybody else's then work with the held connection.
        event.listen(engine, "connect", self._on_connect, insert=True)
        event.listen(engine, "checkout", self._on_checkout, insert=True)
        event.listen(engine, "reset", self._on_reset, insert=True)
        event.listen(engine, "handle_error", self._on_error)
        dialect: Any = engine.dialect
        dialect.set_isolation_level = self._noting(dialect.set_isolation_level)
        dialect.reset_isolation_level = self._guarded(dialect.reset_isolation_level)
        dialect.do_rollback_to_savepoint = _rolling_back_to(dialect)
        self._exclusive = isinstance(engine.pool, _EXCLUSIVE_POOLS)
        remember(engine, self)
        self._engine = weakref.ref(engine)
        fork.watch(self)

    def _hold(self, dbapi_connection: Any) -> Wire | None:
        settings = self.settings
        exclusive = self._exclusive
        wire = Wire(
            self._counters,
            owner=self,
            exclusive=exclusive,
            defer=exclusive and settings.defer_rollback,
            pipeline=exclusive and settings.pipeline,
        )
        if not drivers.hold_connection(dbapi_connection, wire):
            if not self._unknown_said:
                self._unknown_said = True
                logger.warning(
                    "%s: a connection of class %s is not one that holdfast knows; it is used as in stock SQLAlchemy.",
                    self.where,
                    type(drivers.unwrap(dbapi_connection)).__qualname__,
                )
            return None
        self._counters.connects += 1
        self._wires.add(wire)
        if wire.fd is not None:
            liveness.set_socket_options(wire.fd, settings)
        return wire

    # -- in a forked child -------------------------------------------------------------------------------------

    def leave_to_parent(self) -> None:
        """Called by :mod:`holdfast.fork`."""
        wires = [
            wire
            for wire in self._wires
            if (fork.same_pid or wire.pid != os.getpid()) and wire.fault is not Cause.INHERITED  # a grandparent's
        ]
        for wire in wires:
            wire.fault = Cause.INHERITED  # whatever happens next, none is used
        for wire in wires:
            wire.leave_to_parent()
        self._inherited = len(wires)

    def start_anew(self) -> None:
        """Called by :mod:`holdfast.fork`."""
        self._known = self._known or self._counters.checkouts > 0
        self._counters = Counters()
        if self._inherited:
            self._counters.replaced[Cause.INHERITED] = self._inherited
        self._suspicion = liveness.Suspicion()
        engine = self._engine() if self._engine is not None else None
        if engine is not None:
            pools.renew(engine)
            if not self._known:
                pools.initialise_again(engine)

    def reconnect(self, inherited: Any) -> Any:
        """Called when a statement is about to be run on an inherited connection that is checked out."""
        wire: Wire = inherited._holdfast
        checkout = wire.checkout() if wire.checkout is not None else None
        engine = self._engine() if self._engine is not None else None
        if checkout is None or engine is None or drivers.unwrap(checkout.dbapi_connection) is not inherited:
            return None
        begun = not (wire.clean or wire.reads_only)
        logger.log(
            logging.WARNING if begun else logging.INFO,
            "%s: a connection that was opened by the parent process %s and is still in use here was replaced by one "
            "of this process's own%s.",
            self.where,
            abs(wire.pid),
            ". What the parent did on it and has not committed is not part of this process's transaction" * begun,
        )
        connection = pools.reconnect(checkout)
        own = _wire(connection)
        if own is not None:
            own.checkout = wire.checkout
            own.stands_in = True
            if wire.level is not None and own.level != wire.level:
                engine.dialect.set_isolation_level(connection, wire.level)
        return drivers.unwrap(connection)

    # -- listeners ---------------------------------------------------------------------------------------------

    def _on_connect(self, dbapi_connection: Any, record: Any) -> None:
        fork.after_fork()  # where nothing else has noticed
        if self._inherited:
            logger.info(
                "%s: %d connections of the parent process were left to it; process %d makes its own.",
                self.where,
                self._inherited,
                os.getpid(),
            )
            self._inherited = 0
        if _wire(dbapi_connection) is None:
            wire = self._hold(dbapi_connection)
            if wire is not None:
                wire.charset_is_set = self._charset_once and self._is_first()

    def _is_first(self) -> bool:
        """Say whether no listener of the application's can have made the connection, or changed it before this one."""
        engine = self._engine() if self._engine is not None else None
        if engine is None or len(list(engine.dialect.dispatch.do_connect)) > 1:
            return False
        return next(iter(engine.pool.dispatch.connect), None) == self._on_connect

    def _on_checkout(self, dbapi_connection: Any, record: Any, proxy: Any) -> None:
        wire = getattr(dbapi_connection, "_holdfast", None)  # _wire(), spelt out: this runs for every request
        if type(wire) is not Wire:
            self._counters.checkouts += 1
            return
        wire.checkout = weakref.ref(proxy)
        if wire.fresh:
            self._counters.checkouts += 1
            return
        now = self._clock()
        cause = liveness.check_before_use(dbapi_connection, wire, self.settings, now, self._suspicion)
        if cause is None:
            self._counters.checkouts += 1
            return
        if cause is Cause.INHERITED:
            raise DisconnectionError(f"holdfast: {cause}")
        self._counters.count_replaced(cause)
        if cause is Cause.SILENT:
            self._suspicion = liveness.Suspicion(now, silent=True)
        logger.info(
            "%s: replaced a pooled connection before use (%s, after %.1f s idle); no error reached the application.",
            self.where,
            cause,
            now - wire.idle_since,
        )
        raise DisconnectionError(f"holdfast: {cause}")

    def _on_reset(self, dbapi_connection: Any, record: Any, state: Any) -> None:
        # The first thing that happens when a connection is returned: what follows need not meet a dead connection.
        wire = getattr(dbapi_connection, "_holdfast", None)
        if type(wire) is not Wire or record is None or record.dbapi_connection is None:
            return
        wire.fresh = False
        wire.idle_since = self._clock()
        cause = liveness.check_on_return(dbapi_connection, wire)
        if cause is None:
            return
        if cause is not Cause.INHERITED:
            self._counters.count_replaced(cause)
            logger.info("%s: discarded a connection when it was returned%s (%s).", self.where, _place(), cause)
        record.invalidate()

    def _noting(self, set_isolation_level: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """Make the dialect's method note the level, for a connection that has to be replaced."""

        def set_and_note(dbapi_connection: Any, level: Any) -> None:
            wire = _wire(dbapi_connection)
            if wire is not None and wire.pid != os.getpid():
                dbapi_connection = self.reconnect(drivers.unwrap(dbapi_connection)) or dbapi_connection
                wire = _wire(dbapi_connection)
            set_isolation_level(dbapi_connection, level)
            if wire is not None:
                wire.level = level

        return set_and_note

    def _guarded(self, reset_isolation_level: Callable[[Any], None]) -> Callable[[Any], None]:
        """Make the dialect's method give a connection up when it fails.

        SQLAlchemy calls it while a connection is being returned, after the pool's ``reset`` event, to put back a level
        that was set for one checkout. An exception there would cost the pool a place for ever.
        """

        def put_back(dbapi_connection: Any) -> None:
            try:
                reset_isolation_level(dbapi_connection)
            except BaseException as error:
                wire = _wire(dbapi_connection)
                if wire is None or not wire.exclusive:
                    raise
                wire.give_up(wire.fault or (Cause.INTERRUPTED if wire.in_flight else Cause.CLOSED))
                logger.info(
                    "%s: a connection whose isolation level could not be put back is not used again (%s).",
                    self.where,
                    type(error).__name__,
                )
                if not isinstance(error, Exception):
                    raise

        return put_back

    def _on_error(self, context: ExceptionContext) -> None:
        error = context.original_exception
        connected = context.connection is not None
        if not connected:
            hints.explain_connect_error(context, self.where)
        row = faults.classify(error, connected=connected) if _is_driver_error(context) else None
        wire = _wire_of(context)
        if wire is not None and wire.fault is Cause.INHERITED:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
            return
        if row is not None and connected:
            if row.effect is faults.Effect.RETIRE:
                if wire is not None:
                    wire.retired = True
            elif not context.is_disconnect:
                context.is_disconnect = True
                self._counters.disconnects_recognised += 1
        if row is not None and row.effect is faults.Effect.LOST and connected and context.invalidate_pool_on_disconnect:
            # Stock SQLAlchemy closes every connection of the pool. They are looked at before their next use instead.
            # An error that only the application calls a disconnect keeps stock's way.
            context.invalidate_pool_on_disconnect = False
            self._suspicion = liveness.Suspicion(self._clock())
            self._counters.count_replaced(Cause.LOST_IN_USE)
            logger.info(
                "%s: a connection was lost in use (%s); the application got the error. The pool's other connections "
                "are checked before their next use.",
                self.where,
                row.meaning,
            )


def of(engine: Any) -> Hold:
    """Say what holdfast does for an engine.

    :param engine: an :class:`~sqlalchemy.engine.Engine`, or anything that has one as ``engine`` (a ``Connection``,
        Flask-SQLAlchemy's ``db``) or as ``sync_engine``.
    :return: a :class:`Hold`; for an engine that was made without the plugin one that says so (``active`` is false).
    :raises TypeError: when there is no engine in what was given.
    """
    found = getattr(engine, "sync_engine", engine)
    found = getattr(found, "engine", found)
    dialect = getattr(found, "dialect", None)
    if dialect is None:
        raise TypeError(f"holdfast.of() takes an engine, not {type(engine).__name__}. Did you mean session.get_bind()?")
    hold = _holds.get(dialect)
    if hold is None:
        reason = (
            "it was created without ?plugin=holdfast (or from the engine.url of an engine that got the plugin as an "
            "argument, which is not kept there)"
        )
        return Hold(describe(found), reason=reason)
    return hold


def has_changed(session: Any) -> bool:
    """Say whether the transaction of a session may have changed something, in this process."""
    try:
        wire = _wire(session.connection().connection.dbapi_connection)
    except SQLAlchemyError:  # a transaction that has failed: there is nothing in it to keep
        return False
    return wire is None or (wire.pid == os.getpid() and not (wire.clean or wire.reads_only))


def find(engine: Engine) -> Hold | None:
    """Return what :func:`remember` was told of this engine."""
    return _holds.get(engine.dialect)


def remember(engine: Engine, hold: Hold) -> None:
    """Make :func:`of` find a hold. By the dialect, which an engine shares with its ``execution_options()`` copies."""
    _holds[engine.dialect] = hold


def describe(engine: Any) -> str:
    """Name an engine in a log line: driver, host, port, database, and no account."""
    url = engine.url
    place = "/".join(filter(None, [f"{url.host or ''}{f':{url.port}' if url.port else ''}", url.database]))
    return f"{url.drivername}://{place}" if place else str(url.drivername)


def _wire(dbapi_connection: Any) -> Wire | None:
    """Return a held connection's state, also from under a tracer's proxy."""
    wire = getattr(dbapi_connection, "_holdfast", None)
    return wire if type(wire) is Wire else None


def _rolling_back_to(dialect: Any) -> Callable[[Any, str], None]:
    """Make the dialect's method quiet about savepoints that are in the parent process's transaction."""
    rollback_to_savepoint: Callable[[Any, str], None] = dialect.do_rollback_to_savepoint

    def rollback_to(connection: Any, name: str) -> None:
        wire = _wire(connection.connection.dbapi_connection)
        if wire is not None and wire.pid != os.getpid():
            return  # nothing was done since then in this process
        try:
            rollback_to_savepoint(connection, name)
        except DBAPIError as error:
            if (
                wire is None
                or not wire.stands_in
                or error.orig is None
                or faults.error_number(error.orig) != _NO_SAVEPOINT
            ):
                raise
            dialect.do_rollback(connection.connection)  # all that was done here came after that savepoint

    return rollback_to


def _wire_of(context: ExceptionContext) -> Wire | None:
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return None
    return _wire(connection.connection.dbapi_connection)


def _is_driver_error(context: ExceptionContext) -> bool:
    return isinstance(context.original_exception, context.dialect.loaded_dbapi.Error)


_NOT_THE_APPLICATION = frozenset({"sqlalchemy", "holdfast", "flask_sqlalchemy", "contextlib", "weakref"})


def _place() -> str:
    """Name the line of the application that is returning a connection, as ' by FILE, line N, in F'."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_APPLICATION:
            code = frame.f_code
            return f" by {code.co_filename}, line {frame.f_lineno}, in {code.co_name}"
        frame = frame.f_back
    return ""
