"""What a forked child may not touch, and how it is noticed that there was a fork.

A child inherits its parent's sockets. Whatever it sends, reads or shuts down on one of them happens to the parent's
session, and the destructors of most drivers do send something. So a child's first act is to put a dead socket in the
place of each inherited one (:func:`replace_by_dead`); after that nothing that it does or drops can reach the parent.

A fork is noticed in four ways, of which any one is enough and none needs a thread or a call by the application:

* ``os.register_at_fork``, in the child, before ``os.fork()`` returns;
* ``uwsgi.post_fork_hook``, chained before the application's own: uWSGI 2.0 does not run at-fork hooks unless it is
  told to (``--py-call-osafterfork``), and ``uwsgidecorators`` overwrites that hook when it is imported later;
* the process id, compared whenever a held connection is used, closed or collected;
* ``atexit``, for a child that ends without having used anything.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import weakref
from typing import Protocol

__all__ = ["Forked", "after_fork", "replace_by_dead", "watch"]

logger = logging.getLogger("holdfast")


class Forked(Protocol):
    """Something that has to be told when it finds itself in a child."""

    def leave_to_parent(self) -> None:
        """Put dead sockets in the place of the inherited ones. Nothing may be closed or dropped yet."""

    def start_anew(self) -> None:
        """Make ready for this process's own connections. Nothing that belongs to the parent can be reached now."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()
_process = os.getpid()
"""The process for which everything has been seen to."""
_lock = threading.RLock()
_busy = False


def watch(something: Forked) -> None:
    """Tell an object of every fork from now on, for as long as it exists."""
    global _spare
    if _spare is None:
        _spare = _dead_pair()
    _watched.add(something)
    _chain_uwsgi()


def after_fork() -> None:
    """Leave everything of the parent's to the parent, if this is a child that has not done so yet.

    Idempotent and cheap; called by everything that may be the first to notice.
    """
    global _process, _busy
    if _process == os.getpid():
        return
    with _lock:  # two threads of a child may notice at once; the second waits until all is done
        if _process == os.getpid() or _busy:  # busy: called by the destructor of something that is being let go of
            return
        _busy = True
        watched = list(_watched)
        steps = [one.leave_to_parent for one in watched] + [one.start_anew for one in watched]
        try:
            for step in steps:
                try:
                    step()
                except Exception:
                    logger.exception("holdfast: after a fork, this failed for a database engine.")
        finally:
            _process, _busy = os.getpid(), False


def replace_by_dead(fd: int) -> bool:
    """Put a socket that swallows what is written to it, and is at its end when it is read, in the place of another.

    Not ``/dev/null``: libmariadb over TLS reports that as 2026, which SQLAlchemy does not take for a lost connection.
    Not a socket whose other end is closed: a driver's farewell would raise SIGPIPE, which ends a program that has set
    it back to its default. And one for each: mysql-connector shuts its socket down.

    :return: false when that could not be done.
    """
    try:
        one, other = _dead_pair()
    except OSError:  # no descriptor left
        return _spare is not None and _put(_spare[0], fd)
    with one:
        _kept.append(other)
        return _put(one, fd)


def _put(dead: socket.socket, fd: int) -> bool:
    try:
        os.dup2(dead.fileno(), fd, inheritable=False)
    except OSError:
        return False
    return True


_kept: list[socket.socket] = []
"""The other ends: nobody reads them, and they have to stay open."""
_spare: tuple[socket.socket, socket.socket] | None = None
"""Made in the parent, for a child that has no descriptor left."""


def _dead_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.shutdown(socket.SHUT_RD)
    return one, other


def _at_fork() -> None:
    global _lock, _busy
    _lock, _busy = threading.RLock(), False  # another thread of the parent's may have been in there
    after_fork()


def _chain_uwsgi() -> None:
    """Set uWSGI's hook, keeping the one that is there."""
    uwsgi = sys.modules.get("uwsgi")  # built into uWSGI's own interpreter, and nowhere else
    if uwsgi is None:
        return
    before = getattr(uwsgi, "post_fork_hook", None)
    if getattr(before, "__module__", None) == __name__:
        return

    def hook() -> None:
        after_fork()
        if before is not None:
            before()

    uwsgi.post_fork_hook = hook  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_at_fork)
atexit.register(after_fork)
