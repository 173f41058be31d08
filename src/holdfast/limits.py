"""What the server allows, asked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Limits", "learn"]

_QUESTION = (
    "SELECT @@version, @@hostname, @@port, @@server_id, CURRENT_USER(), @@wait_timeout, @@interactive_timeout, "
    "@@max_connections, @@max_user_connections, @@read_only, @@max_allowed_packet"
)


@dataclass(frozen=True)
class Limits:
    """What a server said of itself and of the account, and what was found out since.

    Learned with one SELECT on an engine's first connection, inherited by forked processes, and asked for again on the
    next new connection after an answer of the server's that contradicts it.
    """

    flavour: str
    """``MariaDB`` or ``MySQL``."""
    version: str
    """As the server says it: ``10.11.6-MariaDB-…``, ``9.7.4``."""
    server: str
    """Which server it is: host name, port and server id, as it knows them itself."""
    account: str
    """The account that the server chose for the user, as ``user@host pattern`` (``CURRENT_USER()``)."""
    wait_timeout: int
    """Seconds after which the server closes an idle connection."""
    interactive_timeout: int
    """The same for a client that calls itself interactive, as ``mysql`` on a terminal does; no driver does."""
    max_connections: int
    """How many connections the server accepts at all. One more is kept for an administrator."""
    max_user_connections: int
    """How many this account may have, 0 for no limit of its own. The session's value of the variable is the account's
    (``CREATE USER … WITH MAX_USER_CONNECTIONS``) where that is set and else the server's (MySQL 8.4 manual, "Server
    System Variables"; the same in MariaDB 10.11)."""
    read_only: bool
    """Whether ordinary accounts can only read, as on a replica."""
    max_allowed_packet: int
    """Bytes of the largest statement that the server takes; it closes the connection of a larger one."""
    idle_limit: float
    """Seconds after which an idle connection is believed to be closed: ``wait_timeout``, or less where connections
    were found closed younger than that, as behind a load balancer."""

    @property
    def connections(self) -> int:
        """How many connections this account can have at most."""
        return min(self.max_connections, self.max_user_connections or self.max_connections)

    @property
    def reason(self) -> str:
        """Which variable says so."""
        return "max_user_connections" if 0 < self.max_user_connections <= self.max_connections else "max_connections"


def learn(connection: Any) -> Limits:
    """Ask the server, with one SELECT on the driver's connection.

    :raises: the driver's error, as from a proxy that does not know these variables.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(_QUESTION)
        row = cursor.fetchone()
    finally:
        cursor.close()
    version, host, port, server_id, account = (_text(value) for value in row[:5])
    idle, interactive, at_all, own, read_only, packet = row[5:]
    return Limits(
        flavour="MariaDB" if "mariadb" in version.lower() else "MySQL",
        version=version,
        server=f"{host}:{port}/{server_id}",
        account=account,
        wait_timeout=int(idle),
        interactive_timeout=int(interactive),
        max_connections=int(at_all),
        max_user_connections=int(own),
        read_only=_text(read_only) not in ("0", "OFF"),
        max_allowed_packet=int(packet),
        idle_limit=float(idle),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)
