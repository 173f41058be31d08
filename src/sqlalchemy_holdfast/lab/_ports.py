"""Ports that nothing else will take.

A port from the range the system gives to outgoing connections is a bad choice for something that is stopped and
started again: while it is stopped, any client on the machine may be given it. Ports here come from below that range.
"""

from __future__ import annotations

import errno
import random
import socket

_LOWEST = 12_000
_TAKEN = (errno.EADDRINUSE, errno.EACCES)
# Not the shared generator: test runners seed that one, and two runs would then walk the same ports in step.
_random = random.SystemRandom()


def _outgoing_range_start() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            start = int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return start if start > _LOWEST + 1_000 else 32_768


def bind(host: str, port: int = 0) -> socket.socket:
    """Return a TCP socket bound to `port` of `host`, not yet listening; port 0 means any free one.

    Raises `OSError` when that port is taken, or when no free one was found in 200 attempts.
    """
    highest = _outgoing_range_start() - 1
    for attempt in range(200):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Without it a port whose last connections are in TIME_WAIT cannot be bound again for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port or _random.randint(_LOWEST, highest)))
        except OSError as error:
            sock.close()
            if port or error.errno not in _TAKEN or attempt == 199:
                raise
        else:
            return sock
    raise AssertionError("unreachable")


def free_port(host: str) -> int:
    """Return a port of `host` that was free a moment ago; whoever binds it must be ready to lose the race."""
    with bind(host) as sock:
        # SO_REUSEADDR lets two sockets be bound at once as long as neither listens, so prove that one could.
        sock.listen(1)
        port: int = sock.getsockname()[1]
        return port
