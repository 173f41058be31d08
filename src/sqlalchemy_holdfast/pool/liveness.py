"""May this idle connection be used? And how long may a peer stay silent?

Two questions without a round trip, at checkin and at checkout: is there something to read on an idle connection
(then it is dead, or a reply out of sync), and was a statement left half done? What they cannot see is a connection
that was dropped in silence, by a firewall or a host that lost its power. For that there are TCP keepalive and
``TCP_USER_TIMEOUT``, and one bounded round trip after a long idle time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..counters import Cause
from ..drivers import ConnectionState, HeldConnection
from ..settings import Settings

__all__ = ["Suspicion", "check_before_use", "check_on_return"]

_OTHERS_PROBE_SECONDS = 0.5
_READ_ONLY_AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Suspicion:
    """What the loss of one connection says of the pool's others: each is asked once before it is used."""

    since: float = -math.inf
    """Monotonic time in seconds."""
    silent: bool = False
    """It did not answer a probe. The others are not given as long."""
    read_only_since: float = -math.inf
    """Monotonic time at which its server turned out not to be one to go on with, as after a failover. Those that
    were opened before then are replaced."""

    def lost(self, now: float, *, silent: bool = False) -> Suspicion:
        """Return what is suspected after a connection was lost."""
        return replace(self, since=now, silent=silent)

    def server_became_read_only(self, now: float) -> Suspicion:
        """Return what is suspected after a server refused to write.

        Every few seconds at the most: while the host name leads to the same server, replacing does not help. No jitter:
        each process learns of it by an error of its own, and replaces a connection when it is about to use it.
        """
        return self if now - self.read_only_since < _READ_ONLY_AGAIN_SECONDS else replace(self, read_only_since=now)


Probe = Callable[[float], Cause | None]
"""A held connection's round trip, with its time limit in seconds."""


def check_before_use(
    connection: HeldConnection,
    state: ConnectionState,
    settings: Settings,
    now: float,
    suspicion: Suspicion,
    probing: Callable[[Probe, float], Cause | None],
) -> Cause | None:
    """Say why a connection from the pool must not be handed out, or ``None``.

    :param connection: the held connection, or a tracer's proxy around it.
    :param now: monotonic time in seconds.
    :param suspicion: the last loss in the same pool. A connection that was returned before it gets one bounded round
        trip; it is not thrown away. One that leads to a server that has become read-only is.
    :param probing: makes a round trip, given the connection's own method and its time limit in seconds.
    :return: one of :class:`sqlalchemy_holdfast.counters.Cause`.
    """
    cause: Cause | None = connection._holdfast_check()
    if cause is None and state.opened <= suspicion.read_only_since and state.one_user_at_a_time:
        cause = Cause.EVICTED
    if cause is not None or state.is_unix_socket:
        return cause
    limit, timeout = settings.probe_after_idle, settings.probe_timeout
    if state.idle_since <= suspicion.since:
        cause = probing(
            connection._holdfast_probe, min(timeout, _OTHERS_PROBE_SECONDS) if suspicion.silent else timeout
        )
    elif limit is not None and now - state.idle_since >= limit:
        cause = probing(connection._holdfast_probe, timeout)
    return cause


def check_on_return(connection: HeldConnection, state: ConnectionState) -> Cause | None:
    """Say why a connection that is being returned must not be kept, or ``None``.

    One whose ROLLBACK is still unanswered need not be asked: it was looked at when that was sent, and is looked at
    again before use.
    """
    if state.evicted:
        return Cause.EVICTED
    cause: Cause | None = connection._holdfast_check()
    return cause
