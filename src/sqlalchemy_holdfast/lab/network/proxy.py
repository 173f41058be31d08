"""A TCP proxy in front of a server that counts what passes, adds delay, and breaks on demand."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from .._errors import LabError
from ..database.server import Server
from ._faults import CutAt
from ._link import Link
from ._relay import Relay

T = TypeVar("T")


@dataclass
class Measurement:
    """What passed through a `Proxy` during `Proxy.measure`; filled in when that ends."""

    units: int
    """How many units of work were done."""
    round_trip: float
    """Seconds that the proxy added to each round trip."""
    commands: Counter[str] = field(default_factory=Counter)
    """Client commands by name."""
    statements: list[str] = field(default_factory=list)
    """The text of each COM_QUERY, in order."""
    seconds: float = math.nan
    """How long it took."""

    @property
    def waits_per_unit(self) -> float:
        """How many round trips long one unit of work was; nan without a delay.

        Not a whole number, since the server's and the client's own work is in it; the longer the delay, the nearer.
        Commands sent together without waiting for the first one's reply are one wait.
        """
        return self.seconds / self.round_trip / self.units if self.round_trip else math.nan

    @property
    def commands_per_unit(self) -> float:
        """How many commands one unit of work sent."""
        return self.commands.total() / self.units


class Proxy:
    """A TCP proxy on a free port of 127.0.0.1, in front of a MySQL or MariaDB server.

    ::

        with Proxy.for_server(server, delay=0.005) as proxy:
            engine = create_engine(server.url(host=proxy.host, port=proxy.port))

    It counts commands on plain connections. TLS and compressed ones are passed on unread: their commands are not
    counted. It runs in one thread, which needs the interpreter's lock: a client in the same process that computes
    without pause delays it, by some milliseconds.

    The methods from `blackhole` to `cut_at` are faults. Each has taken effect when it returns. Those that last
    act on connections open now and on new ones until `restore`; `lose_packets`, `reset`, `drop` and `half_close` act
    on the connections open now.

    :param host: the server's address.
    :param port: the server's port.
    :param delay: seconds added in each direction, so a round trip takes twice that longer. May be changed at any time.
    """

    host: str = "127.0.0.1"
    """Where the proxy listens."""

    def __init__(self, host: str, port: int, *, delay: float = 0.0) -> None:
        self._target: Callable[[], tuple[str, int]] = lambda: (host, port)
        self._relay: Relay | None = None
        self._delay = _checked(delay)

    @classmethod
    def for_server(cls, server: Server, *, delay: float = 0.0) -> Proxy:
        """Return a proxy in front of a `Server`, which need not have been started yet."""
        proxy = cls(server.host, server.port, delay=delay)
        proxy._target = lambda: (server.host, server.port)
        return proxy

    def __repr__(self) -> str:
        state = f"{self.host}:{self._relay.port}" if self._relay is not None else "closed"
        host, port = self._target()
        return f"<Proxy {state} to {host}:{port}>"

    # Life

    def start(self) -> Proxy:
        """Listen, and return this proxy. Starting a started one does nothing."""
        if self._relay is None:
            self._relay = Relay(self.host, self._target, self._delay)
        return self

    def close(self) -> None:
        """Close every connection (FIN) and stop listening. Counts can still be read. May be called twice."""
        relay = self._relay
        if relay is not None:
            relay.close()
            self._relay, self._closed = None, relay

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port the proxy listens on, from `start` to `close`."""
        return self._running().port

    @property
    def delay(self) -> float:
        """Seconds added in each direction to what arrives from now on; bytes never overtake each other."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._delay = _checked(seconds)
        if self._relay is not None:
            self._relay.faults.delay = self._delay

    # Counts

    _closed: Relay | None = None

    @property
    def commands(self) -> Counter[str]:
        """Client commands since the start or `reset_counts`, by name ("COM_QUERY", "COM_PING", …); a copy.

        What has arrived at the proxy counts, whether a fault then kept it from the server or not. What belongs to
        logging in does not.
        """
        return self._read(lambda relay: Counter(relay.counts))

    @property
    def statements(self) -> list[str]:
        """The text of each COM_QUERY since the start or `reset_counts`, in order; a copy. 64 KiB of each are kept."""
        return self._read(lambda relay: list(relay.statements))

    @property
    def connections(self) -> int:
        """How many connections have been accepted since the start or `reset_counts`."""
        return self._read(lambda relay: relay.accepted)

    @property
    def open_connections(self) -> int:
        """How many of them are open."""
        return self._read(lambda relay: len(relay.links))

    def reset_counts(self) -> None:
        """Begin counting commands, statements and connections from nothing."""

        def reset(relay: Relay) -> None:
            relay.counts.clear()
            relay.statements.clear()
            relay.accepted = 0

        self._do(reset)

    @contextmanager
    def measure(self, units: int = 1) -> Iterator[Measurement]:
        """Count and time a block of code::

            with proxy.measure(units=20) as work:
                for _ in range(20):
                    ...
            assert work.commands_per_unit == 2

        :param units: how many times the block does what is to be measured.
        """
        if units < 1:
            raise ValueError(f"units is {units}; it must be at least 1")
        measurement = Measurement(units, 2 * self._delay)
        before, first = self._read(lambda relay: (Counter(relay.counts), len(relay.statements)))
        start = time.perf_counter()
        try:
            yield measurement
        finally:
            measurement.seconds = time.perf_counter() - start
            after, statements = self._read(lambda relay: (Counter(relay.counts), relay.statements[first:]))
            after.subtract(before)
            measurement.commands, measurement.statements = +after, statements

    # Faults

    def blackhole(self) -> None:
        """Go silent, as a server that hangs while its system acknowledges: connections stay open, nothing arrives.

        The proxy goes on reading and holds what it has read, both the bytes and the ends of connections. New
        connections are accepted and hear nothing; the server does not see them. `restore` lets everything go on, as
        when a broken network heals.
        """

        def act(relay: Relay) -> None:
            relay.faults.blackhole = True
            relay.each(Link.update)

        self._do(act)

    def lose_packets(self) -> None:
        """Drop every packet of the connections open now, as a firewall that has forgotten them.

        Nothing they send is acknowledged and nothing reaches them; new connections work. `restore` ends it.

        :raises LabError: on other systems than Linux, where a socket cannot be told to.
        """
        if sys.platform != "linux":
            raise LabError("Proxy.lose_packets() needs Linux's IP_MINTTL.")
        self._do(lambda relay: relay.each(Link.lose_packets))

    def freeze(self) -> None:
        """Stop reading, as a peer that hangs: senders fill the system's buffers (some MB) and then wait.

        New connections are made by the operating system and hear nothing.
        """

        def act(relay: Relay) -> None:
            relay.faults.freeze = True
            relay.update_listener()
            relay.each(Link.update)

        self._do(act)

    def reset(self) -> None:
        """Reset (RST) all connections open now, on both sides."""
        self._do(lambda relay: relay.each(Link.reset))

    def half_close(self) -> None:
        """Send the clients of all connections open now the end (FIN), and keep the server's side open.

        As when something in between gives up on a client: the server keeps the session, with its locks. What such a
        client still sends is counted and thrown away. `restore` or `close` ends the server's side.
        """
        self._do(lambda relay: relay.each(Link.half_close))

    def drop(self) -> None:
        """End (FIN) all connections open now, on both sides; bytes under way are lost."""
        self._do(lambda relay: relay.each(Link.drop))

    def refuse(self) -> None:
        """Refuse new connections; those open now go on. `restore` listens on the same port again."""
        self._do(lambda relay: relay.refuse())

    def hold_replies(self) -> None:
        """Pass on what clients send, and hold what the server answers until `restore`: it acts, and nobody knows."""

        def act(relay: Relay) -> None:
            relay.faults.hold_replies = True
            relay.each(Link.update)

        self._do(act)

    def truncate_reply(self, bytes: int) -> None:
        """Pass on only so many bytes of the next reply, then reset that connection (RST on both sides).

        Once, for the connection that next gets anything from the server, be it the greeting of a new one. With 0 the
        server has done its work and the client hears nothing but the reset. If the reply is shorter, the ones after
        it count as well. `restore` calls it off.
        """
        if bytes < 0:
            raise ValueError(f"bytes is {bytes}; it must not be negative")

        def act(relay: Relay) -> None:
            relay.faults.truncate_reply = bytes

        self._do(act)

    def truncate_request(self, bytes: int) -> None:
        """Pass on only so many bytes of what a client sends next, then reset that connection (RST on both sides).

        Once, for the connection that next sends anything. With 0 the server never sees what was sent. `restore` calls
        it off.
        """
        if bytes < 0:
            raise ValueError(f"bytes is {bytes}; it must not be negative")

        def act(relay: Relay) -> None:
            relay.faults.truncate_request = bytes

        self._do(act)

    def cut_at(self, statement: str, *, delivered: bool, server_knows: bool = True) -> None:
        """Cut the connection that next sends this statement, if it is a plain one.

        Once; `restore` calls it off.

        :param statement: its text, as in `statements`, or how that begins.
        :param delivered: whether the server gets it. If so, the client gets none of the reply.
        :param server_knows: whether both sides are reset (RST). If not, the client alone gets the end (FIN), and the
          server keeps the session, with its locks, until `restore` or `close`.
        """
        cut = CutAt(statement, delivered, server_knows)

        def act(relay: Relay) -> None:
            relay.faults.cut_at = cut

        self._do(act)

    def restore(self) -> None:
        """End all faults. What was held is passed on; connections that were half closed are closed."""
        self._do(lambda relay: relay.restore())

    # Inside

    def _running(self) -> Relay:
        if self._relay is None:
            raise LabError(f"{self!r} is not running. Did you forget start(), or `with`?")
        return self._relay

    def _do(self, act: Callable[[Relay], object]) -> None:
        relay = self._running()
        relay.call(lambda: act(relay))

    def _read(self, get: Callable[[Relay], T]) -> T:
        if self._relay is None and self._closed is not None:
            return get(self._closed)
        relay = self._running()
        return relay.call(lambda: get(relay))


def _checked(delay: float) -> float:
    if not 0 <= delay < math.inf:
        raise ValueError(f"delay is {delay}; it is a number of seconds, 0 or more")
    return float(delay)
