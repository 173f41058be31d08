"""What goes wrong while TLS is being set up: the causes, told by the words of OpenSSL and the drivers, and the cures.

The words come with three numbers. mysqlclient has 2026 for all of TLS. PyMySQL puts what Python's ``ssl`` says into its
2003, and mysql-connector into its 2055: the numbers of a server that is not there. A refused certificate is refused
again when it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAUSES", "NUMBERS", "Cause"]

NUMBERS = (2003, 2026, 2055)
"""The numbers that come with these words."""

_CA = "holdfast_tls_ca=<path> (in the driver's words: ssl_ca)"


@dataclass(frozen=True)
class Cause:
    """One cause for which a driver gives up a TLS handshake."""

    meaning: str
    texts: tuple[str, ...]
    """One of these is part of its words, in lower case."""
    hint: str


CAUSES: tuple[Cause, ...] = (
    Cause(
        "the server offers no TLS",
        ("ssl is required but the server doesn't", "ssl is required, but the server does not"),
        "the server offers no TLS, and TLS was asked for. Switch TLS on in the server (ssl_cert, ssl_key). If nobody "
        "can listen on the network in between, set holdfast_tls=preferred instead.",
    ),
    Cause(
        "the server refused this client's certificate",
        ("alert unknown ca", "alert bad certificate", "alert certificate", "certificate required"),
        "the server refused this client's own certificate, or wants one. Give the one that whoever runs the server has "
        "made for you: ssl_cert=<path>&ssl_key=<path>.",
    ),
    Cause(
        "the server's certificate has expired",
        ("certificate has expired",),
        "the server's certificate has expired. Whoever runs the server must renew it; your side is as it should be. Is "
        "this machine's clock right? If not the server's certificate but that of the authority has expired, get its "
        f"new one and give it as {_CA}.",
    ),
    Cause(
        "the server's certificate is not valid yet",
        ("certificate is not yet valid",),
        "the server's certificate is not valid yet. Is this machine's clock right?",
    ),
    Cause(
        "the server's certificate is for another host",
        (
            "hostname mismatch",
            "ip address mismatch",
            "validation of ssl server certificate failed",
            "failed to verify the server certificate",
        ),
        "the server's certificate is for another host than the one in the URL. Write the host as the certificate has "
        "it: the full name that your host gives, not its IP address and not an alias. If the name cannot match, as "
        "through a tunnel, set holdfast_tls=verify-ca: the authority is verified, and the name is not.",
    ),
    Cause(
        "the server's certificate is of an authority that is not trusted",
        (
            "signed certificate in certificate chain",
            "unable to get local issuer certificate",
            "unable to get issuer certificate",
            "unable to verify the first certificate",
        ),
        "the server's certificate is signed by an authority that is not among the trusted ones. If you gave "
        "no file, those that the operating system trusts count, and your host has an authority of its own: give its "
        f"certificate, which your host offers for download, as {_CA}. If you gave a file, it is another authority's: "
        "ask your host whether the authority was replaced. For a public authority, set holdfast_tls_ca=system.",
    ),
    Cause(
        "the server's certificate is signed by itself",
        ("self-signed certificate", "self signed certificate"),
        "the server's certificate is signed by nobody but itself, and it is not among the trusted ones. Is it the "
        f"server that you mean? If it is your own, give its certificate itself as {_CA}.",
    ),
    Cause(
        "the server's certificate was refused",
        ("certificate verify failed",),
        "the server's certificate was refused, and the driver does not say why. Look at three things: is the authority "
        f"that signed it in the file that you gave as {_CA}; is the certificate for the host in the URL; is its time "
        "over? openssl s_client -starttls mysql -connect host:port shows it.",
    ),
    Cause(
        "the two sides have no TLS version or cipher in common",
        (
            "unsupported protocol",
            "no protocols available",
            "protocol version",
            "handshake failure",
            "no shared cipher",
            "no ciphers available",
            "insufficient security",
            "alert internal error",  # MariaDB whose TLS 1.1 its own OpenSSL refuses
        ),
        "this machine and the server have no TLS version or cipher in common. Most often the server is old and knows "
        "TLS 1.0 and 1.1 only, which today's OpenSSL refuses: let the server be upgraded (tls_version there). Has "
        "somebody limited them here (ssl_cipher, tls_versions, the system's OpenSSL configuration)?",
    ),
)
"""The causes, the first that matches wins."""
