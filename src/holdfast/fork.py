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
import contextlib
import logging
import os
import socket
import sys
import threading
import weakref
from typing import Protocol

__all__ = ["Forked", "after_fork", "replace_by_dead", "unwatch", "watch"]

logger = logging.getLogger("holdfast")


class Forked(Protocol):
    """Something that has to be told when it finds itself in a child."""

    def leave_to_parent(self) -> None:
        """Put dead sockets in the place of the inherited ones. Nothing may be closed or dropped yet."""

    def start_anew(self) -> None:
        """Make ready for this process's own connections. Nothing that belongs to the parent can be reached now."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()
_process: int | None = os.getpid()
"""The process for which everything has been seen to."""
_forking = 0
same_pid = False
"""This is a child that has its parent's process id: every connection that is known is the parent's."""
_lock = threading.RLock()
_busy = False


def watch(something: Forked) -> None:
    """Tell an object of every fork from now on, for as long as it exists."""
    if hasattr(os, "fork"):  # not on Windows
        with contextlib.suppress(OSError):  # where there is none, a child keeps what it cannot make harmless
            _dead_socket()
    _watched.add(something)
    _chain_uwsgi()


def unwatch(something: Forked) -> None:
    """No longer tell an object of forks."""
    _watched.discard(something)


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
            _process = os.getpid()  # not when a signal's handler has raised: then it is done again
        finally:
            _busy = False


def replace_by_dead(fd: int) -> bool:
    """Put a socket whose other end is closed in the place of another.

    Of the kind SOCK_SEQPACKET where there is one: a driver's farewell to it fails without a SIGPIPE, which would end a
    program that has set that signal back to its default. Not ``/dev/null``: libmariadb over TLS reports that as 2026,
    which SQLAlchemy does not take for a lost connection.

    :return: false when it could not be done.
    """
    try:
        os.dup2(_dead_socket(), fd, inheritable=False)
    except OSError:
        return False
    return True


_dead: tuple[int, int] | None = None
"""The descriptor of the one dead socket, and its inode."""


def _dead_socket() -> int:
    """Return the dead socket. It is made in the parent, for a child that has no free descriptor."""
    global _dead
    if _dead is None or not _is(*_dead):  # or a daemon has closed it, and the number may be somebody else's
        kind = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_STREAM)
        try:
            one, other = socket.socketpair(getattr(socket, "AF_UNIX", socket.AF_INET), kind)
        except (OSError, ValueError):  # macOS knows the name and has no such socket
            one, other = socket.socketpair()
        other.close()
        _dead = one.fileno(), os.fstat(one.fileno()).st_ino
        one.detach()
    return _dead[0]


def _is(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


def _before_fork() -> None:
    global _forking
    _forking = os.getpid()


def _at_fork() -> None:
    global _process, _lock, _busy, same_pid
    _lock, _busy = threading.RLock(), False  # another thread of the parent's may have been in there
    if _forking == os.getpid():  # a new process in a new namespace of process ids, where it may have the parent's
        _process, same_pid = None, True
    try:
        after_fork()
    finally:
        same_pid = False


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
    os.register_at_fork(before=_before_fork, after_in_child=_at_fork)
atexit.register(after_fork)
