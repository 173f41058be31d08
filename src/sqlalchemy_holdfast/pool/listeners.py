"""What holdfast does when SQLAlchemy makes, hands out, takes back or loses a connection.

* ``connect``: the new connection is held, and the server is asked for its limits.
* ``checkout``: the connection is checked before use (:mod:`~.liveness`), and replaced when it is dead.
* ``reset``, at every return: it is checked once more, and discarded where nobody else should have it.
* ``handle_error``: an error of the driver's is judged: is the connection lost, and what about the others?
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import NullPool
from sqlalchemy.pool.base import ResetStyle

from .. import drivers, fork
from .._registry import Registry
from ..counters import Cause
from ..drivers import ConnectionState, HeldConnection
from ..errors import note_connecting
from ..reporting import Reporter
from ..server import faults, hints
from ..server.error_table import Effect
from ..settings import Settings
from . import holders, liveness, queue_pool, set_up
from .connection_limit import ConnectionLimit
from .encryption import EncryptionCheck
from .explaining import explain_lost
from .leaks import Leaks
from .replacing import Replaced, Replacer
from .resets import Resets
from .waiting import Connector

__all__ = ["Listeners"]

_NOTHING = faults.Verdict(None, connected=True)
"""What an error that is not the driver's means."""


class Listeners:
    """The listeners to one engine.

    :param step_aside: is called with the class of a connection, when that is of no driver that holdfast knows.
    """

    def __init__(
        self,
        engine: Callable[[], Engine | None],
        settings: Settings,
        reporter: Reporter,
        *,
        connector: Connector,
        limit: ConnectionLimit,
        replacer: Replacer,
        encryption: EncryptionCheck,
        step_aside: Callable[[type], None],
        clock: Callable[[], float],
    ) -> None:
        self.connections: Registry[ConnectionState] = Registry()
        """The engine's connections."""
        self.leaks = Leaks(settings, reporter, self.connections, clock)
        self.inherited = 0
        """In a child: connections that were left to the parent, until that was said."""
        self.known = False
        """In this process or a parent of it, the first connection was made and handed out."""
        self._engine = engine
        self._settings = settings
        self._reporter = reporter
        self._connector = connector
        self._probing = connector.probing
        self._limit = limit
        self._replacer = replacer
        self._encryption = encryption
        self._step_aside = step_aside
        self._clock = clock
        self._charset_once = False
        self._exclusive = False
        self._resets = False
        self._replays = False
        self._made_by_driver = False
        self.reset: Resets | None = None
        """What puts changed sessions back, where that is wanted and possible."""
        self.place = hints.Place()
        """What is known of the URL that connections are made with."""
        self._also_told: tuple[Callable[[ExceptionContext], object], ...] = ()

    def listen(self, engine: Engine, *, exclusive: bool, made_by_driver: bool, charset_once: bool) -> None:
        """Begin to listen to an engine.

        :param exclusive: whether its pool gives a connection to one user at a time.
        :param made_by_driver: whether its connections are made by the dialect, not by a ``creator``.
        :param charset_once: whether a SET NAMES that repeats the driver's own may be left out while connecting.
        """
        self._charset_once, self._exclusive, self._made_by_driver = charset_once, exclusive, made_by_driver
        # First in the row: the dialect's own listeners and everybody else's then work with the held connection.
        event.listen(engine, "connect", self._on_connect, insert=True)
        event.listen(engine, "checkout", self._on_checkout, insert=True)
        event.listen(engine, "reset", self._on_reset, insert=True)
        event.listen(engine, "handle_error", self._on_error)
        style = queue_pool.reset_style(engine)
        self._resets = style in (ResetStyle.reset_rollback, ResetStyle.reset_commit)
        if style is not ResetStyle.reset_rollback:
            event.listen(engine, "begin", _note_begin)
            event.listen(engine, "begin_twophase", _note_begin)
        self._replays = exclusive and self._settings.replay
        if self._settings.reset == "changed" and not exclusive:
            self._reporter.reset_is_off(type(engine.pool).__name__)
        elif self._settings.reset == "changed" and not isinstance(engine.pool, NullPool):
            self.reset = Resets(self._reporter)
            event.listen(engine, "checkin", self.reset.returned)

    def also_tell_of_errors(self, listener: Callable[[ExceptionContext], object]) -> None:
        """Call something at each error, after what is done here. Harmless when it is called already.

        Not by listening to the engine: to add a listener while another thread's error is being handled makes that one
        a RuntimeError, because SQLAlchemy is going through the row of them.
        """
        if listener not in self._also_told:
            self._also_told = (*self._also_told, listener)

    # -- connect -------------------------------------------------------------------------------------------------

    def _on_connect(self, dbapi_connection: Any, record: Any) -> None:
        try:
            if not self._connector.aside:
                fork.after_fork()  # where nothing else has noticed
                self._make_ready(dbapi_connection, record)
        except BaseException:  # the pool closes it
            self._connector.give_up(drivers.unwrap(dbapi_connection))
            raise

    def _make_ready(self, dbapi_connection: Any, record: Any) -> None:
        if self.inherited:
            self._reporter.left_to_parent(self.inherited)
            self.inherited = 0
        if drivers.state_of(dbapi_connection) is None:
            if not self.known and not self._reporter.counters.checkouts and self._connector.is_nested():
                engine = self._engine()
                if engine is not None:  # this thread is in the middle of its first connection, and needs this one first
                    queue_pool.initialise_again(engine)
            state = self._hold(dbapi_connection)
            if state is not None:
                self._encryption.check(dbapi_connection, state)
                state.pool_entry = weakref.ref(record)
                self._connector.assign_slot(state, drivers.unwrap(dbapi_connection))
                self._limit.learn(dbapi_connection, state)
                first = (self._charset_once or self.reset is not None) and self._is_first()
                if self.reset is not None:
                    self.reset.connected(dbapi_connection, state, known=first and self._made_by_driver)
                state.charset_is_set = self._charset_once and first

    def _hold(self, dbapi_connection: Any) -> ConnectionState | None:
        settings, exclusive = self._settings, self._exclusive
        state = ConnectionState(
            self._reporter.counters,
            owner=self._replacer,
            one_user_at_a_time=exclusive,
            defer=exclusive and settings.defer_rollback,
            pipeline=exclusive and settings.pipeline is not False,
            tls=self._encryption.policy,
        )
        if not drivers.hold_connection(dbapi_connection, state):
            stranger = type(drivers.unwrap(dbapi_connection))
            self._encryption.refuse_stranger(f"{stranger.__module__}.{stranger.__qualname__}")
            self._connector.give_up_kept_slot()
            self._step_aside(type(drivers.unwrap(dbapi_connection)))
            return None
        state.opened = self._clock()
        self._reporter.counters.connects += 1
        self.connections.add(state)
        if state.fd is not None:
            drivers.set_socket_options(
                state.fd, keepalive_idle=settings.keepalive_idle, user_timeout=settings.tcp_user_timeout
            )
        return state

    def _is_first(self) -> bool:
        """Say whether no listener of the application's can have made the connection, or changed it before this one."""
        engine = self._engine()
        return engine is not None and queue_pool.is_first_listener(engine, self._on_connect)

    # -- checkout ------------------------------------------------------------------------------------------------

    def _on_checkout(self, dbapi_connection: Any, record: Any, proxy: Any) -> None:
        state = getattr(dbapi_connection, "_holdfast", None)  # state_of(), spelt out: this runs for every request
        if type(state) is not ConnectionState:
            self._reporter.counters.checkouts += 1
            self._reporter.tell_what_waits()
            return
        state.checkout = weakref.ref(proxy)
        if state.judged and state.one_user_at_a_time:
            _forget_user(state)
        # A transaction that was left open (pool_reset_on_return=None) cannot be taken over by another connection.
        ended = state.never_returned or state.nothing_to_roll_back or state.pending
        state.sent = 0 if self._replays and ended else 1
        now = self._clock()
        if state.never_returned:
            if self.reset is not None and (refused := self.reset.is_set_up(dbapi_connection, state)) is not None:
                self._replace(state, refused, 0.0)
            state.set_up = set_up.note(drivers.held_connection(dbapi_connection), record.info)
            self._reporter.counters.checkouts += 1
            self.leaks.begin(state, now)
            self._reporter.tell_what_waits()
            return
        suspicion = self._replacer.suspicion
        cause = liveness.check_before_use(dbapi_connection, state, self._settings, now, suspicion, self._probing)
        if cause is None:
            if not ended and self._resets and state.one_user_at_a_time:
                self._end_what_was_left(dbapi_connection, "after it was returned")
            if state.session is not None and state.session.is_changed and self.reset is not None:
                cause = self.reset.put_back(dbapi_connection, state)  # a listener to the pool's events has changed it
                if cause is not None:
                    self._replace(state, cause, now - state.idle_since)
            if state.level_is_set and state.one_user_at_a_time:
                self._put_level_back(dbapi_connection, state, now)
            self._reporter.counters.checkouts += 1
            self.leaks.begin(state, now)
            return
        if cause is Cause.INHERITED:
            raise DisconnectionError(f"holdfast: {cause}")
        if cause is Cause.CLOSED:
            self._limit.found_closed(now - state.idle_since)
        if cause is Cause.SILENT:
            self._replacer.suspect_others(silent=True)
        self._replace(state, cause, now - state.idle_since)

    def _put_level_back(self, dbapi_connection: Any, state: ConnectionState, now: float) -> None:
        """Put an isolation level back that the last user has set: in AUTOCOMMIT, what this one writes would stay."""
        engine = self._engine()
        if engine is not None:
            engine.dialect.reset_isolation_level(dbapi_connection)
            if state.unusable_because is not None:
                self._replace(state, state.unusable_because, now - state.idle_since)

    def _replace(self, state: ConnectionState, cause: Cause, idle: float) -> NoReturn:
        """Have the pool replace a connection that it is about to hand out."""
        kept = self._connector.reserve_slot_for_replacement(state)
        self._reporter.replaced_before_use(cause, idle)
        raise Replaced(f"holdfast: {cause}", kept)

    # -- reset ---------------------------------------------------------------------------------------------------

    def _on_reset(self, dbapi_connection: Any, record: Any, reset_state: Any) -> None:
        # The first thing that happens when a connection is returned: what follows need not meet a dead connection.
        state = getattr(dbapi_connection, "_holdfast", None)
        if type(state) is not ConnectionState or record is None or record.dbapi_connection is None:
            return
        state.never_returned = False
        state.idle_since = state.replied = now = self._clock()
        self.leaks.end(state, now)
        if state.judged and state.one_user_at_a_time:
            _forget_user(state)
        if state.users:
            _let_nobody_use(drivers.held_connection(dbapi_connection), state)
        if state.pending and state.unusable_because is None and not state.in_flight and not state.evicted:
            self._connector.heard()
            return  # looked at when the ROLLBACK was sent, and again before use
        cause = liveness.check_on_return(dbapi_connection, state)
        if cause is None:
            self._connector.heard()
            if (
                (reset_state.transaction_was_reset or state.begun)
                and not state.nothing_to_roll_back
                and not state.pending
            ):
                # The application's listener, or the server, refused the COMMIT or the ROLLBACK.
                self._end_what_was_left(dbapi_connection, "when it was returned")
            return
        if cause is not Cause.INHERITED:
            self._reporter.discarded_on_return(cause, holders.by_whom())
        record.invalidate()

    def _end_what_was_left(self, dbapi_connection: Any, when: str) -> None:
        """Roll back what SQLAlchemy takes for ended, so that it is not a part of the next user's transaction.

        :raises: the driver's error. SQLAlchemy then discards the connection.
        """
        if drivers.held_connection(dbapi_connection)._holdfast_autocommits():
            return
        dbapi_connection.rollback()
        self._reporter.rolled_back_what_was_left(when, holders.by_whom())

    # -- handle_error --------------------------------------------------------------------------------------------

    def _on_error(self, context: ExceptionContext) -> None:
        if not self._connector.aside:
            self._judge(context)
        for listener in self._also_told:
            listener(context)

    def _judge(self, context: ExceptionContext) -> None:
        error = context.original_exception
        connected = context.connection is not None
        if not connected:
            hints.explain_connect_error(context, self._reporter.where, self.place)
            if context.sqlalchemy_exception is not None:
                note_connecting(context.sqlalchemy_exception, self._connector.pausing)
        else:
            hints.explain_no_database(context, self.place)
        state, is_held = _state_of(context)
        if connected and not is_held:
            return  # a stranger among the engine's connections: nothing looks at the others before their next use
        verdict = faults.judge(error, connected=connected) if _is_driver_error(context, state) else _NOTHING
        if state is not None and state.unusable_because is Cause.INHERITED:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
            return
        if verdict.effect is not None and connected:
            if verdict.effect is Effect.EVICT:
                if state is not None:
                    state.evicted = True
                if verdict.others_too:
                    self._replacer.server_became_read_only()
            elif not context.is_disconnect:
                context.is_disconnect = True
                self._reporter.disconnect_recognised()
        if verdict.lost and connected and context.invalidate_pool_on_disconnect:
            # Stock SQLAlchemy closes every connection of the pool. They are looked at before their next use instead.
            # An error that only the application calls a disconnect keeps stock's way.
            context.invalidate_pool_on_disconnect = False
            self._replacer.suspect_others()
            self._reporter.lost_in_use(verdict.meaning)
        if verdict.lost and connected:
            explain_lost(context, state, self._limit.limits, self._clock)


def _note_begin(connection: Connection, *rest: Any) -> None:
    state = drivers.state_of(connection.connection.dbapi_connection)
    if state is not None:
        state.begun = True


def _let_nobody_use(connection: HeldConnection, state: ConnectionState) -> None:
    """End what a thread that is in the middle of a command does on a connection that another one returns."""
    if state.users.get(0) == threading.get_ident():  # an exception came between two lines
        state.users.clear()
    elif state.one_user_at_a_time:
        connection._holdfast_take_away()
        state.unusable_because = state.unusable_because or Cause.INTERRUPTED


def _forget_user(state: ConnectionState) -> None:
    """What a connection does from now on is no concern of who had it before."""
    state.record = None
    state.belong_to_parents(False)


def _state_of(context: ExceptionContext) -> tuple[ConnectionState | None, bool]:
    """Return the connection's state, if it can still be asked for, and whether it was held as far as is known."""
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return None, True
    state = drivers.state_of(connection.connection.dbapi_connection)
    return state, state is not None


def _is_driver_error(context: ExceptionContext, state: ConnectionState | None) -> bool:
    """Say whether an error is the driver's: the dialect's, or that of a connection that a ``creator`` made with
    another one."""
    error, own = context.original_exception, None
    if state is not None and state.connection is not None and (held := state.connection()) is not None:
        own = held._holdfast_errors
    return isinstance(error, context.dialect.loaded_dbapi.Error) or (own is not None and isinstance(error, own))
