"""One proxied connection: two sockets, and the bytes on their way between them.

Side, Flow and Link are one thing in three parts, and call each other: a link has two sides, its sockets, and two
flows, one for each direction. Bytes wait in a flow with the time when they are due. Everything runs in the loop's
thread.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from ._faults import Faults
from ._loop import Loop
from ._protocol import CommandReader

__all__ = ["Link"]

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
        self.link.loop.watch(self.sock, mask, self._ready)
        self.mask = mask

    def _ready(self, mask: int) -> None:
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
        delay = self.link.faults.delay
        if delay > 0 or self.queue:
            due = max(time.monotonic() + delay, self._last_due)
            self._last_due = due
            self.link.loop.at(due, self.flush)
        else:
            due = 0.0
        self.queue.append((due, item))
        if not isinstance(item, _Mark):
            self.size += len(item)
        if due == 0.0:
            self.flush()

    def held(self) -> bool:
        """Tell whether a fault keeps everything from being passed on."""
        faults = self.link.faults
        return (
            faults.blackhole
            or faults.freeze
            or (faults.hold_replies and self.is_reply)
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


class Link:
    """A client's connection and the one to the server that belongs to it.

    :param sock: the client's, accepted.
    :param target: returns the server's address, when the link connects to it.
    :param faults: what is in force; shared with the proxy's other links.
    :param closed: called once the link is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        target: Callable[[], tuple[str, int]],
        loop: Loop,
        faults: Faults,
        reader: CommandReader,
        *,
        closed: Callable[[Link], object],
    ) -> None:
        self.loop = loop
        self.faults = faults
        self._target = target
        self._reader = reader
        self._tell_closed = closed
        self.up, self.down = Flow(self, is_reply=False), Flow(self, is_reply=True)
        self.client = Side(self, sock)
        self.client.incoming, self.client.outgoing = self.up, self.down
        self.down.sink = self.client
        self.server: Side | None = None
        self.connecting = False
        self.closed = False
        self.halved = False
        self.lost = False  # its packets are dropped
        self.reply_left: int | None = None  # bytes of reply that still pass, then a reset
        self.request_left: int | None = None  # the same for what the client sends
        self.leaves_server = False  # at the cut, the client's side alone ends

    def connect(self) -> None:
        """Begin to connect to the server."""
        host, port = self._target()
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
        self._reader.server_sent(data)
        if self.halved:
            return
        faults = self.faults
        if faults.truncate_reply is not None:
            self.reply_left, faults.truncate_reply = faults.truncate_reply, None
        if self.reply_left is None:
            self.down.put(data)
            return
        data = data[: self.reply_left]
        self.reply_left -= len(data)
        if data:
            self.down.put(data)
        if self.reply_left == 0 and not self.closed:
            self._cut_off(self.down)

    def _client_sent(self, data: bytes) -> None:
        faults = self.faults
        statements = self._reader.client_sent(data)
        if self.halved:
            return
        at = faults.cut_at
        if at is not None and any(text.startswith(at.statement) for text in statements):
            faults.cut_at = None
            self.leaves_server = not at.server_knows
            if not at.delivered:
                self._cut_off(self.up)
                return
            self.reply_left = 0
        if faults.truncate_request is not None:
            self.request_left, faults.truncate_request = faults.truncate_request, None
        if self.request_left is None:
            self.up.put(data)
            return
        data = data[: self.request_left]
        self.request_left -= len(data)
        if data:
            self.up.put(data)
        if self.request_left == 0 and not self.closed:
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
            elif not self.faults.freeze:
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
        self.reply_left = self.request_left = None
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
        self._tell_closed(self)

    def close_sockets(self) -> None:
        """Close this process's descriptors and tell nobody: for a forked child, whose parent goes on with them."""
        for side in (self.client, self.server):
            if side is not None:
                side.sock.close()
