"""Checks of the connection's encryption."""

from __future__ import annotations

from collections.abc import Iterator

from ..check import Seen, check
from ..examined import Examined
from ..facts import seen
from ..finding import Severity

_SOON_DAYS = 14
_NOW_DAYS = 3
_SHA2 = ("caching_sha2_password", "sha256_password")


@check(
    "HF110",
    group="connect",
    title="The connection goes through a network in clear",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Add holdfast_tls=verify-identity to the URL, and holdfast_tls_ca=<your host's CA file> if it has one.",
    explanation="""Everybody on the way can read what the site reads and writes, and can change it. In a network of
    private addresses that may be what you want, so it is a note there. On one machine there is nothing to
    encrypt.""",
)
def in_clear(examined: Examined) -> Iterator[str | Seen]:
    connect = seen(examined.connect, "the connection")
    tls = seen(connect.tls, "the connection's encryption")
    if connect.network and not tls.cipher:
        yield Seen(
            f"The connection to {connect.peer} is not encrypted.",
            severity=Severity.NOTE if connect.network == "private" else None,
        )


@check(
    "HF111",
    group="connect",
    title="The server's certificate is not checked",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Add holdfast_tls=verify-identity to the URL, and holdfast_tls_ca=<your host's CA file> if it has one.",
    explanation="""The connection is encrypted, but the driver takes any certificate. Somebody on the way can stand in
    the server's place and read everything, the password among it. On one machine, nobody is on the way.""",
)
def not_verified(examined: Examined) -> Iterator[str | Seen]:
    connect = seen(examined.connect, "the connection")
    tls = seen(connect.tls, "the connection's encryption")
    if not connect.network or not tls.cipher:
        return
    if not seen(tls.verified, "whether the server's certificate is checked"):
        yield Seen(
            f"The connection to {connect.peer} uses {tls.version}, and the driver accepts any certificate.",
            severity=Severity.NOTE if connect.network == "private" else None,
        )


@check(
    "HF112",
    group="connect",
    title="The server's certificate ends soon",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Renew the server's certificate; ALTER INSTANCE RELOAD TLS (MariaDB: FLUSH SSL) loads it without a restart.",
    explanation="""After that day, every client that checks the certificate is refused (error 2026). Connections that
    are open stay open, so the site fails bit by bit.""",
)
def certificate_ends(examined: Examined) -> Iterator[str | Seen]:
    tls = seen(seen(examined.connect, "the connection").tls, "the connection's encryption")
    if tls.cipher and tls.days_left is not None and tls.days_left < _SOON_DAYS:
        when = f"ends in {tls.days_left:.0f} days" if tls.days_left > 0 else f"ended {-tls.days_left:.0f} days ago"
        yield Seen(f"The server's certificate {when}.", severity=Severity.ERROR if tls.days_left < _NOW_DAYS else None)


@check(
    "HF117",
    group="connect",
    title="Logging in may fail after the server was restarted",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Add holdfast_tls=required to the URL. For PyMySQL, pip install cryptography will do as well.",
    explanation="""With caching_sha2_password the server remembers who has logged in. After a restart, FLUSH PRIVILEGES
    or a change of the password it has forgotten, and wants the password itself, which not every driver sends without
    TLS. The site then gets 1045 or 2061, although nothing is wrong with its password.""",
)
def sha2_without_tls(examined: Examined) -> Iterator[str | Seen]:
    connect, server = seen(examined.connect, "the connection"), seen(examined.server, "the server")
    plugin = seen(seen(server.account, "the account").plugin, "how the account's password is checked")
    tls = seen(connect.tls, "the connection's encryption")
    if plugin in _SHA2 and not tls.cipher and not connect.unix and connect.needs_tls_to_log_in:
        yield f"{server.account_name} logs in with {plugin}, without TLS: {connect.needs_tls_to_log_in}."
