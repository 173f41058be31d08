"""What the server allows, and what stands in between, asked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import middleboxes
from .middleboxes import Greeting, Seen

__all__ = ["Limits", "Unintelligible", "learn"]

_QUESTION = (
    "SELECT @@version, @@hostname, @@port, @@server_id, CURRENT_USER(), @@wait_timeout, @@interactive_timeout, "
    "@@max_connections, @@max_user_connections, @@read_only, @@max_allowed_packet"
)
_ATTRIBUTES = (
    "SELECT COUNT(*) FROM performance_schema.session_account_connect_attrs WHERE PROCESSLIST_ID = CONNECTION_ID()"
)
_IN_BETWEEN = (
    f", CONNECTION_ID(), @@version_comment, ({_ATTRIBUTES}), "
    f"({_ATTRIBUTES} AND ATTR_NAME IN ('_client_ip', '_client_port'))"
)
"""What ``server.middleboxes`` wants to know. Every account may read its own sessions' attributes."""


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
    middlebox: str = ""
    """What stands between this process and the server, so that no statement is sent ahead of an answer: in words, from
    ``sqlalchemy_holdfast.server.middleboxes``. Empty for nothing, and for a relay that passes bytes on."""

    @property
    def connections(self) -> int:
        """How many connections this account can have at most."""
        return min(self.max_connections, self.max_user_connections or self.max_connections)

    @property
    def reason(self) -> str:
        """Which variable says so."""
        return "max_user_connections" if 0 < self.max_user_connections <= self.max_connections else "max_connections"


class Unintelligible(Exception):
    """Raised when the server answered with something that is no answer."""


def learn(
    connection: Any,
    errors: type[Exception],
    *,
    answered: Callable[[Exception], bool],
    greeting: Greeting | None = None,
    host: str | None = None,
    connected_port: int | None = None,
) -> Limits:
    """Ask the server, with one SELECT on the driver's connection; with a second, shorter one where it will not answer.

    :param errors: the driver's base exception.
    :param answered: says of one of these whether it is what the server has answered.
    :param greeting: what the connection was greeted with.
    :param host: the host name of the URL.
    :param connected_port: the port that the connection was made to; ``None`` for a unix socket.
    :raises Unintelligible: when what was answered has no sense.
    :raises: the driver's error, as from a proxy that does not know these variables.
    """
    try:
        row = _ask(connection, _QUESTION + _IN_BETWEEN)
    except errors as error:
        if not answered(error):
            raise
        shorter = _ask(connection, _QUESTION)
        row = None if shorter is None else (*shorter, 0, "", 0, 0)
    if row is None:
        raise Unintelligible("it has answered without a row")
    version, server_host, port, server_id, account = (_text(value) for value in row[:5])
    comment = _text(row[12])
    numbers = [_text(row[place]) for place in (2, 5, 6, 7, 8, 10, 11, 13, 14)]
    if not all(number.isdigit() for number in numbers):
        raise Unintelligible(f"it has answered {numbers}")
    own_port, idle, interactive, at_all, own, packet, number, attributes, middleboxs_own = map(int, numbers)
    seen = Seen(
        greeting=greeting,
        host=host,
        connected_port=connected_port,
        version=version if number else "",
        comment=comment,
        connection_id=number,
        port=own_port,
        attributes=middleboxs_own if attributes else None,
    )
    return Limits(
        flavour="MariaDB" if "mariadb" in version.lower() else "MySQL",
        version=version,
        server=f"{server_host}:{port}/{server_id}",
        account=account,
        wait_timeout=idle,
        interactive_timeout=interactive,
        max_connections=at_all,
        max_user_connections=own,
        read_only=_text(row[9]) not in ("0", "OFF"),
        max_allowed_packet=packet,
        idle_limit=float(idle),
        middlebox=middleboxes.recognise(seen) or ("" if number else _WILL_NOT_SAY),
    )


_WILL_NOT_SAY = "the server does not answer the question that would tell a middlebox"


def _ask(connection: Any, question: str) -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(question)
        return cursor.fetchone()
    finally:
        cursor.close()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)
