"""What is known of a URL that is being built."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import DatabaseURLError

__all__ = ["Parts", "plain_host"]


@dataclass
class Parts:
    """What is known so far of a URL that is being built."""

    username: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | str | None = None
    database: str | None = None
    backend: str | None = None
    driver: str | None = None
    query: dict[str, Any] = field(default_factory=dict)

    def fill(self, other: Parts) -> None:
        """Take from the other what is missing here."""
        if self.host is not None:
            other.port, other.query = None, {k: v for k, v in other.query.items() if k != "unix_socket"}
        for part in fields(self):
            if part.name != "query" and getattr(self, part.name) is None:
                setattr(self, part.name, getattr(other, part.name))
        self.query = {**other.query, **self.query}


def plain_host(parts: Parts) -> str:
    """Take a port and the brackets of an IPv6 address off what was given as the host."""
    host = (parts.host or "").strip()
    if not host:
        raise DatabaseURLError("The host is empty. Leave it out for localhost, or give the server's name or address.")
    if "://" in host:
        raise DatabaseURLError(
            "The host is a whole URL: give only the server's name or address. (To check a URL: holdfast url --check.)"
        )
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:/]+):(\d+)", host)
    if found:
        host = found[1] or found[3]
        given = found[2] or found[4]
        if given and parts.port is not None and str(parts.port) != given:
            raise DatabaseURLError(f"The host ends with port {given}, and port= is another: keep one of them.")
        parts.port = given or parts.port
    return host
