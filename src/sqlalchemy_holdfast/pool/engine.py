"""One engine, held: the listeners on its pool and its errors, and what they counted."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool
from sqlalchemy.pool.base import ResetStyle

from .. import drivers, fork
from .._clock import monotonic_also_asleep
from .._registry import Registry
from ..budget import Snapshot
from ..counters import Cause, Counters
from ..drivers import HeldConnection, Wire
from ..server import faults, hints, limits, middleboxes
from ..server.limits import Limits
from ..settings import Settings
from . import first_statement, holders, liveness, queue_pool, set_up
from .dialect import wrap
from .leaks import Leaks
from .waiting import DEFAULT_TIMEOUT, Connecting

__all__ = ["Hold", "of"]

logger = logging.getLogger("holdfast")

_EXCLUSIVE_POOLS = (QueuePool, NullPool, AssertionPool)
"""Pools that give a connection to one user at a time. A StaticPool's or SingletonThreadPool's connection can be in
use by a second checkout; there every ROLLBACK is waited for."""

_holds: weakref.WeakKeyDictionary[Any, Hold] = weakref.WeakKeyDictionary()


class _Replaced(DisconnectionError):
    """Tells the pool to replace a connection. It exists for as long as the pool is at it, and keeps its slot for so
    long."""

    def __init__(self, message: str, kept: object) -> None:
        super().__init__(message)
        self.kept = kept


class Hold:
    """What holdfast does for one engine.

    Get it with :func:`sqlalchemy_holdfast.of`. Its ``repr`` is safe to log: it never contains a password.
    """

    def __init__(
        self,
        where: str,
        settings: Settings | None = None,
        *,
        reason: str = "",
        clock: Callable[[], float] = monotonic_also_asleep,
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
        self._wires: Registry[Wire] = Registry()
        self._leaving: dict[int, Wire] = {}
        """In a child: connections that are being left to the parent."""
        self._inherited = 0
        self._known = False  # in this process or a parent of it, the first connection was made and handed out
        self._charset_once = False
        self._exclusive = False
        self._resets = False
        self._replays = False
        self._stranger_said = False
        self._connecting = Connecting(where, self.settings, self._counters, time.monotonic)
        self._leaks = Leaks(where, self.settings, self._counters, self._wires, clock)
        self._connecting.holders = self._leaks.holders
        self._idle_limit_said = False
        self._middleboxes: dict[str, str] = {}  # what is in between, by the version text of the greeting
        self._told_of_errors: tuple[Callable[[ExceptionContext], object], ...] = ()

    @property
    def engine_key(self) -> str:
        """Names the engine in a :class:`sqlalchemy_holdfast.CheckoutTimeout`. In a forked child it is the same."""
        return self._connecting.engine_key

    @property
    def limits(self) -> Limits | None:
        """What the server allows, as far as it is known: ``None`` before the first connection, and when the server
        would not say."""
        return self._connecting.limits

    @property
    def budget(self) -> Snapshot | None:
        """How the processes of this machine share the account's connections at this moment, or ``None`` when they do
        not. Looking costs some system calls for each process and connection."""
        budget = self._connecting.budget
        return None if budget is None else budget.snapshot()

    @property
    def middlebox(self) -> str:
        """What stands between this process and its server and made it wait for the reply to each ROLLBACK, in words;
        empty before the first connection, and when there is nothing, or a relay that passes bytes on."""
        return next(filter(None, tuple(self._middleboxes.values())), "")

    @property
    def counters(self) -> Counters:
        """The running totals, as a copy that no longer changes."""
        return self._counters.snapshot()

    def __repr__(self) -> str:
        if not self.active:
            return f"<holdfast: {self.where} is not held: {self.reason}>"
        c = self._counters
        replaced = ", ".join(f"{count} {cause}" for cause, count in c.snapshot().replaced.items()) or "none"
        between = self.middlebox if self.settings.pipeline == "auto" else ""
        return (
            f"<holdfast: {self.where} is held; {c.checkouts} checkouts, {c.connects} connects, replaced: {replaced}; "
            f"rollbacks: {c.rollbacks_deferred} deferred, {c.rollbacks_skipped} skipped; {c.probes} probes; "
            f"{c.waits} waits"
            f"{f'; no statement is sent ahead of an answer: {between}' if between else ''}>"
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
        # First in the row: the dialect's own listeners and everybody else's then work with the held connection.
        event.listen(engine, "connect", self._on_connect, insert=True)
        event.listen(engine, "checkout", self._on_checkout, insert=True)
        event.listen(engine, "reset", self._on_reset, insert=True)
        event.listen(engine, "handle_error", self._on_error)
        dialect: Any = engine.dialect
        before = dict(vars(dialect))
        wrap(dialect, self)
        if self.settings.replay:
            first_statement.put_in(dialect, self)
        self._exclusive = isinstance(engine.pool, _EXCLUSIVE_POOLS)
        style = queue_pool.reset_style(engine)
        self._resets = style in (ResetStyle.reset_rollback, ResetStyle.reset_commit)
        if style is not ResetStyle.reset_rollback:
            event.listen(engine, "begin", _note_begin)
            event.listen(engine, "begin_twophase", _note_begin)
        self._replays = self._exclusive and self.settings.replay
        remember(engine, self)
        self._engine = weakref.ref(engine)
        if own_connect:
            self._connecting.share(engine.url)
            # Below any do_connect listener of the application's, which sees and decides everything.
            connect = dialect.connect if driver is None else drivers.connecting(driver, dialect.connect)
            dialect.connect = self._connecting.patient(connect, self._pool_timeout)
        # On the dialect: whatever this object has of it would keep the engine alive for ever.
        dialect.holdfast_put_back = _putting_back(dialect, before)
        queue_pool.wait_patiently(engine, self._connecting, self._keeps, self._engine)
        queue_pool.on_dispose(engine, self._on_dispose)
        fork.watch(self)

    def _hold(self, dbapi_connection: Any) -> Wire | None:
        settings = self.settings
        exclusive = self._exclusive
        wire = Wire(
            self._counters,
            owner=self,
            exclusive=exclusive,
            defer=exclusive and settings.defer_rollback,
            pipeline=exclusive and settings.pipeline is not False,
        )
        if not drivers.hold_connection(dbapi_connection, wire):
            self._connecting.give_up_kept_slot()
            self._step_aside(type(drivers.unwrap(dbapi_connection)))
            return None
        wire.opened = self._clock()
        self._counters.connects += 1
        self._wires.add(wire)
        if wire.fd is not None:
            liveness.set_socket_options(wire.fd, settings)
        return wire

    def _step_aside(self, stranger: type) -> None:
        """Leave the engine to work as in stock SQLAlchemy, because its connections are of no driver that is known.

        Where some of them are held, that one alone is left as it is. The listeners stay, and do nothing: another thread
        may be going through the row of them at this moment.
        """
        name = f"{stranger.__module__}.{stranger.__qualname__}"
        if self._counters.connects:
            if not self._stranger_said:
                self._stranger_said = True
                self._connecting.say(
                    logging.WARNING,
                    "%s: a connection of class %s is of no driver that holdfast knows. It is used as in stock "
                    "SQLAlchemy; this engine's other connections are held.",
                    self.where,
                    name,
                )
            return
        if not self.active:
            return
        self.active = False
        self.reason = f"its connections are of class {name}, which is of no driver that holdfast knows"
        self._connecting.aside = self._connecting.unknown = True
        engine: Any = self._engine() if self._engine is not None else None
        if engine is not None:
            engine.dialect.holdfast_put_back()
        fork.unwatch(self)
        self._connecting.say(
            logging.WARNING, "%s is not held: %s. The engine works as in stock SQLAlchemy.", self.where, self.reason
        )

    # -- in a forked child -------------------------------------------------------------------------------------

    def leave_to_parent(self) -> None:
        """Called by :mod:`sqlalchemy_holdfast.fork`."""
        for wire in self._wires:
            if (fork.same_pid or wire.pid != os.getpid()) and wire.fault is not Cause.INHERITED:  # a grandparent's
                self._leaving[id(wire)] = wire  # until all is done, should an exception from outside come
                wire.fault = Cause.INHERITED  # whatever happens next, it is not used
        for wire in list(self._leaving.values()):
            wire.leave_to_parent()

    def start_anew(self) -> Callable[[], object] | None:
        """Called by :mod:`sqlalchemy_holdfast.fork`."""
        self._inherited = len(self._leaving)
        self._known = self._known or self._counters.checkouts > 0
        self._counters = Counters()
        self._leaks.counters = self._counters
        self._connecting.start_anew(self._counters)
        if self._inherited:
            self._counters.replaced[Cause.INHERITED] = self._inherited
        self._suspicion = liveness.Suspicion()
        engine = self._engine() if self._engine is not None else None
        self._leaving.clear()
        if engine is None:
            return None
        queue_pool.renew(engine)
        if not self._known:
            queue_pool.initialise_again(engine)
        return functools.partial(queue_pool.tell_disposed, engine)

    def _on_dispose(self, engine: Engine) -> None:
        fork.after_fork()
        own = self._engine() if self._engine is not None else None  # not a copy with other execution options
        if own is not None:
            queue_pool.let_nest(own)
            if self._connecting.budget is not None:
                queue_pool.drop_idle(self._connecting.pools, but=own.pool)

    def reconnect(self, inherited: HeldConnection) -> Any:
        """Called when a statement is about to be run on an inherited connection that is checked out."""
        wire = inherited._holdfast
        checkout = wire.checkout() if wire.checkout is not None else None
        engine = self._engine() if self._engine is not None else None
        if checkout is None or engine is None or drivers.unwrap(checkout.dbapi_connection) is not inherited:
            return None
        begun = not (inherited._holdfast_has_only_read() or inherited._holdfast_autocommits())
        connection = first_statement.replaced(inherited, checkout, queue_pool.reconnect)
        if connection is None:
            return None
        logger.log(
            logging.WARNING if begun else logging.INFO,
            "%s: a connection that was opened by the parent process %s and is still in use here was replaced by one "
            "of this process's own%s.",
            self.where,
            abs(wire.pid),
            ". What the parent did on it and has not committed is not part of this process's transaction, which "
            "cannot be committed: roll back and begin anew" * begun,
        )
        own = connection._holdfast
        own.checkout = wire.checkout
        own.stands_in = True
        if wire.level is not None and own.level != wire.level:
            engine.dialect.set_isolation_level(checkout.dbapi_connection, wire.level)
        own.belong_to_parents(begun)
        return connection

    # -- a connection that is lost while it is checked out -------------------------------------------------------

    def replace(self, dead: HeldConnection, cause: str) -> Any:
        """Called when a connection is found dead before the first statement of its checkout."""
        return first_statement.before_first(dead, cause, self)

    def keep_place(self, wire: Wire) -> object:
        """Called by :mod:`sqlalchemy_holdfast.pool.first_statement` before a connection is replaced."""
        wire.holder = None
        return self._connecting.keep_slot(wire)

    def lost_in_use(self) -> None:
        """Note that a connection was lost while it was used: its mates are looked at before their next use."""
        self._suspicion = self._suspicion.lost(self._clock())
        self._counters.count_replaced(Cause.LOST_IN_USE)

    # -- listeners ---------------------------------------------------------------------------------------------

    def _on_connect(self, dbapi_connection: Any, record: Any) -> None:
        try:
            if self.active:
                fork.after_fork()  # where nothing else has noticed
                self._make_ready(dbapi_connection)
        except BaseException:  # the pool closes it
            self._connecting.give_up(drivers.unwrap(dbapi_connection))
            raise

    def _make_ready(self, dbapi_connection: Any) -> None:
        if self._inherited:
            self._connecting.say(
                logging.INFO,
                "%s: %d connections of the parent process were left to it; process %d makes its own.",
                self.where,
                self._inherited,
                os.getpid(),
            )
            self._inherited = 0
        if drivers.wire_of(dbapi_connection) is None:
            if not self._known and not self._counters.checkouts and self._connecting.is_nested():
                engine = self._engine() if self._engine is not None else None
                if engine is not None:  # this thread is in the middle of its first connection, and needs this one first
                    queue_pool.initialise_again(engine)
            wire = self._hold(dbapi_connection)
            if wire is not None:
                self._connecting.claim(wire, drivers.unwrap(dbapi_connection))
                self._learn_limits(dbapi_connection, wire)
                wire.charset_is_set = self._charset_once and self._is_first()

    def _is_first(self) -> bool:
        """Say whether no listener of the application's can have made the connection, or changed it before this one."""
        engine = self._engine() if self._engine is not None else None
        return engine is not None and queue_pool.is_first_listener(engine, self._on_connect)

    def _on_checkout(self, dbapi_connection: Any, record: Any, proxy: Any) -> None:
        wire = getattr(dbapi_connection, "_holdfast", None)  # wire_of(), spelt out: this runs for every request
        if type(wire) is not Wire:
            self._counters.checkouts += 1
            self._connecting.say_now()
            return
        wire.checkout = weakref.ref(proxy)
        if wire.judged and wire.exclusive:
            _forget_user(wire)
        # A transaction that was left open (pool_reset_on_return=None) cannot be taken over by another connection.
        ended = wire.fresh or wire.clean or wire.pending
        wire.sent = 0 if self._replays and ended else 1
        now = self._clock()
        if wire.fresh:
            wire.set_up = set_up.note(drivers.unwrap(dbapi_connection), record.info)
            self._counters.checkouts += 1
            self._leaks.begin(wire, now)
            self._connecting.say_now()
            return
        cause = liveness.check_before_use(dbapi_connection, wire, self.settings, now, self._suspicion)
        if cause is None:
            if not ended and self._resets and wire.exclusive:
                self._end_what_was_left(dbapi_connection, "after it was returned")
            self._counters.checkouts += 1
            self._leaks.begin(wire, now)
            return
        if cause is Cause.INHERITED:
            raise DisconnectionError(f"holdfast: {cause}")
        kept = self._connecting.keep_slot(wire)
        self._counters.count_replaced(cause)
        if cause is Cause.CLOSED:
            self._found_closed(now - wire.idle_since)
        if cause is Cause.SILENT:
            self._suspicion = self._suspicion.lost(now, silent=True)
        logger.info(
            "%s: replaced a pooled connection before use (%s, after %.1f s idle); no error reached the application.",
            self.where,
            cause,
            now - wire.idle_since,
        )
        raise _Replaced(f"holdfast: {cause}", kept)

    def _on_reset(self, dbapi_connection: Any, record: Any, state: Any) -> None:
        # The first thing that happens when a connection is returned: what follows need not meet a dead connection.
        wire = getattr(dbapi_connection, "_holdfast", None)
        if type(wire) is not Wire or record is None or record.dbapi_connection is None:
            return
        wire.fresh = False
        wire.idle_since = now = self._clock()
        self._leaks.end(wire, now)
        if wire.judged and wire.exclusive:
            _forget_user(wire)
        if wire.users:
            _let_nobody_use(wire)
        if wire.pending and wire.fault is None and not wire.in_flight and not wire.retired:
            return  # looked at when the ROLLBACK was sent, and again before use
        cause = liveness.check_on_return(dbapi_connection, wire)
        if cause is None:
            if (state.transaction_was_reset or wire.begun) and not wire.clean and not wire.pending:
                # The application's listener, or the server, refused the COMMIT or the ROLLBACK.
                self._end_what_was_left(dbapi_connection, "when it was returned")
            return
        if cause is not Cause.INHERITED:
            self._counters.count_replaced(cause)
            logger.info("%s: discarded a connection when it was returned%s (%s).", self.where, holders.place(), cause)
        record.invalidate()

    def _end_what_was_left(self, dbapi_connection: Any, when: str) -> None:
        """Roll back what SQLAlchemy takes for ended, so that it is not a part of the next user's transaction.

        :raises: the driver's error. SQLAlchemy then discards the connection.
        """
        if drivers.unwrap(dbapi_connection)._holdfast_autocommits():
            return
        dbapi_connection.rollback()
        logger.warning(
            "%s: a connection was still in a transaction %s%s. It was rolled back. The commit or rollback of that "
            "transaction had failed, or a listener to the pool's events left it open.",
            self.where,
            when,
            holders.place(),
        )

    def also_tell_of_errors(self, listener: Callable[[ExceptionContext], object]) -> None:
        """Call something at each error, after what is done here. Harmless when it is called already.

        Not by listening to the engine: to add a listener while another thread's error is being handled makes that one
        a RuntimeError, because SQLAlchemy is going through the row of them.
        """
        if listener not in self._told_of_errors:
            self._told_of_errors = (*self._told_of_errors, listener)

    def _on_error(self, context: ExceptionContext) -> None:
        self._judge(context)
        for listener in self._told_of_errors:
            listener(context)

    def _judge(self, context: ExceptionContext) -> None:
        if not self.active:
            return
        error = context.original_exception
        connected = context.connection is not None
        if not connected:
            hints.explain_connect_error(context, self.where)
        wire, is_held = _wire_of(context)
        if connected and not is_held:
            return  # a stranger among the engine's connections: nothing looks at its mates before their next use
        row = faults.classify(error, connected=connected) if _is_driver_error(context, wire) else None
        if wire is not None and wire.fault is Cause.INHERITED:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
            return
        if row is not None and connected:
            if row.effect is faults.Effect.RETIRE:
                if wire is not None:
                    wire.retired = True
                if row.mates_too:
                    self._suspicion = self._suspicion.demoted(self._clock())
            elif not context.is_disconnect:
                context.is_disconnect = True
                self._counters.disconnects_recognised += 1
        if row is not None and row.effect is faults.Effect.LOST and connected and context.invalidate_pool_on_disconnect:
            # Stock SQLAlchemy closes every connection of the pool. They are looked at before their next use instead.
            # An error that only the application calls a disconnect keeps stock's way.
            context.invalidate_pool_on_disconnect = False
            self.lost_in_use()
            logger.info(
                "%s: a connection was lost in use (%s); the error was passed on. The pool's other connections "
                "are checked before their next use.",
                self.where,
                row.meaning,
            )

    # -- limits ------------------------------------------------------------------------------------------------

    def _pool_timeout(self) -> float:
        engine = self._engine() if self._engine is not None else None
        timeout = queue_pool.timeout(engine) if engine is not None else None
        return DEFAULT_TIMEOUT if timeout is None else timeout

    def _keeps(self, dbapi_connection: Any) -> bool:
        """Say whether a connection that is put back into the pool may stay open. Asked where there is a budget."""
        wire = getattr(dbapi_connection, "_holdfast", None)
        if type(wire) is not Wire or wire.fault is not None:
            return True
        connecting = self._connecting
        budget = connecting.budget
        if budget is None:  # since a moment ago
            return True
        if wire.slot is None:  # it was open before there was a budget
            wire.slot = budget.adopt()
        if budget.keeps(wire.slot, own_waiting=bool(connecting.in_pool.known)):
            return True
        self._counters.given_back += 1
        return False

    def ended(self, wire: Wire) -> None:
        """Called when a connection is closed."""
        self._connecting.ended(wire)

    def _learn_limits(self, dbapi_connection: Any, wire: Wire) -> None:
        connecting = self._connecting
        greeting = drivers.greeting(dbapi_connection)
        known = connecting.limits is not None or connecting.unknown
        # Another version is another server, or a middlebox that was put in between.
        if not known or connecting.stale or greeting.version not in self._middleboxes:
            self._ask_limits(dbapi_connection, wire, greeting)
        if self.settings.pipeline is not True and (
            greeting.thread_id == 0 or self._middleboxes.get(greeting.version, "?")
        ):
            wire.pipeline = False

    def _ask_limits(self, dbapi_connection: Any, wire: Wire, greeting: middleboxes.Greeting) -> None:
        connecting = self._connecting
        errors = drivers.errors_of(dbapi_connection)
        engine = self._engine() if self._engine is not None else None
        host = engine.url.host if engine is not None else None
        try:
            learned = limits.learn(
                dbapi_connection,
                errors,
                answered=lambda error: wire.fault is None and not _is_the_clients(error),
                greeting=greeting,
                host=host,
                connected_port=wire.connected_port(),
            )
        except (errors, limits.Unintelligible) as error:
            if drivers.from_outside(error) is not None:
                raise
            if wire.fault is not None or wire.hung_up() or faults.classify(error) is not None:
                return  # lost, or not ready: the next connection is asked
            if not connecting.unknown:
                connecting.say(
                    logging.INFO, "%s: the server's limits could not be learned (%s).", self.where, faults.said(error)
                )
            connecting.unknown, connecting.stale = True, False
            seen = middleboxes.Seen(greeting=greeting, host=host)
            self._note_middlebox(
                greeting, middleboxes.recognise(seen) or f"the server does not say what it is ({error})"
            )
            return
        if connecting.limits != learned:
            connecting.say(
                logging.INFO,
                "%s: %s %s allows %d connections (%s) and closes idle ones after %d s (wait_timeout).",
                self.where,
                learned.flavour,
                learned.version,
                learned.connections,
                learned.reason,
                learned.wait_timeout,
            )
        connecting.learned(learned)
        connecting.adopt(wire)
        self._note_middlebox(greeting, learned.middlebox)

    def _note_middlebox(self, greeting: middleboxes.Greeting, middlebox: str) -> None:
        new = middlebox and middlebox not in tuple(self._middleboxes.values())
        self._middleboxes[greeting.version] = middlebox
        if new and self.settings.pipeline == "auto" and self._exclusive:
            self._connecting.say(
                logging.INFO,
                "%s: no statement is sent ahead of an answer: %s. holdfast_pipeline=true has it done all the same.",
                self.where,
                middlebox,
            )

    def _found_closed(self, idle: float) -> None:
        """Note that a connection was closed after it had been idle for so many seconds."""
        known = self._connecting.limits
        if known is None or idle >= 0.95 * known.idle_limit:
            return
        self._connecting.limits = dataclasses.replace(known, idle_limit=idle)
        if not self._idle_limit_said:
            self._idle_limit_said = True
            logger.info(
                "%s: a connection was closed after %.1f s idle or less, though the server's wait_timeout is %d s: by a "
                "load balancer, a proxy, a restart or a KILL. It was noticed before it was used.",
                self.where,
                idle,
                known.wait_timeout,
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
        raise TypeError(
            f"sqlalchemy_holdfast.of() takes an engine, not {type(engine).__name__}. Did you mean session.get_bind()?"
        )
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
        connection = drivers.unwrap(session.connection().connection.dbapi_connection)
    except SQLAlchemyError as error:
        if drivers.from_outside(error) is not None:
            raise
        return False  # a transaction that has failed: there is nothing in it to keep
    wire = drivers.wire_of(connection)
    return wire is None or (wire.pid == os.getpid() and not connection._holdfast_has_only_read())


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


def _is_the_clients(error: Exception) -> bool:
    """Say whether a driver's error tells of no answer: the connection was lost, or somebody has interrupted it."""
    return 2000 <= (faults.error_number(error) or 0) < 3000 or drivers.from_outside(error) is not None


def _note_begin(connection: Connection, *rest: Any) -> None:
    wire = drivers.wire_of(connection.connection.dbapi_connection)
    if wire is not None:
        wire.begun = True


def _let_nobody_use(wire: Wire) -> None:
    """End what a thread that is in the middle of a command does on a connection that another one returns."""
    if wire.users.get(0) == threading.get_ident():  # an exception came between two lines
        wire.users.clear()
    elif wire.exclusive:
        wire.fault = wire.fault or Cause.INTERRUPTED


def _forget_user(wire: Wire) -> None:
    """What a connection does from now on is no concern of who had it before."""
    wire.record = None
    wire.belong_to_parents(False)


def _wire_of(context: ExceptionContext) -> tuple[Wire | None, bool]:
    """Return the connection's state, if it can still be asked for, and whether it was held as far as is known."""
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return None, True
    wire = drivers.wire_of(connection.connection.dbapi_connection)
    return wire, wire is not None


def _is_driver_error(context: ExceptionContext, wire: Wire | None) -> bool:
    """Say whether an error is the driver's: the dialect's, or that of a connection that a ``creator`` made with
    another one."""
    error, own = context.original_exception, None
    if wire is not None and wire.connection is not None and (held := wire.connection()) is not None:
        own = held._holdfast_errors
    return isinstance(error, context.dialect.loaded_dbapi.Error) or (own is not None and isinstance(error, own))


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
