"""Whether an engine's connections have the TLS that was asked for: with ``holdfast_tls``, or in the driver's words."""

from __future__ import annotations

from .. import drivers
from .._pages import page
from ..drivers import ConnectionState
from ..errors import TLSError
from ..reporting import Reporter
from ..server.tls import SYSTEM, Policy, Verified
from ..settings import Settings

__all__ = ["EncryptionCheck"]


class EncryptionCheck:
    """What one engine asks of its new connections.

    With ``holdfast_tls`` a connection that has less is closed before it is used. Without it nothing is closed: the
    drivers take their own words for TLS more lightly than the one who has written them, and that is said once.
    """

    def __init__(self, settings: Settings, reporter: Reporter) -> None:
        ca = settings.tls_ca or (SYSTEM if settings.tls == "verify-identity" else None)
        self.policy = Policy(reporter.where, settings.tls, ca)
        self._reporter = reporter

    def check(self, connection: object, state: ConnectionState) -> None:
        """Look at a new connection that is held by now. Nothing is sent.

        :raises TLSError: when it is not what ``holdfast_tls`` asks for; it is closed then.
        """
        drivers.check_encryption(drivers.held_connection(connection))
        policy, seen = self.policy, state.encryption
        if policy.mode is not None or policy.warned or not policy.drivers_words:
            return
        unverified = policy.drivers_words_verify and seen.verified is Verified.NOTHING
        if not seen.version or unverified:
            policy.warned = True
            self._reporter.tls_not_as_asked(", ".join(policy.drivers_words), in_clear=not seen.version)

    def refuse_stranger(self, name: str) -> None:
        """Refuse a connection of a driver that holdfast does not know, where TLS was asked for.

        :param name: the dotted name of its class.
        :raises TLSError: when it was.
        """
        policy = self.policy
        if policy.mode is not None:
            raise TLSError(
                f"{policy.where}: a connection of class {name} was not used. It is of no driver that holdfast knows, "
                f"and holdfast cannot tell whether it is what holdfast_tls={policy.mode} asks for. Use a driver that "
                f"holdfast knows, or remove holdfast_tls and ask that driver for TLS. {page('tls')}".rstrip()
            )
