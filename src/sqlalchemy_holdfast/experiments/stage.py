"""What an experiment works on: the server, the drivers, and somebody who says what is going on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy_holdfast.lab import Server

__all__ = ["IDLE_LIMIT", "PAUSE", "Stage"]

IDLE_LIMIT = 2
"""The server's ``wait_timeout``, in seconds."""
PAUSE = 3.5
"""Seconds between two requests of a site that has few visitors: longer than the server waits."""


def _silent(words: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Stage:
    """What an experiment is given."""

    server: Server
    """Runs, with :data:`IDLE_LIMIT` unless it was lifted. An experiment may stop it, and has to leave it running."""
    drivers: tuple[str, ...]
    quick: bool = False
    """Fewer rounds."""
    say: Callable[[str], None] = _silent
    """Told, in a few words, what is being done."""

    def let_connections_idle(self) -> None:
        """Lift the idle limit, for what is about something else: a busy machine may stop for two seconds."""
        self.server.execute("SET GLOBAL wait_timeout = DEFAULT")

    def rounds(self, full: int, quick: int) -> int:
        """Return the number of rounds to play."""
        return quick if self.quick else full
