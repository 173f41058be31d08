"""Asks the server everything in one go: read-only, few statements, little time."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from .server_facts import ServerFacts

__all__ = ["LONGEST", "MOST", "ask"]

MOST = 25
"""How many statements are sent at most, those that SQLAlchemy sends on a new connection among them."""
LONGEST = 2.0
"""How many seconds the statements may take together."""


def ask(connection: Connection) -> tuple[ServerFacts, float | None]:
    """Ask the server, and return what it said and the shortest of three round trips, in seconds."""
    raise NotImplementedError
