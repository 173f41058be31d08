"""Certificates, as far as holdfast has to read them: when one ends, and which ones a file holds. Nothing is verified
here; that is the TLS library's work."""

from __future__ import annotations

import datetime
import ssl

__all__ = ["authorities", "ends"]

_UTC_TIME, _VERSION = 0x17, 0xA0


def ends(certificate: bytes) -> datetime.datetime | None:
    """Return when a certificate's time is over, in UTC, or ``None`` when that cannot be read.

    Python's ``getpeercert()`` tells it for a certificate that was verified, and only for that.

    :param certificate: in DER form (RFC 5280, section 4.1).
    """
    try:
        _, outer, _ = _element(certificate)
        _, inner, _ = _element(outer)
        tag, _, after_version = _element(inner)
        rest = after_version if tag == _VERSION else inner
        for _ in ("serial number", "signature", "issuer"):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, value, _ = _element(rest)
        text = value.decode("ascii")
        if tag == _UTC_TIME:  # two digits of the year: from 1950 to 2049
            text = ("19" if text[:2] >= "50" else "20") + text
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except (IndexError, ValueError):
        return None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split off the first element of some DER: its tag, its content, and what comes behind it."""
    tag, size, start = data[0], data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise ValueError("it is cut off")
    return tag, data[start : start + size], data[start + size :]


def authorities(path: str) -> frozenset[bytes]:
    """Return the certificates in a file, in DER form.

    :raises OSError: when it cannot be read (``ssl.SSLError`` is one), or holds no certificate in PEM form.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    return frozenset(context.get_ca_certs(binary_form=True))
