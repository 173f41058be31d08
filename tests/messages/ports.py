"""Small servers on loopback that are no MySQL servers."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"
SMTP = b"220 mail.example.org ESMTP Postfix\r\n"
X_PROTOCOL = bytes.fromhex("05000000 0b08051a00")
"""What MySQL's X plugin sends first."""


def error_packet(number: int, text: str) -> bytes:
    """What a MySQL server sends in place of its greeting when it does not want to talk."""
    body = b"\xff" + number.to_bytes(2, "little") + text.encode()
    return len(body).to_bytes(3, "little") + b"\x00" + body


@contextmanager
def speaking(words: bytes = b"", *, then_close: bool = False) -> Iterator[int]:
    """A port that says something first, or nothing, and then listens or hangs up. Returns its number."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    client.sendall(words)
                    if then_close:
                        client.close()
                    else:
                        kept.append(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for client in kept:
            client.close()


@contextmanager
def web_server(certificate: tuple[str, str] | None = None) -> Iterator[int]:
    """Python's own web server; with a certificate and its key, on a TLS port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.daemon_threads, server.block_on_close = True, False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
