"""What was gathered about the connection and the machine: plain values, which the checks look at."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = [
    "ConnectFacts",
    "ConnectProblem",
    "Hosting",
    "NotGiven",
    "NotSeen",
    "PoolFacts",
    "TlsFacts",
    "counted",
    "given",
    "seen",
]

T = TypeVar("T")


class NotSeen(Exception):
    """Raised when a check needs something that could not be seen. Its text says what."""


class NotGiven(NotSeen):
    """Raised when a check needs something that only the site's owner can tell, and did not. Its text says what."""


def given(value: T | None, what: str) -> T:
    """Return what the site's owner has told, or say that it was not told.

    :raises NotGiven: when the value is ``None``.
    """
    if value is None:
        raise NotGiven(what)
    return value


def seen(value: T | None, what: str) -> T:
    """Return a value, or say that it could not be seen.

    :raises NotSeen: when the value is ``None``.
    """
    if value is None:
        raise NotSeen(what)
    return value


def counted(number: int, noun: str) -> str:
    """Return ``1 column`` or ``2 columns``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Hosting:
    """How the site runs, as far as its owner said. ``None`` for what was not said."""

    processes: int | None = None
    """How many processes serve the site, on all machines together."""
    threads: int | None = None
    """How many threads each of them has."""
    web_timeout: float | None = None
    """After how many seconds the web server ends a request."""


@dataclass(frozen=True)
class PoolFacts:
    """The engine's pool, as the URL or the engine has it."""

    held: bool
    """Whether holdfast holds the engine's connections."""
    reason: str
    """Why it does not; empty when it does."""
    kind: str
    """The pool's class name, such as ``QueuePool``."""
    most: int | None
    """``pool_size`` and ``max_overflow`` together; ``None`` for no limit, and where a pool has no such number."""
    recycle: float | None
    """``pool_recycle`` in seconds; ``None`` when it is off."""
    given: bool
    """Whether an engine was examined. Else these are the defaults of an engine that is made of the URL alone."""
    idle_limit_seen: float | None = None
    """The idle time after which connections of this engine were found closed, in seconds; ``None`` when none was."""


@dataclass(frozen=True)
class TlsFacts:
    """The encryption of the connection."""

    version: str
    """Such as ``TLSv1.3``; empty for a connection in clear."""
    cipher: str
    """The name of the cipher; empty for a connection in clear."""
    verified: bool | None
    """Whether the driver was told to check the server's certificate; ``None`` when that cannot be told."""
    days_left: float | None
    """Days until the server's certificate ends; ``None`` when the server does not say."""


@dataclass(frozen=True)
class ConnectFacts:
    """How the connection was made, and what it is."""

    driver: str
    """The driver's name in a URL, such as ``pymysql``."""
    seconds: float | None
    """How long connecting took; ``None`` when the engine's pool had a connection already."""
    dns_seconds: float | None
    """How long it took to find the host name's addresses; ``None`` when there was no name to find."""
    addresses: tuple[str, ...]
    """The addresses of the host name; empty for a unix socket."""
    peer: str | None
    """The address that the connection leads to; ``None`` for a unix socket, and when the driver does not tell."""
    port: int | None
    """The port that the connection leads to; ``None`` for a unix socket, and when the driver does not tell."""
    unix: bool
    """Whether it is a unix socket."""
    round_trip: float | None
    """How long the quickest answer took, in seconds: a round trip, and little more."""
    tls: TlsFacts | None
    """The encryption; ``None`` when nobody could say."""
    middlebox: str
    """What stands in between and speaks the protocol itself, in words; empty when nothing does."""
    needs_tls_to_log_in: str = ""
    """Why this driver may be refused without TLS after the server was restarted; empty when it is not."""

    @property
    def network(self) -> str:
        """What the connection goes through: ``""`` for this machine alone, ``private`` or ``public`` for a network
        whose addresses are."""
        if self.unix or self.peer is None:
            return ""
        address = ipaddress.ip_address(self.peer.partition("%")[0])
        if address.is_loopback:
            return ""
        return "private" if address.is_private or address.is_link_local else "public"


@dataclass(frozen=True)
class ConnectProblem:
    """Why there is no connection."""

    number: int | None
    """The error's number, such as 1045."""
    text: str
    """The driver's words, with the password taken out where they repeat it."""
    hints: tuple[str, ...] = field(default=())
    """What holdfast says about it: the cause and the cure."""
    kind: str = ""
    """What it is about: ``host``, ``away``, ``account``, ``database``, ``full``, ``tls``, ``password`` (none was
    found to connect with), ``missing`` (a package), or something else: empty."""
