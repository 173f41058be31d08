"""TLS of the drivers that are written in Python: what Python's ``ssl`` tells of a connection."""

from __future__ import annotations

import os
import ssl
from typing import Any

from ..server import certificates
from ..server.tls import Encryption, Verified

__all__ = ["encryption", "file_version", "signed_by", "system_bundle"]

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def encryption(sock: Any, *, unix_socket: bool) -> Encryption:
    """Say what a connection's socket has of TLS. Nothing is sent."""
    version = sock.version() if hasattr(sock, "getpeercert") else None  # gevent has a class of its own
    if version is None:
        return Encryption(unix_socket=unix_socket)
    cipher, certificate, context = sock.cipher(), sock.getpeercert(binary_form=True), sock.context
    verified = Verified.NOTHING
    if context.verify_mode != ssl.CERT_NONE:
        verified = Verified.IDENTITY if context.check_hostname else Verified.AUTHORITY
    return Encryption(
        version,
        cipher[0] if cipher else "",
        verified,
        certificates.ends(certificate) if certificate else None,
        unix_socket,
    )


def signed_by(sock: Any, authorities: frozenset[bytes]) -> bool | None:
    """Say whether the certificate was verified by way of one of these authorities, or ``None`` when Python does not
    tell.

    A context may trust others besides: mysql-connector loads the system's authorities into each.
    """
    if hasattr(sock, "get_verified_chain"):  # Python 3.13
        return not authorities.isdisjoint(sock.get_verified_chain())
    chain = getattr(getattr(sock, "_sslobj", None), "get_verified_chain", None)
    if chain is None:  # no context that was made for these alone trusts others
        return authorities.issuperset(sock.context.get_ca_certs(binary_form=True)) or None
    return not authorities.isdisjoint(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain() or ())


def system_bundle() -> str | None:
    """Return the file of the authorities that the system trusts, for libraries that do not look for it themselves.

    ``SSL_CERT_FILE`` names another one, as for OpenSSL and Python.
    """
    own = ssl.get_default_verify_paths().cafile
    return next((path for path in (own, *_BUNDLES) if path and os.path.isfile(path)), None)


def file_version(path: str) -> object:
    """Tell one state of a file from another: certificates are renewed under their names."""
    try:
        status = os.stat(path)
    except (OSError, TypeError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
