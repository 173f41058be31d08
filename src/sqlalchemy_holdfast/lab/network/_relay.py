"""What listens for clients, connects each to the server, and has all of one proxy's connections and faults.

Everything but `call` and `close` runs in the loop's thread: see `_loop`.
"""

from __future__ import annotations

import selectors
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from .._ports import bind
from ._faults import Faults
from ._link import Link
from ._loop import Loop
from ._protocol import CommandReader

__all__ = ["Relay"]

T = TypeVar("T")

_BACKLOG = 512


class Relay:
    """Listens on `host`, and connects every client to the address that `target` returns."""

    def __init__(self, host: str, target: Callable[[], tuple[str, int]], delay: float) -> None:
        self.host = host
        self.target = target
        self.faults = Faults(delay)
        self.counts: Counter[str] = Counter()
        self.statements: list[str] = []
        self.accepted = 0
        self.links: set[Link] = set()

        self._listener = bind(host)
        try:
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
            self.port: int = self._listener.getsockname()[1]
            self._loop = Loop(
                f"sqlalchemy_holdfast.lab.Proxy:{self.port}", at_end=self._end, in_child=self._close_sockets
            )
            self._listening = False
            self.update_listener()
            self._loop.start()
        except BaseException:
            self._listener.close()
            raise

    # From other threads

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the loop's thread, after everything that has arrived so far; return its result."""
        return self._loop.call(function)

    def close(self) -> None:
        """End the thread; close every socket."""
        self._loop.close()

    # Connections

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody waits any more, or too many open files: then the next round tries again
                return
            self.accepted += 1
            reader = CommandReader(self.counts, self.statements)
            link = Link(sock, self.target, self._loop, self.faults, reader, closed=self.links.discard)
            self.links.add(link)
            if not self.faults.blackhole:
                link.connect()
            link.update()

    def each(self, act: Callable[[Link], None]) -> None:
        """Do something with every connection that is open now."""
        for link in list(self.links):
            act(link)

    # The listening socket

    def update_listener(self) -> None:
        """Accept new connections, or not, as the faults want it."""
        wanted = not (self.faults.freeze or self.faults.refuse)
        if wanted != self._listening:
            self._loop.watch(self._listener, selectors.EVENT_READ if wanted else 0, lambda mask: self._accept())
            self._listening = wanted

    def refuse(self) -> None:
        """Stop listening, but keep the port."""
        if self.faults.refuse:
            return
        if not self.faults.freeze:
            self._accept()
        self.faults.refuse = True
        self.update_listener()
        self._listener.close()
        # Bound and not listening: connections are refused, and nobody else can take the port.
        self._listener = bind(self.host, self.port)
        self._listener.setblocking(False)

    def restore(self) -> None:
        """End all faults; what was held goes on its way."""
        if self.faults.refuse:
            self._listener.listen(_BACKLOG)
        self.faults.end()
        self.update_listener()
        self.each(Link.restore)

    # Ends

    def _end(self) -> None:
        self.each(Link.drop)
        self._listener.close()

    def _close_sockets(self) -> None:
        for link in self.links:
            link.close_sockets()
        self._listener.close()
