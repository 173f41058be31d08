"""The proxy's thread: waits until a socket is ready or a time has come, and calls whoever asked to be told.

Everything here happens in the loop's own thread, between two waits, except `call`, which runs a function in that
thread and waits for its result. So no connection is ever seen half changed, a fault has taken effect when the method
that caused it returns, and counters are exact: what had arrived before a call is processed before it.

The wait itself is done by select() on the selector's own descriptor, because epoll counts in milliseconds, as long as
a simulated round trip.

A fork copies the descriptors, and a copy would keep a connection open that the proxy closes. So forking waits until
the loop is between two rounds, and the child closes its copies.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import selectors
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .._errors import LabError

__all__ = ["Loop"]

T = TypeVar("T")

_ROUNDS_BEFORE_CALL = 50
_FD_SETSIZE = 1024


class Loop:
    """One thread, its selector, its timers, and the calls that other threads make into it.

    :param name: the thread's.
    :param at_end: run in the thread when it ends, to close the sockets that are watched.
    :param in_child: run in a process forked from this one, to close its copies of them.
    """

    def __init__(self, name: str, *, at_end: Callable[[], object], in_child: Callable[[], object]) -> None:
        self._owner = os.getpid()
        self._at_end = at_end
        self._in_child = in_child
        self.fork_lock = threading.Lock()  # held while the loop is within a round
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._calls: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._wake, self._waker = socket.socketpair()
        self._call_lock = threading.Lock()  # from a look at _ended to the wake-up; never held while waiting
        self._stopping = self._ended = False
        for sock in (self._wake, self._waker):
            sock.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # From other threads

    def start(self) -> None:
        """Start the thread."""
        _loops.add(self)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the loop's thread, after everything that has arrived so far; return its result."""
        if os.getpid() != self._owner:
            raise LabError(f"this proxy runs in process {self._owner}, not in this one")
        future: Future[object] = Future()
        with self._call_lock:
            if self._ended:
                raise LabError("the proxy has been closed")
            self._calls.append((function, future))
            try:
                self._waker.send(b"\0")
            except BlockingIOError:
                pass  # so many wake-ups are under way that one more is not needed
        return future.result(60)  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread and wait for that; does nothing in a forked child."""
        if os.getpid() != self._owner:
            return
        try:
            self.call(self._stop)
        except LabError:
            pass  # closed already
        self._thread.join()

    # From the loop's own thread, and before it is started

    def watch(self, sock: socket.socket, mask: int, ready: Callable[[int], object]) -> None:
        """Have `ready` called when a socket is ready for `mask`, with what it is ready for.

        With 0 for `mask` it is not watched any more; it must have been watched then.
        """
        if not mask:
            self._selector.unregister(sock)
        elif sock in self._selector.get_map():
            self._selector.modify(sock, mask, ready)
        else:
            self._selector.register(sock, mask, ready)

    def at(self, due: float, act: Callable[[], object]) -> None:
        """Have `act` called when `due` has come, a time of `time.monotonic`; in order where that is the same."""
        heapq.heappush(self._timers, (due, next(self._numbers), act))

    # The thread

    def _run(self) -> None:
        _wake_punctually()
        try:
            while not self._stopping:
                self._wait()
                with self.fork_lock:
                    self._round()
        finally:
            with self._call_lock, self.fork_lock:
                self._ended = True
                self._at_end()
                self._close()
                _loops.discard(self)
            while self._calls:
                self._calls.popleft()[1].set_exception(LabError("the proxy has been closed"))

    def _wait(self) -> None:
        """Wait until a socket is ready or the earliest time has come."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        descriptor: int = getattr(self._selector, "fileno", lambda: _FD_SETSIZE)()
        if descriptor < _FD_SETSIZE:
            select.select([descriptor], [], [], timeout)
        else:
            self._events(timeout)

    def _round(self) -> None:
        self._events(0)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if self._calls:
            for _ in range(_ROUNDS_BEFORE_CALL):
                if not self._events(0):
                    break
            for _ in range(len(self._calls)):
                function, future = self._calls.popleft()
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)

    def _events(self, timeout: float | None) -> bool:
        """Handle what is ready; return whether there was anything but a wake-up."""
        busy = False
        for key, mask in self._selector.select(timeout):
            if key.fileobj is self._wake:
                try:
                    self._wake.recv(4096)
                except BlockingIOError:
                    pass
            else:
                key.data(mask)
                busy = True
        return busy

    def _stop(self) -> None:
        self._stopping = True

    # Ends

    def _close(self) -> None:
        self._wake.close()
        self._waker.close()
        self._selector.close()

    def close_in_child(self) -> None:
        """Close this process's copies of the descriptors, and nothing else: the selector is shared with the parent."""
        self._in_child()
        self._close()


def _wake_punctually() -> None:
    """Ask Linux not to wake this thread up to 50 microseconds late to save power: twice that in every round trip."""
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK, <linux/prctl.h>; for this thread only
        except (ImportError, OSError, AttributeError):
            pass


_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
_locked: list[Loop] = []


def _before_fork() -> None:
    for loop in list(_loops):
        loop.fork_lock.acquire()
        _locked.append(loop)


def _after_in_parent() -> None:
    while _locked:
        _locked.pop().fork_lock.release()


def _after_in_child() -> None:
    for loop in _locked:
        loop.close_in_child()
    _after_in_parent()
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
