"""Something between client and server that answers a ROLLBACK with an error, as a proxy or a cluster node may.

No server that the tests have refuses a ROLLBACK of a plain transaction when it is told to.
"""

from __future__ import annotations

import selectors
import socket
import threading

__all__ = ["Refuser"]

_ROLLBACKS = (b"\x03ROLLBACK", b"\x03\x00\x01ROLLBACK")
_TEXT = b"\xff" + (1317).to_bytes(2, "little") + b"#70100Query execution was interrupted"
_ERROR = len(_TEXT).to_bytes(3, "little") + b"\x01" + _TEXT


class Refuser:
    """A relay in front of a server, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.armed = False
        """The next ROLLBACK is kept from the server, and answered with error 1317."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, tuple[socket.socket, bool]] = {}
        """The other end of each socket, and whether it is a client's."""
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._wake.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                source = key.fileobj
                if source is self._woken:
                    for sock in [*self._peers, self._listener, self._woken]:
                        sock.close()
                    return
                if source is self._listener:
                    client, server = self._listener.accept()[0], socket.create_connection(self._target)
                    for sock, other, is_client in ((client, server, True), (server, client, False)):
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._peers[sock] = (other, is_client)
                        self._selector.register(sock, selectors.EVENT_READ)
                elif isinstance(source, socket.socket) and source in self._peers:
                    self._relay(source)

    def _relay(self, source: socket.socket) -> None:
        other, is_client = self._peers[source]
        try:
            data = source.recv(1 << 18)
            if data and is_client and self.armed and data[4:].startswith(_ROLLBACKS):
                self.armed = False
                size = 4 + int.from_bytes(data[:3], "little")
                data = data[size:]
                source.sendall(_ERROR)
                if not data:
                    return
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for sock in (source, other):
            self._selector.unregister(sock)
            del self._peers[sock]
            sock.close()
