"""One proxied connection: two sockets, and the bytes on their way between them."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._protocol import CommandReader

if TYPE_CHECKING:
    from ._relay import Relay

_CHUNK_BYTES = 262_144
_QUEUE_BYTES = 64 * 1024 * 1024  # then reading stops, and TCP slows the sender down
_DRAIN_READS = 64
_LINGER_RESET = struct.pack("ii", 1, 0)  # closing sends RST and forgets what was not sent
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


# "From farther away than one router": the kernel drops each packet that has a smaller time to live, which all have that
# were sent with the usual 64, before TCP sees it. So nothing is acknowledged. Linux, <linux/in.h>; for any user, which
# a socket filter is not on every kernel (6.18: EPERM without CAP_NET_ADMIN).
_IP_MINTTL, _HIGHEST_TTL, _ANY_TTL = 21, 255, 0


class _Mark:
    """What can be on its way besides bytes."""


_END = _Mark()  # FIN
_RESET = _Mark()  # RST


class Side:
    """One of a link's two sockets."""

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self.link = link
        self.sock = sock
        self.ended = False  # nothing more to be read
        self.mask = 0
        self.incoming: Flow
        self.outgoing: Flow
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def watch(self, mask: int) -> None:
        """Be told when the socket is ready for `mask`; 0 for not at all."""
        if mask == self.mask:
            return
        selector = self.link.relay.selector
        if not self.mask:
            selector.register(self.sock, mask, self)
        elif mask:
            selector.modify(self.sock, mask, self)
        else:
            selector.unregister(self.sock)
        self.mask = mask

    def ready(self, mask: int) -> None:
        link = self.link
        if link.closed:
            return
        if link.connecting and self is link.server:
            link.connected()
            return
        if mask & selectors.EVENT_WRITE:
            self.outgoing.blocked = False
            self.outgoing.flush()
        if mask & selectors.EVENT_READ and not link.closed:
            self._read()
        if not link.closed:
            link.update()

    def _read(self) -> None:
        try:
            data = self.sock.recv(_CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.ended = True
            self.incoming.put(_RESET)
            return
        if data:
            self.link.received(self, data)
        else:
            self.ended = True
            self.incoming.put(_END)

    def close(self, *, reset: bool) -> None:
        self.watch(0)
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            else:
                self.sock.shutdown(socket.SHUT_WR)
                # Closing with bytes unread would send RST after all.
                for _ in range(_DRAIN_READS):
                    if not self.sock.recv(_CHUNK_BYTES):
                        break
        except OSError:
            pass
        self.sock.close()


class Flow:
    """One direction of a link."""

    def __init__(self, link: Link, *, is_reply: bool) -> None:
        self.link = link
        self.is_reply = is_reply
        self.sink: Side | None = None
        self.queue: deque[tuple[float, bytes | memoryview | _Mark]] = deque()
        self.size = 0
        self.blocked = False  # the sink's buffer is full
        self.dead = False  # the sink takes nothing any more
        self.done = False  # the end has been passed on
        self._last_due = 0.0

    def put(self, item: bytes | _Mark) -> None:
        """Let bytes or a mark set out, to arrive after the proxy's delay and never before earlier ones."""
        if self.dead and item is not _RESET:
            if item is _END:
                self.done = True
                self.link.close_if_done()
            return
        delay = self.link.relay.delay
        if delay > 0 or self.queue:
            due = max(time.monotonic() + delay, self._last_due)
            self._last_due = due
            self.link.relay.at(due, self)
        else:
            due = 0.0
        self.queue.append((due, item))
        if not isinstance(item, _Mark):
            self.size += len(item)
        if due == 0.0:
            self.flush()

    def held(self) -> bool:
        relay = self.link.relay
        return (
            relay.blackhole
            or relay.freeze
            or (relay.hold_replies and self.is_reply)
            or self.link.halved
            or self.link.lost
        )

    def flush(self) -> None:
        """Pass on what is due, as far as the faults and the sink allow."""
        link, sink = self.link, self.sink
        if link.closed or sink is None or link.connecting or self.blocked or self.held():
            return
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            due, item = self.queue[0]
            if item is _RESET:
                link.reset()
                return
            if isinstance(item, _Mark):
                self.queue.popleft()
                self._end(sink)
                return
            if not self._send(sink, due, item):
                break
        link.update()

    def _send(self, sink: Side, due: float, data: bytes | memoryview) -> bool:
        """Send the first item of the queue; return whether all of it went."""
        try:
            sent = sink.sock.send(data)
        except (BlockingIOError, InterruptedError):
            self.blocked = True
            return False
        except OSError:
            # What the sink sent before it died is still to be delivered the other way; the reset goes behind that.
            self.discard()
            self.dead = True
            if sink.ended:
                sink.incoming.put(_RESET)
            return False
        self.size -= sent
        if sent == len(data):
            self.queue.popleft()
            return True
        self.queue[0] = (due, memoryview(data)[sent:])
        self.blocked = True
        return False

    def _end(self, sink: Side) -> None:
        try:
            sink.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.done = True
        self.link.close_if_done()

    def discard(self) -> None:
        """Forget what is under way."""
        self.queue.clear()
        self.size = 0
        self.blocked = False


@dataclass(frozen=True)
class CutAt:
    """At which statement a connection is to be cut, and how."""

    statement: str
    delivered: bool
    server_knows: bool


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, relay: Relay, sock: socket.socket) -> None:
        self.relay = relay
        self.reader = CommandReader(relay.counts, relay.statements)
        self.up, self.down = Flow(self, is_reply=False), Flow(self, is_reply=True)
        self.client = Side(self, sock)
        self.client.incoming, self.client.outgoing = self.up, self.down
        self.down.sink = self.client
        self.server: Side | None = None
        self.connecting = False
        self.closed = False
        self.halved = False
        self.lost = False  # its packets are dropped
        self.cut: int | None = None  # bytes of reply that still pass, then a reset
        self.cut_up: int | None = None  # the same for what the client sends
        self.leaves_server = False  # at the cut, the client's side alone ends

    def connect(self) -> None:
        """Begin to connect to the server."""
        host, port = self.relay.target()
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self.server = Side(self, sock)
        self.server.incoming, self.server.outgoing = self.down, self.up
        self.up.sink = self.server
        self.connecting = True
        try:
            failed = sock.connect_ex((host, port)) not in _IN_PROGRESS
        except (OSError, OverflowError):
            failed = True
        if failed:
            self.drop()

    def lose_packets(self) -> None:
        """Drop every packet that the client sends, and send it nothing."""
        self.client.sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, _HIGHEST_TTL)
        self.lost = True

    def connected(self) -> None:
        """See how connecting went."""
        assert self.server is not None
        self.connecting = False
        if self.server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.drop()
        else:
            self.up.flush()
            self.update()

    def received(self, side: Side, data: bytes) -> None:
        """Take bytes from one side and send them on their way to the other."""
        if side is self.client:
            self._client_sent(data)
            return
        self.reader.server_sent(data)
        if self.halved:
            return
        if self.relay.cut is not None:
            self.cut, self.relay.cut = self.relay.cut, None
        if self.cut is None:
            self.down.put(data)
            return
        data = data[: self.cut]
        self.cut -= len(data)
        if data:
            self.down.put(data)
        if self.cut == 0 and not self.closed:
            self._cut_off(self.down)

    def _client_sent(self, data: bytes) -> None:
        relay = self.relay
        before = len(relay.statements)
        self.reader.client_sent(data)
        if self.halved:
            return
        at = relay.cut_at
        if at is not None and any(text.startswith(at.statement) for text in relay.statements[before:]):
            relay.cut_at = None
            self.leaves_server = not at.server_knows
            if not at.delivered:
                self._cut_off(self.up)
                return
            self.cut = 0
        if relay.cut_up is not None:
            self.cut_up, relay.cut_up = relay.cut_up, None
        if self.cut_up is None:
            self.up.put(data)
            return
        data = data[: self.cut_up]
        self.cut_up -= len(data)
        if data:
            self.up.put(data)
        if self.cut_up == 0 and not self.closed:
            self._cut_off(self.up)

    def _cut_off(self, flow: Flow) -> None:
        if self.leaves_server:
            self.half_close()
        else:
            flow.put(_RESET)

    def update(self) -> None:
        """Watch the sockets for what can be done with them now."""
        if self.closed:
            return
        for side in (self.client, self.server):
            if side is None:
                continue
            mask = 0
            if side is self.server and self.connecting:
                mask = selectors.EVENT_WRITE
            elif not self.relay.freeze:
                if not side.ended and side.incoming.size < _QUEUE_BYTES:
                    mask |= selectors.EVENT_READ
                if side.outgoing.blocked and not side.outgoing.held():
                    mask |= selectors.EVENT_WRITE
            side.watch(mask)

    def half_close(self) -> None:
        """Send the client FIN; keep the server, and tell it nothing more."""
        self.up.discard()
        self.down.discard()
        self.halved = True
        try:
            self.client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.update()

    def restore(self) -> None:
        """Go on after a fault."""
        if self.lost:
            self.client.sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, _ANY_TTL)
            self.lost = False
        self.cut = self.cut_up = None
        if self.halved:
            self.drop()
            return
        if self.server is None:
            self.connect()
        for flow in (self.up, self.down):
            flow.flush()
        self.update()

    def close_if_done(self) -> None:
        if self.up.done and self.down.done:
            self._close(reset=False)

    def drop(self) -> None:
        """Send FIN to both sides and close."""
        self._close(reset=False)

    def reset(self) -> None:
        """Send RST to both sides and close."""
        self._close(reset=True)

    def _close(self, *, reset: bool) -> None:
        if self.closed:
            return
        for side in (self.client, self.server):
            if side is not None:
                side.close(reset=reset)
        self.closed = True
        self.relay.links.discard(self)
