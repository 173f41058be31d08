"""PyMySQL sends a password in clear when a server asks for that, with TLS and without. Here: over TLS or a unix socket.

Servers ask for it where the password is a token, or belongs to another system (``mysql_clear_password``, and
``dialog`` for MariaDB's PAM). A server can be anybody who sits in between, as long as there is no TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymysql import err
from pymysql.constants import CR

__all__ = ["refuse_clear_text"]


class _OnlyOverTLS:
    """What PyMySQL calls when a server asks for the password: it makes one with its connection."""

    def __init__(self, connection: Any) -> None:
        if not connection._secure:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                "holdfast: the server asks for the password in clear text, and the connection has no TLS, so the "
                "password was not sent. Set holdfast_tls=verify-identity and holdfast_tls_ca=<the server's CA file>",
            )
        self._connection = connection


class _ClearPassword(_OnlyOverTLS):
    def authenticate(self, packet: Any) -> Any:
        connection = self._connection
        connection.write_packet(connection.password + b"\0")
        answer = connection._read_packet()
        answer.check_error()
        return answer


_PLUGINS = {"mysql_clear_password": _ClearPassword, "dialog": _OnlyOverTLS}  # the driver itself answers a dialog


def refuse_clear_text(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Make one engine's ``connect`` keep the password where it would go over the network as it is.

    A plugin that the application has given for the same purpose (``auth_plugin_map``) is used in its place.
    """

    def connect_in_secret(*positional: Any, **arguments: Any) -> Any:
        own = arguments.get("auth_plugin_map") or {}
        return connect(*positional, **{**arguments, "auth_plugin_map": {**_PLUGINS, **own}})

    return connect_in_secret
