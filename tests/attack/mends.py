"""Mends that can be taken out, one at a time, to see that the attack finds what each of them mends.

``python -m tests.attack --without own-errors`` runs the theme that is about it, until it has found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import sqlalchemy_holdfast.drivers.subclass
from sqlalchemy_holdfast.drivers import mysqlconnector
from sqlalchemy_holdfast.pool.listeners import Listeners
from sqlalchemy_holdfast.pool.set_up import SetUp
from sqlalchemy_holdfast.server import statements
from sqlalchemy_holdfast.transactions import commits, units

__all__ = ["MENDS", "Mend"]


@dataclass(frozen=True)
class Mend:
    """One of them."""

    without: str
    """What happens without it."""
    theme: str
    rules: frozenset[str]
    """The rules of the ledger that are then broken; one of them is found."""
    places: tuple[tuple[object, str, Callable[..., Any]], ...]
    """Functions, and what was there before them."""
    driver: str = "pymysql"

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Do without it, for the length of a block."""
        with ExitStack() as stack:
            # The classes of held connections have copies of their methods.
            stack.enter_context(mock.patch.dict(sqlalchemy_holdfast.drivers.subclass._classes, clear=True))
            for place, name, before in self.places:
                stack.enter_context(mock.patch.object(place, name, before))
            yield


def _nothing(*arguments: Any, **options: Any) -> None:
    return None


def _no(*arguments: Any, **options: Any) -> bool:
    return False


def _yes(*arguments: Any, **options: Any) -> bool:
    return True


def _anywhere() -> tuple[object, ...]:
    return ()


def _at_a_glance(statement: Any, **options: Any) -> bool:
    return statements.is_plain_read(statement)


_LOST = frozenset({"lost", "locks left behind"})
_REFUSED = frozenset({"refused and there", "locks left behind", "transaction left open"})

MENDS: dict[str, Mend] = {
    "ended-transactions": Mend(
        "A connection goes back to the pool in the transaction whose COMMIT a listener has refused.",
        "refused-commit",
        _REFUSED,
        ((Listeners, "_end_what_was_left", _nothing),),
    ),
    "places": Mend(
        "A unit of work takes part in that of another thread, task or child whose context it has.",
        "joined-runs",
        _LOST,
        ((units, "here", _anywhere),),
    ),
    "own-errors": Mend(
        "What is unknown of an inner unit's COMMIT, or of another engine's, is begun again by the outer unit.",
        "published",
        frozenset({"doubled"}),
        ((units.Unit, "owns", _yes),),
    ),
    "certain-reads": Mend(
        "A SELECT that calls a function counts as a read, and the unit rolls back what that has written.",
        "hidden-writes",
        _LOST,
        ((sqlalchemy_holdfast.drivers.connection, "only_reads", _at_a_glance),),
    ),
    "judged-statements": Mend(
        "What commits by itself is not noticed, and the unit is begun again behind it.",
        "implicit-commits",
        frozenset({"begun again", "doubled"}),
        (
            (sqlalchemy_holdfast.drivers.connection, "may_commit", _no),
            (mysqlconnector, "may_commit", _no),
            (sqlalchemy_holdfast.drivers.HeldConnection, "_holdfast_judge", _nothing),
        ),
    ),
    "transactional-table": Mend(
        "A row in a table without transactions is taken for a COMMIT that was done.",
        "verify",
        frozenset({"lost"}),
        ((commits, "_untransactional_engine", lambda *arguments: ""),),
    ),
    "set-up": Mend(
        "A connection takes the place of one that the application has set up, as for a tenant.",
        "tenants",
        frozenset({"another tenant's row", "set-up lost"}),
        ((SetUp, "has_more_than", _no), (SetUp, "is_told_of_more_than", _no)),
    ),
    "unread-results": Mend(
        "A procedure's last reply is taken for the one to COMMIT.",
        "unread-results",
        frozenset({"lost", "wrong answer", "refused and there", "read too early", "not there yet"}),
        ((mysqlconnector.MySQLConnection, "_holdfast_finish_unread", _nothing),),
        driver="mysqlconnector",
    ),
}
