"""Finding the socket of a connection whose driver does not tell it.

The sockets of the process are listed before a connection is made and after; when exactly one is new, it is the
connection's. Another thread that connects at the same moment makes it ambiguous, and
then nothing is assumed: the connection is used without a check, as in stock SQLAlchemy.
"""

from __future__ import annotations

import os
import stat
import threading

from .outside import from_outside

__all__ = ["newest", "remember"]

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
