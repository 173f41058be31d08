"""The proxy's engine: one thread that moves bytes between pairs of sockets, late or not at all if told so.

Everything here happens in the relay's own thread, between two waits, except `call`, which runs a function in that
thread and waits for its result. So no connection is ever seen half changed, a fault has taken effect when the method
that caused it returns, and counters are exact: what had arrived before a call is processed before it.

Bytes wait in a queue for each direction with the time when they are due. The wait itself is done by select() on the
selector's own descriptor, because epoll counts in milliseconds, as long as a simulated round trip.

A fork copies the descriptors, and a copy would keep a connection open that the relay closes. So forking waits until
the relay is between two rounds, and the child closes its copies.
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
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .._errors import LabError
from .._ports import bind
from ._link import CutAt, Flow, Link, Side

T = TypeVar("T")

_ROUNDS_BEFORE_CALL = 50
_FD_SETSIZE = 1024


class Relay:
    """Listens on `host`, and connects every client to the address that `target` returns."""

    def __init__(self, host: str, target: Callable[[], tuple[str, int]], delay: float) -> None:
        self.host = host
        self.target = target
        self.delay = delay
        self.counts: Counter[str] = Counter()
        self.statements: list[str] = []
        self.accepted = 0
        self.links: set[Link] = set()
        # Faults that last until restore().
        self.blackhole = self.freeze = self.hold_replies = False
        self.cut: int | None = None
        self.cut_up: int | None = None
        self.cut_at: CutAt | None = None

        self.fork_lock = threading.Lock()
        self.owner = os.getpid()
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Flow]] = []
        self._numbers = itertools.count()
        self._calls: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._wake, self._waker = socket.socketpair()
        self._call_lock = threading.Lock()  # from a look at _ended to the wake-up; never held while waiting
        self._stopping = self._ended = False
        try:
            self._listener = bind(host)
            self._listener.listen(512)
        except BaseException:
            self._close_all()
            raise
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        for sock in (self._wake, self._waker):
            sock.setblocking(False)
        self.selector.register(self._wake, selectors.EVENT_READ, None)
        self._listening = False
        self.refusing = False
        self.update_listener()
        self._thread = threading.Thread(
            target=self._run, name=f"sqlalchemy_holdfast.lab.Proxy:{self.port}", daemon=True
        )
        _relays.add(self)
        self._thread.start()

    # From other threads

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the relay's thread, after everything that has arrived so far; return its result."""
        if os.getpid() != self.owner:
            raise LabError(f"this proxy runs in process {self.owner}, not in this one")
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
        """End the thread; close every socket."""
        if os.getpid() != self.owner:
            return
        try:
            self.call(self._stop)
        except LabError:
            pass  # closed already
        self._thread.join()

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
                self.each(Link.drop)
                self._close_all()
                _relays.discard(self)
            while self._calls:
                self._calls.popleft()[1].set_exception(LabError("the proxy has been closed"))

    def _wait(self) -> None:
        """Wait until a socket is ready or the earliest byte is due."""
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        descriptor: int = getattr(self.selector, "fileno", lambda: _FD_SETSIZE)()
        if descriptor < _FD_SETSIZE:
            select.select([descriptor], [], [], timeout)
        else:
            self._events(timeout)

    def _round(self) -> None:
        self._events(0)
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2].flush()
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
        for key, mask in self.selector.select(timeout):
            if key.fileobj is self._wake:
                try:
                    self._wake.recv(4096)
                except BlockingIOError:
                    pass
            elif key.fileobj is self._listener:
                self._accept()
                busy = True
            else:
                side: Side = key.data
                side.ready(mask)
                busy = True
        return busy

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody waits any more, or too many open files: then the next round tries again
                return
            self.accepted += 1
            link = Link(self, sock)
            self.links.add(link)
            if not self.blackhole:
                link.connect()
            link.update()

    def update_listener(self) -> None:
        """Accept new connections, or not, as the faults want it."""
        wanted = not (self.freeze or self.refusing)
        if wanted != self._listening:
            if wanted:
                self.selector.register(self._listener, selectors.EVENT_READ, None)
            else:
                self.selector.unregister(self._listener)
            self._listening = wanted

    def each(self, act: Callable[[Link], None]) -> None:
        """Do something with every connection that is open now."""
        for link in list(self.links):
            act(link)

    def refuse(self) -> None:
        """Stop listening, but keep the port."""
        if self.refusing:
            return
        if not self.freeze:
            self._accept()
        self.refusing = True
        self.update_listener()
        self._listener.close()
        # Bound and not listening: connections are refused, and nobody else can take the port.
        self._listener = bind(self.host, self.port)
        self._listener.setblocking(False)

    def restore(self) -> None:
        """End all faults; what was held goes on its way."""
        if self.refusing:
            self._listener.listen(512)
        self.blackhole = self.freeze = self.hold_replies = self.refusing = False
        self.cut = self.cut_up = self.cut_at = None
        self.update_listener()
        self.each(Link.restore)

    def at(self, due: float, flow: Flow) -> None:
        """Have `flow` flushed when `due` has come."""
        heapq.heappush(self.timers, (due, next(self._numbers), flow))

    def _stop(self) -> None:
        self._stopping = True

    # Ends

    def _close_all(self) -> None:
        for sock in (getattr(self, "_listener", None), self._wake, self._waker):
            if sock is not None:
                sock.close()
        self.selector.close()

    def close_in_child(self) -> None:
        """Close this process's copies of the descriptors, and nothing else: the selector is shared with the parent."""
        for link in self.links:
            for side in (link.client, link.server):
                if side is not None:
                    side.sock.close()
        self._close_all()


def _wake_punctually() -> None:
    """Ask Linux not to wake this thread up to 50 microseconds late to save power: twice that in every round trip."""
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK, <linux/prctl.h>; for this thread only
        except (ImportError, OSError, AttributeError):
            pass


_relays: weakref.WeakSet[Relay] = weakref.WeakSet()
_locked: list[Relay] = []


def _before_fork() -> None:
    for relay in list(_relays):
        relay.fork_lock.acquire()
        _locked.append(relay)


def _after_in_parent() -> None:
    while _locked:
        _locked.pop().fork_lock.release()


def _after_in_child() -> None:
    for relay in _locked:
        relay.close_in_child()
    _after_in_parent()
    _relays.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
