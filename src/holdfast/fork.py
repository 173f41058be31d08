"""What a forked child may not touch, and how it is noticed that there was a fork.

A child inherits its parent's sockets. Whatever it sends, reads or shuts down on one of them happens to the parent's
session, and the destructors of most drivers do send something. So a child's first act is to put a dead socket in the
place of each inherited one (:func:`dead_socket`); after that nothing that it does or drops can reach the parent.

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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Forked", "after_fork", "dead_socket", "watch"]

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
        try:
            watched = list(_watched)
            for something in watched:
                something.leave_to_parent()
            for something in watched:
                something.start_anew()
        except Exception:
            logger.exception("holdfast: after a fork, something of the parent process's could not be let go of.")
        finally:
            _process, _busy = os.getpid(), False


@contextmanager
def dead_socket() -> Iterator[int]:
    """Give the descriptor of a socket whose other end is closed, to be put (``os.dup2``) in the place of others.

    Not ``/dev/null``: on a dead socket every driver reports a lost connection (2006, 2013), which SQLAlchemy
    recognises; libmariadb over TLS reports 2026 for ``/dev/null``.
    """
    one, other = socket.socketpair()
    other.close()
    try:
        yield one.fileno()
    finally:
        one.close()


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
