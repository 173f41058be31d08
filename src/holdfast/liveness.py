"""May this idle connection be used? And how long may a peer stay silent?

Two questions without a round trip, at checkin and at checkout: is there something to read on an idle connection
(then it is dead, or a reply out of step), and was a statement left half done? What they cannot see is a connection
that was dropped in silence, by a firewall or a host that lost its power. For that there are TCP keepalive and
``TCP_USER_TIMEOUT``, and one bounded round trip after a long idle time.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from .counters import Cause
from .drivers import Wire
from .settings import Settings

__all__ = ["check_before_use", "check_on_return", "set_socket_options"]

_KEEPALIVE_PROBES = 3


def check_before_use(connection: Any, wire: Wire, settings: Settings, now: float, suspect_since: float) -> str | None:
    """Say why a connection from the pool must not be handed out, or ``None``.

    :param connection: the held connection, or a tracer's proxy around it.
    :param now: monotonic time in seconds.
    :param suspect_since: monotonic time at which a connection of the same pool was last lost in use. One that was
        returned before gets one bounded round trip; it is not thrown away.
    :return: one of :class:`holdfast.counters.Cause`.
    """
    cause: str | None = connection._holdfast_look()
    if cause is not None or wire.local:
        return cause
    limit = settings.probe_after_idle
    if wire.idle_since <= suspect_since or (limit is not None and now - wire.idle_since >= limit):
        cause = connection._holdfast_probe(settings.probe_timeout)
    return cause


def check_on_return(connection: Any, wire: Wire) -> str | None:
    """Say why a connection that is being returned must not be kept, or ``None``.

    One whose ROLLBACK is still unanswered was looked at when that was sent and is looked at again before use.
    """
    if wire.retired:
        return Cause.RETIRED
    if wire.pending and wire.fault is None and not wire.in_flight:
        return None
    cause: str | None = connection._holdfast_look()
    return cause


def set_socket_options(fd: int, settings: Settings) -> None:
    """Set TCP keepalive, ``TCP_USER_TIMEOUT`` and ``TCP_NODELAY`` on a connection's socket, where the system has them.

    The first two are both needed (measured): keepalive ends a connection that waits for a reply,
    ``TCP_USER_TIMEOUT`` one that has sent something. Neither limits a server that is alive and slow.
    """
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return
    with sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        # mysql-connector leaves Nagle's algorithm on: a statement sent behind a ROLLBACK would wait for its reply.
        _set(sock, "TCP_NODELAY", 1)
        if settings.keepalive_idle is not None:
            interval = max(1, round(settings.keepalive_idle / 6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _set(sock, "TCP_KEEPIDLE", max(1, round(settings.keepalive_idle)))
            _set(sock, "TCP_KEEPINTVL", interval)
            _set(sock, "TCP_KEEPCNT", _KEEPALIVE_PROBES)
        if settings.tcp_user_timeout is not None:
            _set(sock, "TCP_USER_TIMEOUT", round(settings.tcp_user_timeout * 1000))


def _set(sock: socket.socket, option: str, value: int) -> None:
    number = getattr(socket, option, None)  # macOS has no TCP_USER_TIMEOUT
    if number is None:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, number, value)
    except OSError:  # a kernel that knows the name and not the option
        return
