"""What stock SQLAlchemy and the drivers do wrong themselves: no difference counts where the held side is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .fuzz import Finding
from .grammar import STATEMENTS
from .script import Script, walk

__all__ = ["KNOWN", "LIMITS", "limit_of", "reason_of"]


@dataclass(frozen=True)
class Known:
    """One fault of stock's."""

    reason: str
    rules: tuple[str, ...]
    applies: Callable[[frozenset[str], str], bool]
    """Told what is in the sequence (names of steps, families of statements) and the driver's name."""


_WRONG = ("lost", "refused and there", "doubled", "commit not done")
_LEFT = ("locks left behind", "transaction left open", "locks kept")
_SEVERAL = frozenset({"call", "callproc", "hidden_write", "lock", "read", "write", "commit", "rollback"})

KNOWN: tuple[Known, ...] = (
    Known(
        "a listener that raises: SQLAlchemy says that the transaction is over, and returns the connection in the "
        "middle of it; the next visitor's COMMIT commits it",
        (*_WRONG, *_LEFT),
        lambda names, driver: "listen" in names,
    ),
    Known(
        "mysql-connector leaves what follows the first result of a statement unread: the next command reads it",
        (*_WRONG, *_LEFT, "wrong answer", "session lost"),
        lambda names, driver: driver == "mysqlconnector" and not _SEVERAL.isdisjoint(names),
    ),
    Known(
        "the server undoes the whole transaction with the error that the function has caught, and the reference "
        "commits what came after it",
        ("lost",),
        lambda names, driver: "try" in names and not names.isdisjoint({"deadlock", "lock_row", "kill"}),
    ),
)


LIMITS: tuple[Known, ...] = (
    Known(
        "docs/limits.md: the row locks of a SELECT that calls a function are released a moment after rollback()",
        ("locks kept",),
        lambda names, driver: not names.isdisjoint({"lock_function", "lock_view"}),
    ),
    Known(
        "docs/replay.md: a view that calls a function that writes cannot be told from one that does not",
        ("lost", "doubled", "begun again"),
        lambda names, driver: "note_view" in names,
    ),
    Known(
        "docs/limits.md: SQLAlchemy itself logs what is raised while it returns a connection, and goes on",
        ("interrupt swallowed",),
        lambda names, driver: "close" in names,
    ),
)
"""What holdfast says that it does not promise. ``--strict`` counts it all the same."""


def limit_of(finding: Finding, steps: Script) -> str | None:
    """Return the limit that a finding on the held side is one of."""
    names = frozenset(step.args[0] if step.name == "do" else step.name for step in walk(steps))
    return next((k.reason for k in LIMITS if finding.rule in k.rules and k.applies(names, "")), None)


def reason_of(finding: Finding, steps: Script, driver: str) -> str | None:
    """Return why stock may do this, or ``None`` when nobody knows."""
    names = frozenset(STATEMENTS[s.args[0]].family if s.name == "do" else s.name for s in walk(steps))
    for known in KNOWN:
        if finding.rule in known.rules and known.applies(names, driver):
            return known.reason
    return None
