"""One TLS context for all connections that PyMySQL makes with the same arguments: to make one takes longer than to
connect."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any

from pymysql import connections

__all__ = ["SharedTLS"]

_TLS = ("ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "ssl_verify_cert", "ssl_verify_identity")


class SharedTLS:
    """The TLS contexts of one engine's connections: built the first time, and again when a file of theirs changed.

    Whether TLS is used is decided anew for each connection, as without holdfast: always when it was asked for
    (``ssl`` or ``ssl_*`` arguments), else when the server offers it.
    """

    def __init__(self, connect: Callable[..., Any]) -> None:
        self.stock_connect = connect
        self.contexts: dict[str, ssl.SSLContext] = {}
        model = connections.Connection(defer_connect=True, ssl_disabled=True)
        self.opportunistic = hasattr(model, "_ssl_required")
        """This PyMySQL (1.2 and later) uses TLS when the server offers it and nobody has asked."""

    def connect(self, *positional: Any, **arguments: Any) -> Any:
        """Make one connection."""
        stock = self.stock_connect
        if arguments.get("ssl_disabled") or arguments.keys() & {
            "read_default_file",
            "read_default_group",
            "unix_socket",
        }:
            return stock(*positional, **arguments)
        asked = {name: arguments[name] for name in _TLS if arguments.get(name)}
        if asked:
            if not isinstance(asked.get("ssl"), ssl.SSLContext):
                for name in _TLS:
                    arguments.pop(name, None)
                arguments["ssl"] = self._context(asked)
            return stock(*positional, **arguments)
        if arguments.get("defer_connect") or not self.opportunistic:
            return stock(*positional, **arguments)
        connection = stock(*positional, **{**arguments, "defer_connect": True, "ssl_disabled": True})
        connection.ssl, connection.ctx = True, self._context({})
        connection.connect()
        return connection

    def _context(self, asked: dict[str, Any]) -> ssl.SSLContext:
        key = repr([(name, value, _version(value)) for name, value in sorted(asked.items())])
        if key not in self.contexts:
            model: Any = connections.Connection(defer_connect=True, **asked)
            self.contexts = {key: model.ctx}  # those of files that were replaced are of no more use
        return self.contexts[key]


def _version(value: Any) -> object:
    """Tell one state of the files that an argument names from another: certificates are renewed under their names."""
    if isinstance(value, dict):
        return [_version(inner) for _, inner in sorted(value.items())]
    try:
        status = os.stat(value)
    except (OSError, TypeError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
