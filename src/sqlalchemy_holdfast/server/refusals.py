"""Is an error while connecting worth another try?"""

from __future__ import annotations

import enum

from .faults import error_number

__all__ = ["Refusal", "classify", "names_no_host", "was_connecting"]


class Refusal(enum.Enum):
    """Why a server did not let a connection in, where trying again helps."""

    FULL = "has no connection left"
    """There are as many connections as the server or the account may have; others will be closed."""
    AWAY = "is not there"
    """It is being started, restarted or replaced."""


_FULL = frozenset(
    {
        1040,  # ER_CON_COUNT_ERROR: max_connections
        1203,  # ER_TOO_MANY_USER_CONNECTIONS: the variable max_user_connections
        1226,  # ER_USER_LIMIT_REACHED, for the account's max_user_connections alone: see below
    }
)
_AWAY = frozenset(
    {
        2002,  # CR_CONNECTION_ERROR: refused, on a unix socket and, with libmariadb, on TCP
        2003,  # CR_CONN_HOST_ERROR: refused, on TCP
        1053,  # ER_SERVER_SHUTDOWN
        3032,  # ER_SERVER_OFFLINE_MODE, MySQL
        6400,  # the same with a reason, MySQL 9.7: a member that has left its Group Replication group
        2006,  # CR_SERVER_GONE_ERROR, during the handshake
        2013,  # CR_SERVER_LOST, during the handshake
        2055,  # CR_SERVER_LOST_EXTENDED, during the handshake
    }
)
_USER_LIMIT = 1226
_COMES_BACK = "max_user_connections"
"""What 1226 names, in whatever language, when it helps to wait. It is also the answer to an account that has used up
its statements, updates or connections of this hour (``'max_questions'``, ``'max_queries_per_hour'``, …), while
connecting and in reply to a statement (MariaDB 10.11 and MySQL 9.7, seen in six languages)."""
_ONLY_WHEN_CONNECTING = frozenset({1040, 1203, 2002, 2003})
"""No statement's reply has one of these numbers."""
_NO_SUCH_NAME = ("name or service not known", "nodename nor servname", "unknown mysql server host", "no address assoc")


def classify(error: BaseException) -> Refusal | None:
    """Say why a driver's connect failed, or ``None`` where another try would fail in the same way.

    A wrong password, an unknown database, a host name that does not exist, a certificate that is refused and an
    allowance of the hour that is used up are ``None``: nothing is gained by waiting.
    """
    number = error_number(error)
    if number == _USER_LIMIT:
        return Refusal.FULL if _COMES_BACK in str(error).lower() else None
    if number in _FULL:
        return Refusal.FULL
    if number in _AWAY:
        return None if names_no_host(error) else Refusal.AWAY
    return None


def was_connecting(error: BaseException) -> bool:
    """Say whether an error's number alone proves that there was no connection yet, so that nothing was sent."""
    number = error_number(error)
    return number in _ONLY_WHEN_CONNECTING or (number == _USER_LIMIT and _COMES_BACK in str(error).lower())


def names_no_host(error: BaseException) -> bool:
    """Say whether connecting failed because there is no host of that name."""
    text = str(error).lower()
    return any(part in text for part in _NO_SUCH_NAME)
