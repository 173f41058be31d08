"""How long a driver waits for a server that accepts a connection and then says nothing.

mysqlclient, PyMySQL and mysql-connector-python 9 and later wait for ever (each was left waiting for 45 s), and so does
whoever waits for a connection. A web server, Redis, PostgreSQL or a port for TLS behaves like that to a client of
MySQL: it waits for the client to speak first, while a MySQL server greets at once.

Here is the limit that an adapter gives its driver where the application has given none. It is far above what a server
takes that is under load and well (one that greeted after 12 s is still waited for).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .registry import Driver

__all__ = ["HANDSHAKE_SECONDS", "greeting_limit", "handshake_limit"]

HANDSHAKE_SECONDS = 30
"""As long as a checkout waits by default (``pool_timeout``)."""


def handshake_limit(connect_timeout: object) -> int:
    """Return how long a handshake may take, in seconds.

    :param connect_timeout: what the application gave the driver; a longer one counts.
    """
    given = connect_timeout if isinstance(connect_timeout, (int, float)) else 0
    return max(HANDSHAKE_SECONDS, int(given))


def greeting_limit(driver: Driver | None, query: Mapping[str, Any]) -> str:
    """Say how long one attempt to connect waits for a server that says nothing, in words.

    :param query: of the URL. What ``connect_args`` has is not known.
    """
    names, others = ["connect_timeout"], "connect_timeout"
    if driver is not None and driver.url_name == "pymysql":
        # Its connect_timeout is over when the server has accepted the connection: holdfast takes a longer one.
        names, others = ["read_timeout"], "read_timeout (or a longer connect_timeout)"
        if handshake_limit(_seconds(query.get("connect_timeout"))) > HANDSHAKE_SECONDS:
            names.append("connect_timeout")
    for name in names:
        if seconds := _seconds(query.get(name)):
            return f"{seconds} s ({name} in the URL)"
    return f"{HANDSHAKE_SECONDS} s, or as long as {others} in connect_args says"


def _seconds(given: object) -> int:
    return int(given) if isinstance(given, str) and given.isdecimal() else 0
