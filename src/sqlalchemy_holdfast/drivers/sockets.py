"""A connection's socket: finding it, looking at it without waiting, and how long its peer may stay silent.

Where a driver does not tell its socket, the sockets of the process are listed before a connection is made and after.
When exactly one is new, it is the connection's. Another thread that connects at the same moment makes it ambiguous, and
then nothing is assumed: the connection is used without a check, as in stock SQLAlchemy.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType
from typing import Any

from .._outside import from_outside

__all__ = [
    "GONE",
    "WATCHED",
    "borrowed",
    "can_look",
    "is_unix_socket",
    "newest",
    "poll_among_greenlets",
    "remember",
    "set_socket_options",
    "unpatched_poll",
]

GONE = (
    getattr(select, "POLLHUP", 0)
    | getattr(select, "POLLERR", 0)
    | getattr(select, "POLLNVAL", 0)
    | getattr(select, "POLLRDHUP", 0)
)
"""What poll() reports of a connection that the other side has closed."""
WATCHED = GONE | getattr(select, "POLLIN", 0)
"""What poll() is asked for: that, and whether there is something to read."""
_KEEPALIVE_PROBES = 3
_DIRECTORY = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)
_before = threading.local()


def remember() -> None:
    """Note which sockets this process has, just before a connection is made in this thread."""
    _before.sockets = _sockets()


def newest() -> int | None:
    """Return the one connected socket that came since :func:`remember`, or ``None`` when it is not certain."""
    before = getattr(_before, "sockets", None)
    if before is None:
        return None
    _before.sockets = None
    new = [fd for fd, _ in _sockets() - before]
    return new[0] if len(new) == 1 else None


def _sockets() -> set[tuple[int, int]]:
    """Every socket of the process, as descriptor and inode."""
    found = set()
    for name in os.listdir(_DIRECTORY) if _DIRECTORY else ():
        try:
            status = os.fstat(int(name))
        except (OSError, ValueError) as error:
            if from_outside(error) is not None:
                raise
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.add((int(name), status.st_ino))
    return found


def can_look() -> bool:
    """Say whether connections can be looked at without waiting: whether this system has ``poll()``."""
    return unpatched_poll() is not None


def unpatched_poll() -> Any:
    """Return ``select.poll`` as Python has it, or ``None``.

    A look must not switch greenlets: the unit of work would stand still in the middle of its transaction, with its row
    locks, and a driver in C that then waits for one of them stops the whole process. gevent's own ``poll`` does switch,
    even when it is not to wait, and knows neither POLLHUP nor POLLERR; eventlet takes ``poll`` away. Asked for at each
    connection, because a process may be patched after holdfast was imported.
    """
    poll = getattr(select, "poll", None)
    if isinstance(poll, BuiltinFunctionType):
        return poll
    if "gevent.monkey" in sys.modules and poll is not None:
        poll = sys.modules["gevent.monkey"].get_original("select", "poll")
    elif "eventlet.patcher" in sys.modules:
        poll = getattr(sys.modules["eventlet.patcher"].original("select"), "poll", None)
    return poll


def poll_among_greenlets(poll: Callable[[int], list[tuple[int, int]]], wait_seconds: float) -> list[tuple[int, int]]:
    """Wait as gevent and eventlet want it: in ``time.sleep()``, which they have made their own."""
    deadline, pause = time.monotonic() + wait_seconds, 0.0005
    while not (found := poll(0)) and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.01)
    return found


@contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """Give a socket object for a descriptor that belongs to somebody else, for the length of a block.

    With ``socket.setdefaulttimeout()`` in force a new socket object makes its descriptor non-blocking, and that flag
    is shared with the owner's: it is put back.
    """
    blocking = os.get_blocking(fd) if hasattr(os, "get_blocking") else True
    copy = os.dup(fd)
    try:
        sock = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    try:
        if hasattr(os, "set_blocking"):
            os.set_blocking(fd, blocking)
        yield sock
    finally:
        sock.close()


def is_unix_socket(fd: int) -> bool:
    """Say whether a descriptor is a unix socket: no network that could swallow anything in silence."""
    with borrowed(fd) as sock:
        return sock.family == getattr(socket, "AF_UNIX", None)


def set_socket_options(fd: int, *, keepalive_idle: float | None, user_timeout: float | None) -> None:
    """Set TCP keepalive, ``TCP_USER_TIMEOUT`` and ``TCP_NODELAY`` on a connection's socket, where the system has them.

    The first two are both needed (measured): keepalive ends a connection that waits for a reply,
    ``TCP_USER_TIMEOUT`` one that has sent something. A server that is slow to answer is not limited by them; one that
    has stopped reading, as during LOAD DATA LOCAL behind a lock, is (Linux counts zero-window probes).

    :param keepalive_idle: seconds; ``None`` leaves keepalive as it is.
    :param user_timeout: seconds; ``None`` leaves the system's.
    """
    with borrowed(fd) as sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        # mysql-connector leaves Nagle's algorithm on: a statement sent behind a ROLLBACK would wait for its reply.
        _set(sock, "TCP_NODELAY", 1)
        if keepalive_idle is not None:
            interval = max(1, round(keepalive_idle / 6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # macOS's name for it
            _set(sock, idle, max(1, round(keepalive_idle)))
            _set(sock, "TCP_KEEPINTVL", interval)
            _set(sock, "TCP_KEEPCNT", _KEEPALIVE_PROBES)
        if user_timeout is not None:
            _set(sock, "TCP_USER_TIMEOUT", round(user_timeout * 1000))


def _set(sock: socket.socket, option: str, value: int) -> None:
    number = getattr(socket, option, None)  # macOS has no TCP_USER_TIMEOUT
    if number is None:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, number, value)
    except OSError as error:
        if from_outside(error) is not None:
            raise
        return  # a kernel that knows the name and not the option
