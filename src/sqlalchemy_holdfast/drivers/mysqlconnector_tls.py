"""mysql-connector-python's TLS: what ``holdfast_tls`` means to it, and what its C extension tells of a connection.

Measured with 26.10: ``ssl_ca`` alone verifies nothing, and to a server without TLS it goes on in clear. With
``ssl_verify_cert`` it does neither. A unix socket never has TLS.
"""

from __future__ import annotations

from typing import Any

from ..server.tls import SYSTEM, Encryption, Policy, Verified
from .python_tls import system_bundle
from .tls_words import without

__all__ = ["c_encryption", "translated"]


def translated(policy: Policy, arguments: dict[str, Any], *, pure: bool) -> dict[str, Any]:
    """Say in the driver's words what ``holdfast_tls`` asks for."""
    rest, _ = without(arguments)
    if policy.mode == "off":
        return {**rest, "ssl_disabled": True}
    rest["ssl_disabled"] = False  # an option file may say otherwise
    if policy.verifies is Verified.NOTHING:
        return rest
    ca = policy.ca
    if ca == SYSTEM:
        ca = None if pure else system_bundle()  # the pure one has Python's, which are the system's
    if ca:
        rest["ssl_ca"] = ca
    return {**rest, "ssl_verify_cert": True, "ssl_verify_identity": policy.verifies is Verified.IDENTITY}


def c_encryption(connection: Any, *, unix_socket: bool) -> Encryption:
    """Say what a connection of the C extension has of TLS: its cipher, and what it was asked to verify.

    libmysqlclient, which is in the extension, refuses what it was asked to verify and could not.
    """
    cipher = str(getattr(connection._cmysql, "get_ssl_cipher", str)() or "")
    if not cipher:
        return Encryption(unix_socket=unix_socket)
    options = connection._ssl
    verified = Verified.NOTHING
    if options.get("verify_identity"):
        verified = Verified.IDENTITY
    elif options.get("verify_cert"):
        verified = Verified.AUTHORITY
    return Encryption("TLSv1.3" if cipher.startswith("TLS_") else "TLS", cipher, verified, unix_socket=unix_socket)
