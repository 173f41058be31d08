"""How another connection takes the place of one that cannot be used: who decides it, and when.

There are three occasions.

* At checkout, a connection of the pool is found dead. SQLAlchemy replaces it when the listener raises
  :class:`Replaced` (:mod:`~.listeners`).
* In the middle of a checkout, before or with its first statement (:mod:`~.first_statement`).
* In a forked child, when it uses a connection that its parent had checked out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError

from .. import drivers
from ..counters import Cause
from ..drivers import ConnectionState, HeldConnection
from ..reporting import Reporter
from . import queue_pool, set_up
from .connection_limit import ConnectionLimit
from .liveness import Suspicion
from .waiting import Connector

__all__ = ["Replaced", "Replacer"]


class Replaced(DisconnectionError):
    """Tells the pool to replace a connection. It exists for as long as the pool is at it, and keeps the connection's
    slot for so long."""

    def __init__(self, message: str, kept: object) -> None:
        super().__init__(message)
        self.kept = kept


class Replacer:
    """Replaces one engine's connections. It is the ``owner`` that they know.

    :param held: what is to be told of a fork: it exists for as long as one of its connections does, be it detached.
    :param engine: returns the engine, if it still exists.
    :param clock: monotonic time, as :data:`sqlalchemy_holdfast._clock.monotonic_also_asleep`.
    """

    def __init__(
        self,
        held: object,
        engine: Callable[[], Engine | None],
        reporter: Reporter,
        connector: Connector,
        limit: ConnectionLimit,
        clock: Callable[[], float],
    ) -> None:
        self.reporter = reporter
        self._held = held
        self.suspicion = Suspicion()
        """What the last loss says about the pool's other connections."""
        self._engine = engine
        self._connector = connector
        self._limit = limit
        self._clock = clock

    # -- what a connection asks of its owner (drivers.Owner) -----------------------------------------------------

    def replace_before_first_statement(self, dead: HeldConnection, cause: Cause) -> HeldConnection | None:
        """Put a new connection in the place of one that was lost before anything was sent on it in its checkout.

        :param dead: the driver's connection.
        :param cause: why it cannot be used (:class:`~sqlalchemy_holdfast.counters.Cause`).
        :return: the new one, or ``None`` when the connection is not (any more) a checkout's of a pool, or has what the
            application has set up on it.
        :raises: whatever connecting, or a listener to the pool's events, raises.
        """
        connection = self.replace(dead)
        if connection is not None:
            self.reporter.replaced_before_first_statement(cause)
        return connection

    def replace_inherited(self, inherited: HeldConnection) -> HeldConnection | None:
        """Put a connection of this process's own in the place of its parent's that is checked out.

        Called when a statement is about to be run on it.
        """
        state = inherited._holdfast
        checkout = state.checkout() if state.checkout is not None else None
        engine = self._engine()
        if checkout is None or engine is None or drivers.held_connection(checkout.dbapi_connection) is not inherited:
            return None
        begun = not (inherited._holdfast_has_only_read() or inherited._holdfast_autocommits())
        connection = _put_in_its_place(inherited, checkout, queue_pool.reconnect)
        if connection is None:
            return None
        self.reporter.inherited_replaced(abs(state.pid), begun=begun)
        own = connection._holdfast
        own.checkout = state.checkout
        own.replaces_inherited = True
        if own.session is not None:
            drivers.end_of_connecting(connection, own, own.session)
        if state.isolation_level is not None and own.isolation_level != state.isolation_level:
            engine.dialect.set_isolation_level(checkout.dbapi_connection, state.isolation_level)
        own.belong_to_parents(begun)
        return connection

    def connection_closed(self, state: ConnectionState) -> None:
        """Note that a connection is closed. Harmless when that is known already."""
        self._limit.connection_closed(state)

    # -- in the middle of a checkout -----------------------------------------------------------------------------

    def replace(self, dead: HeldConnection) -> HeldConnection | None:
        """Give the checkout that a connection is in another one, which cannot be replaced in its turn.

        :return: the new one; ``None`` as :meth:`replace_before_first_statement`.
        """
        state = dead._holdfast
        checkout = state.checkout() if state.checkout is not None else None
        if checkout is None or checkout.is_detached or drivers.held_connection(checkout.dbapi_connection) is not dead:
            return None

        def replace(checkout: Any) -> Any:
            state.holder = None
            kept = self._connector.reserve_slot_for_replacement(state)
            connection = queue_pool.replace(checkout)
            del kept
            return connection

        connection = _put_in_its_place(dead, checkout, replace)
        own = drivers.state_of(connection)
        if own is not None:
            own.sent = max(own.sent, 1)
        return connection

    # -- what else is to be suspected ----------------------------------------------------------------------------

    def suspect_others(self, *, silent: bool = False) -> None:
        """A connection was lost: the pool's other connections are checked before their next use.

        :param silent: it did not answer a probe.
        """
        self.suspicion = self.suspicion.lost(self._clock(), silent=silent)

    def server_became_read_only(self) -> None:
        """The server refused to write: the pool's other connections lead to the same one."""
        self.suspicion = self.suspicion.server_became_read_only(self._clock())


def _put_in_its_place(old: HeldConnection, checkout: Any, replace: Callable[[Any], Any]) -> HeldConnection | None:
    """Put a new connection in the place of one that is checked out, if it has all that the old one had.

    :param checkout: SQLAlchemy's proxy (:class:`sqlalchemy.pool.PoolProxiedConnection`) that the old one is in.
    :param replace: puts the new one there and returns it.
    :return: the new one, or ``None`` where the application goes by what it has set up on the old one; whatever is
        checked out then must not be used.
    :raises: what ``replace`` raises.
    """
    made = old._holdfast.set_up
    if not isinstance(made, set_up.SetUp):
        return None
    now = set_up.note(old, checkout.info)
    if now.has_more_than(made):
        return None
    connection = replace(checkout)
    if connection is None or now.is_told_of_more_than(made, checkout.info):
        return None
    new = drivers.held_connection(connection)
    state = drivers.state_of(new)
    if state is not None:
        state.keep_record(old._holdfast.record)
    return new
