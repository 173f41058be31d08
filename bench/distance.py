"""A `sqlalchemy_holdfast.lab.Proxy` in a process of its own: near enough to a network.

In this process it would compete with the driver for the interpreter's lock, and be late whenever the driver computes.
Run as a program it prints its port and lives until its standard input ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy_holdfast.lab import Proxy, Server

__all__ = ["distance"]


@contextmanager
def distance(server: Server, round_trip: float) -> Iterator[tuple[str, int]]:
    """Yield host and port where the server seems that many seconds away."""
    command = [sys.executable, "-m", __spec__.name, server.host, str(server.port), str(round_trip / 2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Proxy.host, int(process.stdout.readline())
        finally:
            process.stdin.close()


def _main(host: str, port: str, delay: str) -> None:
    with Proxy(host, int(port), delay=float(delay)) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])
