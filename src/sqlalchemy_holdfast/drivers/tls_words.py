"""TLS in the drivers' own words: which of their arguments ask for it, and which contradict ``holdfast_tls``.

The drivers have most of these words in common. What one word means differs from driver to driver, which is what
``holdfast_tls`` is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..server.tls import Policy

__all__ = ["conflicting", "note", "without"]

_VERIFYING = ("ssl_ca", "ssl_capath", "ssl_verify_cert", "ssl_verify_identity")
_OTHERS = ("ssl", "ssl_cert", "ssl_key", "ssl_mode", "tls_versions")
_WEAK_MODES = ("DISABLED", "PREFERRED")


def note(policy: Policy, arguments: Mapping[str, Any]) -> None:
    """Note with which of a driver's arguments TLS is asked for, and whether they ask for a verified certificate."""
    policy.drivers_words, policy.drivers_words_verify = _asking(arguments)


def _asking(arguments: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    if arguments.get("ssl_disabled"):
        return (), False
    words = [name for name in (*_VERIFYING, *_OTHERS) if arguments.get(name)]
    mode = str(arguments.get("ssl_mode") or "").upper()
    if mode in _WEAK_MODES:
        words.remove("ssl_mode")
    inner = arguments.get("ssl")
    verify = any(name in words for name in _VERIFYING) or mode.startswith("VERIFY")
    if isinstance(inner, Mapping) and (inner.get("ca") or inner.get("capath")):
        verify = True
        words[words.index("ssl")] = "ssl_ca"  # how it is written in a URL
    return tuple(dict.fromkeys(words)), verify


_SAME_SUBJECT = (*_VERIFYING, "ssl_mode", "ssl_disabled", "ssl_check_hostname")
_OWN_CERTIFICATE = {"cert", "key", "cipher", "password", "key_password"}


def conflicting(mode: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return which of a driver's arguments say once more, or otherwise, what ``holdfast_tls`` says.

    A client's own certificate and the choice of ciphers and versions do not, unless TLS is off.
    """
    found = [name for name in _SAME_SUBJECT if name in arguments]
    inner = arguments.get("ssl")
    if inner is not None and not (isinstance(inner, Mapping) and set(inner) <= _OWN_CERTIFICATE):
        found.append("ssl")
    if mode == "off":
        found += [name for name in arguments if name.startswith(("ssl", "tls_")) and name not in found]
        found = [name for name in found if name != "ssl_disabled"]
    return found


def without(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take out of a driver's arguments what says how TLS is done.

    :return: the other arguments, and the client's own certificate, key and cipher as an ``ssl`` dictionary has them.
    """
    inner = arguments.get("ssl")
    own = {key: value for key, value in inner.items() if key in _OWN_CERTIFICATE} if isinstance(inner, Mapping) else {}
    return {name: value for name, value in arguments.items() if name not in (*_SAME_SUBJECT, "ssl")}, own
