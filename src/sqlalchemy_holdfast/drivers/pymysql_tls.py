"""PyMySQL's TLS: what ``holdfast_tls`` means to it, and one context for all connections with the same arguments.

To make a context takes longer than to connect.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from pymysql import connections

from ..server.tls import SYSTEM, Policy, Verified
from .python_tls import file_version
from .tls_words import note, without

__all__ = ["SharedTLS"]

_TLS = ("ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "ssl_verify_cert", "ssl_verify_identity")


class SharedTLS:
    """The TLS contexts of one engine's connections: built the first time, and again when a file of theirs changed.

    Whether TLS is used is decided anew for each connection, as without holdfast: always when it was asked for
    (``ssl`` or ``ssl_*`` arguments), else when the server offers it. With ``holdfast_tls`` that setting decides.
    """

    def __init__(self, connect: Callable[..., Any], policy: Policy) -> None:
        self.stock_connect = connect
        self.policy = policy
        self.contexts: dict[str, ssl.SSLContext] = {}
        model = connections.Connection(defer_connect=True, ssl_disabled=True)
        self.opportunistic = hasattr(model, "_ssl_required")
        """This PyMySQL (1.2 and later) uses TLS when the server offers it and nobody has asked."""

    def connect(self, *positional: Any, **arguments: Any) -> Any:
        """Make one connection."""
        stock, policy = self.stock_connect, self.policy
        if policy.mode is not None:
            arguments = self._translated(arguments)
        else:
            note(policy, arguments)
        if arguments.get("ssl_disabled") or (
            policy.mode is None and arguments.keys() & {"read_default_file", "read_default_group", "unix_socket"}
        ):
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

    def _translated(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Say in PyMySQL's words what ``holdfast_tls`` asks for.

        All is in one context. PyMySQL 1.2 refuses a server without TLS when it is given one; an earlier PyMySQL goes
        on in clear, and is found out by the check that follows.
        """
        mode = self.policy.mode
        rest, own = without(arguments)
        if mode == "off":
            return {**rest, "ssl_disabled": True}
        for name in ("ssl_cert", "ssl_key", "ssl_key_password"):
            if rest.get(name):
                own[name[4:].replace("key_password", "password")] = rest[name]
            rest.pop(name, None)
        if mode == "preferred" and not own and self.opportunistic:
            return rest
        own["ca"] = None if self.policy.ca == SYSTEM else self.policy.ca
        return {**rest, "ssl": self._context({"ssl": {key: value for key, value in own.items() if value}})}

    def _context(self, asked: dict[str, Any]) -> ssl.SSLContext:
        key = repr([(name, value, _version(value)) for name, value in sorted(asked.items())])
        if key not in self.contexts:
            # A dictionary without anything in it is none to PyMySQL.
            given: dict[str, Any] = {name: value or {"verify_mode": False} for name, value in asked.items()}
            model: Any = connections.Connection(defer_connect=True, **given)
            context: ssl.SSLContext = model.ctx
            if self.policy.mode is not None:
                verifies = self.policy.verifies
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE if verifies is Verified.NOTHING else ssl.CERT_REQUIRED
                context.check_hostname = verifies is Verified.IDENTITY
            self.contexts = {key: context}  # those of files that were replaced are of no more use
        return self.contexts[key]


def _version(value: Any) -> object:
    if isinstance(value, dict):
        return [_version(inner) for _, inner in sorted(value.items())]
    return file_version(value)
