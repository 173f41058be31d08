"""Real middleboxes in front of a private server, and one that pretends to be in a server's place."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server

UNPACKED = Path(os.environ.get("HOLDFAST_LAB_MIDDLEBOXES", Path(__file__).parents[2] / ".lab" / "middleboxes"))
"""Where ``tools/fetch-middleboxes`` has put them."""


def program(name: str) -> str:
    found = UNPACKED / name
    if not found.exists():
        pytest.skip(f"no {name} there: tools/fetch-middleboxes {UNPACKED} unpacks one from Debian's packages")
    return str(found)


@contextmanager
def router(server: Server, *, client: str = "DISABLED", to_server: str = "PREFERRED") -> Iterator[int]:
    """MySQL Router; its port. ``client`` and ``to_server`` are its client_ssl_mode and server_ssl_mode."""
    with tempfile.TemporaryDirectory(prefix="holdfast-router-") as folder:
        port = free_port()
        configuration = Path(folder, "router.conf")
        folders = "".join(f"{kind}_folder={folder}\n" for kind in ("logging", "runtime", "data", "config"))
        configuration.write_text(
            f"[DEFAULT]\n{folders}plugin_folder={UNPACKED}/root/usr/lib/mysqlrouter/plugin\n"
            f"[routing:one]\nbind_address=127.0.0.1\nbind_port={port}\ndestinations=127.0.0.1:{server.port}\n"
            f"routing_strategy=first-available\nprotocol=classic\nmax_connect_errors=100000\n"
            f"client_ssl_mode={client}\nserver_ssl_mode={to_server}\n"
        )
        with running([program("mysqlrouter"), "-c", str(configuration)], port, folder):
            yield port


@contextmanager
def haproxy(server: Server) -> Iterator[int]:
    """HAProxy, passing bytes on; its port."""
    with tempfile.TemporaryDirectory(prefix="holdfast-haproxy-") as folder:
        port = free_port()
        configuration = Path(folder, "haproxy.cfg")
        configuration.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen one\n bind 127.0.0.1:{port}\n server there 127.0.0.1:{server.port}\n"
        )
        with running([program("haproxy"), "-db", "-f", str(configuration)], port, folder):
            yield port


@contextmanager
def running(command: list[str], port: int, folder: str) -> Iterator[None]:
    output = Path(folder, "output")
    with output.open("w") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.02)
            yield
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Pretender:
    """A relay that answers 1047 to a command sent before the last one was answered, and may change the greeting.

    As far as this shows to a client, it is what middleboxes are that could not be had here.

    :param version: what the greeting's version text is changed to.
    :param thread_id: what its connection id is changed to.
    """

    def __init__(self, server: Server, *, version: str | None = None, thread_id: int | None = None) -> None:
        self.server, self.version, self.thread_id = server, version, thread_id
        self.refused = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Pretender:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection((self.server.host, self.server.port))
        with client, server, suppress(OSError):
            client.sendall(self._changed(received(server)))
            server.sendall(client.recv(65536))
            client.sendall(server.recv(65536))  # OK: mysql_native_password needs no more
            while packets := client.recv(1_000_000):
                size = int.from_bytes(packets[:3], "little") + 4
                server.sendall(packets[:size])
                client.sendall(server.recv(1_000_000))
                if len(packets) > size:
                    self.refused += 1
                    text = b"#08S01Unknown command 55"
                    client.sendall(
                        struct.pack("<I", len(text) + 3 | 1 << 24) + b"\xff" + struct.pack("<H", 1047) + text
                    )

    def _changed(self, greeting: bytes) -> bytes:
        version, _, rest = greeting[5:].partition(b"\0")
        if self.version is not None:
            version = self.version.encode()
        if self.thread_id is not None:
            rest = struct.pack("<I", self.thread_id) + rest[4:]
        body = greeting[4:5] + version + b"\0" + rest
        return struct.pack("<I", len(body)) + body


def received(server: socket.socket) -> bytes:
    """One packet that arrives by itself."""
    got = server.recv(65536)
    while len(got) < 4 or len(got) < int.from_bytes(got[:3], "little") + 4:
        got += server.recv(65536)
    return got
