"""What a forked child may not touch, and how holdfast notices that there was a fork.

A child inherits its parent's sockets. Whatever it sends, reads or shuts down on one of them happens to the parent's
session, and the destructors of most drivers do send something. So a child first replaces each inherited socket with a
closed one (:func:`replace_by_dead`). After that, nothing that it does or drops can reach the parent.

holdfast notices a fork in four ways. Each of them is enough, and none needs a thread or a call by the application:

* ``os.register_at_fork``, in the child, before ``os.fork()`` returns;
* ``uwsgi.post_fork_hook``, chained before the application's own: uWSGI 2.0 does not run at-fork hooks unless it is
  told to (``--py-call-osafterfork``), and ``uwsgidecorators`` overwrites that hook when it is imported later;
* the process id, compared whenever a held connection is used, closed or collected;
* ``atexit``, for a child that ends without having used anything.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from . import reporting
from ._outside import raised_inside
from ._registry import Registry

__all__ = ["Forked", "after_fork", "replace_by_dead", "unwatch", "watch"]


class Forked(Protocol):
    """Something that has to be told when it finds itself in a child."""

    def leave_to_parent(self) -> None:
        """Put dead sockets in the place of the inherited ones. Nothing may be closed or dropped yet."""

    def start_anew(self) -> Callable[[], object] | None:
        """Make ready for this process's own connections. Nothing that belongs to the parent can be reached now.

        :return: what is to be called when all others are ready, too: whatever calls code of the application's.
        """


_watched: Registry[Forked] = Registry()
_process: int | None = os.getpid()
"""The process for which everything has been seen to."""
_forking = 0
same_pid = False
"""This is a child that has its parent's process id: every connection that is known is the parent's."""
_LONGEST = 5.0
"""Seconds for which a thread waits for another one that sees to everything. What it uses is looked at all the same."""


class _Turn:
    """One thread's attempt to see to everything."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


_turns: dict[int, _Turn] = {}
"""For a process, whose turn it is. No lock: an exception from outside may come anywhere, and would leave it taken."""


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

    :raises: what an object raises that is told of the fork, or a listener of the application's: after all was done.
    """
    if _process != os.getpid():
        _see_to_it(os.getpid())


def _see_to_it(process: int) -> None:
    """Do it, or wait until another thread has: two threads of a child may notice at once."""
    turns, own, patience = _turns, _Turn(), time.monotonic() + _LONGEST
    while _process != process:
        turn = turns.setdefault(process, own)
        if turn is own:
            try:
                try:
                    _leave_all_to_parent(process)
                finally:
                    _give_up(turns, process, own)
            finally:
                _give_up(turns, process, own)  # again: an exception from outside may have come just before
            return
        # This thread's own: it was called by the destructor of something that is being let go of, or by a handler.
        if turn.thread == own.thread or time.monotonic() > patience:
            return
        time.sleep(0.001)


def _give_up(turns: dict[int, _Turn], process: int, turn: _Turn) -> None:
    if turns.get(process) is turn:
        turns.pop(process, None)


def _leave_all_to_parent(process: int) -> None:
    global _process, same_pid
    watched = list(_watched)
    failed: list[BaseException] = []
    last: list[Callable[[], object]] = []
    for one in watched:
        _step(one.leave_to_parent, failed, times=2)
    for one in watched:
        then = _step(one.start_anew, failed, times=2)
        if then is not None:
            last.append(then)
    _process, same_pid = process, False  # not after a KeyboardInterrupt or the like: then all is done again
    for then in last:  # code of the application's, which may use its engines by now
        _step(then, failed)
    for error in failed:
        reporting.after_fork_failed(error)
    if failed:
        raise failed[0]


def _step(step: Callable[[], Any], failed: list[BaseException], times: int = 1) -> Any:
    """Do one thing. What it raises must not keep the others from being done.

    :param times: how often at the most: what was interrupted by a signal's handler has to be done again.
    """
    for _ in range(times):
        try:
            return step()
        except Exception as error:
            failed.append(error)
    return None


def replace_by_dead(fd: int) -> bool:
    """Put a socket whose other end is closed in the place of another.

    Of the kind SOCK_SEQPACKET where there is one: a driver's farewell to it fails without a SIGPIPE, which would end a
    program that has set that signal back to its default. Not ``/dev/null``: libmariadb over TLS reports that as 2026,
    which SQLAlchemy does not take for a lost connection.

    :return: false when it could not be done.
    """
    try:
        os.dup2(_dead_socket(), fd, inheritable=False)
    except OSError as error:
        if not raised_inside(error, replace_by_dead):
            raise
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
        except (OSError, ValueError) as error:  # macOS knows the name and has no such socket
            if isinstance(error, OSError) and error.errno is None:
                raise  # not the system's: a signal's handler may raise anything, TimeoutError as well
            one, other = socket.socketpair()
        other.close()
        _dead = one.fileno(), os.fstat(one.fileno()).st_ino
        one.detach()
    return _dead[0]


def _is(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError as error:
        if not raised_inside(error, _is):
            raise
        return False


def _before_fork() -> None:
    global _forking
    _forking = os.getpid()


def _at_fork() -> None:
    global _process, _turns, same_pid
    _turns = {}  # another thread of the parent's may have been at it
    if _forking == os.getpid():  # a new process in a new namespace of process ids, where it may have the parent's
        _process, same_pid = None, True
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
    os.register_at_fork(before=_before_fork, after_in_child=_at_fork)
atexit.register(after_fork)
