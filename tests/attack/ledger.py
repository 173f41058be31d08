"""The truth: what each user was told about each number, and so what must be on the server in the end.

Nothing here looks at the server or at holdfast. A number is settled by what a user was told: done, refused, or neither.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast.server.faults import error_number

__all__ = ["Fate", "Ledger", "Told", "Tx", "told"]


class Fate(enum.Enum):
    """What must be on the server."""

    THERE = "there once"
    ABSENT = "not there"
    MAYBE = "there once or not"
    ANY = "any number of times"


class Told(enum.Enum):
    """What an error tells of the statement that raised it."""

    HERE = "raised on this side: nothing was sent"
    SERVER = "refused by the server: the statement was undone"
    UNDONE = "refused by the server: the transaction was undone"
    LOST = "the connection was lost"
    INTERRUPTED = "raised from outside"


class Refused(Exception):
    """What a listener of the application's raises."""


class Interrupt(Exception):
    """What comes from outside: a signal's handler, a time limit."""


class HardInterrupt(BaseException):
    """The same, and no Exception: as KeyboardInterrupt."""


class TimeLimit(TimeoutError):
    """The same, and an OSError: as many handlers of SIGALRM raise it."""


OUTSIDE = (Interrupt, HardInterrupt, TimeLimit)

_LOST_NUMBERS = frozenset({1053, 1927, 4031, 2006, 2013, 2026, 2055, 0})
_OUT_OF_TURN = frozenset({2014})


def told(error: BaseException, *, rollback_on_timeout: bool = False) -> Told:
    """Say what an error tells."""
    if isinstance(error, OUTSIDE) or isinstance(getattr(error, "orig", None), OUTSIDE):
        return Told.INTERRUPTED
    orig = error.orig if isinstance(error, DBAPIError) else error
    if orig is None or (orig is error and type(error).__module__.startswith(("sqlalchemy", "builtins", "tests"))):
        return Told.HERE
    number = error_number(orig)
    if number in _OUT_OF_TURN or "nread result" in str(orig):
        return Told.HERE
    if number == -1:  # mysql-connector's own
        return Told.LOST if "not available" in str(orig) else Told.HERE
    if getattr(error, "connection_invalidated", False) or number is None or number in _LOST_NUMBERS:
        return Told.LOST
    if 2000 <= number < 3000:
        return Told.LOST
    if number in (1213, 1020) or (number == 1205 and rollback_on_timeout):
        return Told.UNDONE
    return Told.SERVER


@dataclass
class Tx:
    """What one user knows of a transaction."""

    pending: list[int] = field(default_factory=list)
    """Written, and told so."""
    doubtful: list[int] = field(default_factory=list)
    """Perhaps written: an interrupt came in between."""
    limbo: list[int] = field(default_factory=list)
    """A commit() or rollback() raised before it was sent. Must not be there, unless the same user commits later."""
    marks: list[int] = field(default_factory=list)
    """Savepoints: how many were pending."""

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return not (self.pending or self.doubtful or self.limbo)


class Ledger:
    """Numbers, and what must have become of them."""

    def __init__(self) -> None:
        self.fates: dict[int, tuple[Fate, str]] = {}
        self.again: set[int] = set()
        """Done by others inside of a unit that was begun again: its function is called again, and does them again."""

    def settle(self, numbers: Iterable[int], fate: Fate, why: str) -> None:
        """Note what must have become of numbers."""
        for number in numbers:
            self.fates[number] = (fate, why)

    # -- a transaction's end -------------------------------------------------------------------------------------

    def committed(self, tx: Tx, why: str = "its commit was acknowledged") -> None:
        """COMMIT was acknowledged."""
        self.settle(tx.limbo + tx.doubtful, Fate.MAYBE, f"{why}, after an interrupt or an error of commit()")
        self.settle(tx.pending, Fate.THERE, why)
        self._clear(tx)

    def gone(self, tx: Tx, why: str) -> None:
        """The transaction has ended without a COMMIT."""
        self.settle(tx.limbo + tx.doubtful + tx.pending, Fate.ABSENT, why)
        self._clear(tx)

    def unknown(self, tx: Tx, why: str) -> None:
        """Nobody knows."""
        self.settle(tx.limbo + tx.doubtful + tx.pending, Fate.MAYBE, why)
        self._clear(tx)

    def not_ended(self, tx: Tx, why: str) -> None:
        """commit() or rollback() has raised, and nothing was sent: nobody may commit it, but the same user."""
        self.settle(tx.pending + tx.doubtful, Fate.ABSENT, why)
        tx.limbo += tx.pending + tx.doubtful
        tx.pending, tx.doubtful, tx.marks = [], [], []

    def _clear(self, tx: Tx) -> None:
        tx.pending, tx.doubtful, tx.limbo, tx.marks = [], [], [], []

    # -- statements ----------------------------------------------------------------------------------------------

    def wrote(self, tx: Tx, number: int, *, at_once: bool) -> None:
        """A write was acknowledged.

        :param at_once: it is committed by itself.
        """
        if at_once:
            self.settle([number], Fate.THERE, "its statement was acknowledged, and is committed by itself")
        else:
            self.settle([number], Fate.MAYBE, "its transaction has not ended")
            tx.pending.append(number)

    def failed(self, tx: Tx, number: int | None, what: Told, error: BaseException, *, at_once: bool) -> None:
        """A statement has raised.

        :param number: what it was to write.
        :param at_once: what it writes, or what came before it, is committed by itself.
        """
        why = f"its statement raised {type(error).__name__}: {what.value}"
        if number is not None:
            unsure = what is Told.INTERRUPTED or (what is Told.LOST and at_once)
            self.settle([number], Fate.MAYBE if unsure else Fate.ABSENT, why)
            if what is Told.INTERRUPTED and not at_once:
                tx.doubtful.append(number)
        if what in (Told.LOST, Told.UNDONE):
            self.gone(tx, f"{what.value} ({type(error).__name__})")

    def commit_failed(self, tx: Tx, what: Told, error: BaseException, *, sent: bool, refused: bool) -> None:
        """COMMIT, or the method that sends it, has raised.

        :param sent: it may have been sent.
        :param refused: the server's error says that it was not done.
        """
        why = f"commit() raised {type(error).__name__}: {what.value}"
        if what is Told.UNDONE:
            self.gone(tx, why)
        elif not sent or refused:
            self.gone(tx, why + ", COMMIT was not sent") if what is Told.LOST else self.not_ended(tx, why)
        elif what is Told.HERE:
            self.committed(tx, why + ", behind an acknowledged COMMIT")
        else:
            self.unknown(tx, why)

    # -- the end -------------------------------------------------------------------------------------------------

    def compare(self, rows: dict[int, int]) -> list[tuple[str, int, str]]:
        """Compare with what is on the server.

        :param rows: how often each number is there.
        :return: what is wrong (``lost``, ``doubled``, ``refused and there``), the number, and why.
        """
        wrong = []
        for number, (fate, why) in sorted(self.fates.items()):
            count = rows.get(number, 0)
            if fate is Fate.ANY:
                continue
            if count > 1 and number not in self.again:
                wrong.append(("doubled", number, f"there {count} times; {why}"))
            elif fate is Fate.THERE and count == 0:
                wrong.append(("lost", number, f"not there; {why}"))
            elif fate is Fate.ABSENT and count:
                wrong.append(("refused and there", number, f"there; {why}"))
        return wrong
