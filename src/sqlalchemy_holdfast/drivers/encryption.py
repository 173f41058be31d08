"""The check of a new connection: has it what ``holdfast_tls`` asks for? Once for each handshake, and nothing is sent.

What a driver was asked for is not what a connection has. The drivers have three meanings for one word, and a
``creator=``, a ``pool=`` or a ``do_connect`` listener asks for what it likes.
"""

from __future__ import annotations

import functools

from .._pages import page
from ..counters import Cause
from ..errors import TLSError
from ..server import certificates
from ..server.tls import SYSTEM, Verified, objection
from .connection import HeldConnection
from .python_tls import file_version

__all__ = ["check_encryption"]


def check_encryption(connection: HeldConnection) -> None:
    """Look at what a connection has, remember it, and end it when it is not what was asked for.

    :raises TLSError: then. The connection is of no use by then; the server has seen the login, and no statement of the
        application's.
    """
    state = connection._holdfast
    policy = state.tls
    state.encryption = seen = connection._holdfast_encryption()
    if policy is None or policy.mode is None:
        return
    by_that_ca: bool | None = True
    if policy.ca not in (None, SYSTEM) and seen.verified not in (None, Verified.NOTHING):
        assert policy.ca is not None
        by_that_ca = connection._holdfast_signed_by(policy.ca, _authorities(policy.ca, file_version(policy.ca)))
    reason = objection(policy, seen, by_that_ca=by_that_ca)
    if reason:
        state.give_up(Cause.CLOSED)
        raise TLSError(f"{policy.where}: the connection was closed before it was used. {reason} {page('tls')}".rstrip())


@functools.lru_cache(maxsize=8)
def _authorities(path: str, version: object) -> frozenset[bytes]:
    """Read a file of certificates, once for each state of it."""
    return certificates.authorities(path)
