"""TLS: what was asked for, what a connection has, and whether the one is the other.

Pure data and pure functions. What a connection has is found out by its driver's module in
:mod:`sqlalchemy_holdfast.drivers`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from .._words import Words

__all__ = ["MODES", "SYSTEM", "Encryption", "Policy", "Verified", "objection"]

MODES = ("off", "preferred", "required", "verify-ca", "verify-identity")
"""The values of ``holdfast_tls``."""
SYSTEM = "system"
"""The value of ``holdfast_tls_ca`` that stands for the authorities that the operating system trusts."""


class Verified(Words):
    """What was verified of a server's certificate."""

    NOTHING = "nothing"
    """Nothing: whoever is in between could have shown one of his own."""
    AUTHORITY = "authority"
    """That a trusted authority has signed it, for whatever host, and that its time is not over."""
    IDENTITY = "authority and name"
    """That, and that it is for the host that was connected to."""


@dataclass(frozen=True)
class Encryption:
    """What one connection has of TLS."""

    version: str = ""
    """``TLSv1.3``; empty without TLS. ``TLS`` where the driver does not tell which."""
    cipher: str = ""
    """The cipher suite's name, as OpenSSL has it."""
    verified: Verified | None = Verified.NOTHING
    """What was verified of the server's certificate; ``None`` where the driver does not tell."""
    certificate_ends: datetime.datetime | None = None
    """When the server's certificate is over, in UTC; ``None`` where the driver does not tell."""
    unix_socket: bool = False
    """The connection is a unix socket, which does not leave the machine."""

    def __str__(self) -> str:
        if not self.version:
            return "a unix socket without TLS" if self.unix_socket else "no TLS"
        checked = "not known" if self.verified is None else str(self.verified)
        until = f", certificate valid until {self.certificate_ends:%Y-%m-%d}" if self.certificate_ends else ""
        return f"{self.version} ({self.cipher}), verified: {checked}{until}"


@dataclass
class Policy:
    """What one engine asks of its connections."""

    where: str = ""
    """Names the engine in a message."""
    mode: str | None = None
    """One of :data:`MODES`; ``None``: as the driver does."""
    ca: str | None = None
    """Whose signature counts: the path of a file, or :data:`SYSTEM`. Set where the mode verifies."""
    drivers_words: tuple[str, ...] = ()
    """The driver's own arguments with which TLS was asked for, as of the last connection."""
    drivers_words_verify: bool = False
    """Whether they ask for the certificate to be verified."""
    warned: bool = False
    """It was said that a connection is not what they ask for."""

    @property
    def wants_tls(self) -> bool:
        """Whether a connection without TLS is not to be used."""
        return self.mode in ("required", "verify-ca", "verify-identity")

    @property
    def verifies(self) -> Verified:
        """What is to be verified at least."""
        return {"verify-ca": Verified.AUTHORITY, "verify-identity": Verified.IDENTITY}.get(
            self.mode or "", Verified.NOTHING
        )


def objection(policy: Policy, seen: Encryption, *, by_that_ca: bool | None = True) -> str:
    """Say why a connection is not what was asked for and what to do about it, or return an empty text.

    :param by_that_ca: whether the authority is one of those that ``holdfast_tls_ca`` names; ``None``: it cannot be
        told.
    """
    asked = f"holdfast_tls={policy.mode}"
    if policy.mode == "off" and seen.version:
        return (
            f"{asked} asks for a connection without TLS, and this one has {seen.version}. Something asks the driver "
            "for it: an option file (read_default_file), creator=, pool= or a do_connect listener. Remove it there, or "
            "set holdfast_tls=preferred."
        )
    if policy.wants_tls and not seen.version:
        if seen.unix_socket:
            return (
                f"{asked} asks for TLS, and this connection has none: it is a unix socket, on which this driver or "
                "this server does no TLS. A unix socket does not leave the machine and needs no TLS: remove "
                "holdfast_tls for it, or connect to the server's host and port."
            )
        return (
            f"{asked} asks for TLS, and this connection has none: the server offers no TLS. Switch TLS on in the "
            "server (ssl_cert, ssl_key). If nobody can listen on the network in between, set holdfast_tls=preferred "
            "instead."
        )
    if policy.verifies is Verified.NOTHING:
        return ""
    cure = (
        "The connection was made by creator=, pool= or a do_connect listener, where holdfast cannot ask the driver for "
        "it. Ask there (PyMySQL and mysql-connector: ssl_ca, ssl_verify_cert=True, ssl_verify_identity=True; "
        "mysqlclient: ssl={'ca': ...}, ssl_mode='VERIFY_IDENTITY'), or let SQLAlchemy make the connection."
    )
    if seen.verified is None or by_that_ca is None:
        return f"{asked} asks for a certificate that was verified, and this driver does not tell whether it was. {cure}"
    if seen.verified is Verified.NOTHING:
        return f"{asked} asks for a certificate that was verified, and this connection's was not. {cure}"
    if policy.verifies is Verified.IDENTITY and seen.verified is not Verified.IDENTITY:
        return (
            f"{asked} asks for a certificate that is for this host, and on this connection it was only verified that "
            f"an authority has signed it. {cure} mysqlclient with MariaDB Connector/C 3.4 does not look for the name "
            "of this machine itself (localhost, 127.0.0.1): set holdfast_tls=verify-ca for that."
        )
    if not by_that_ca:
        return (
            f"{asked} asks for a certificate that was signed by an authority in holdfast_tls_ca={policy.ca}, and this "
            "connection's was signed by another one. Is the file the one that the server's host offers? If the server "
            "has a certificate of a public authority, set holdfast_tls=verify-identity&holdfast_tls_ca=system."
        )
    return ""
