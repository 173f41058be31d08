"""How long a driver waits for a server that accepts a connection and then says nothing.

mysqlclient, PyMySQL and mysql-connector-python 9 and later wait for ever (each was left waiting for 45 s), and so does
whoever waits for a connection. A web server, Redis, PostgreSQL or a port for TLS behaves like that to a client of
MySQL: it waits for the client to speak first, while a MySQL server greets at once.

Here is the limit that an adapter gives its driver where the application has given none. It is far above what a server
takes that is under load and well (one that greeted after 12 s is still waited for).
"""

from __future__ import annotations

__all__ = ["HANDSHAKE_SECONDS", "handshake_limit"]

HANDSHAKE_SECONDS = 30
"""As long as a checkout waits by default (``pool_timeout``)."""


def handshake_limit(connect_timeout: object) -> int:
    """Return how long a handshake may take, in seconds.

    :param connect_timeout: what the application gave the driver; a longer one counts.
    """
    given = connect_timeout if isinstance(connect_timeout, (int, float)) else 0
    return max(HANDSHAKE_SECONDS, int(given))
