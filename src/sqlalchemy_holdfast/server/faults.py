"""What a driver's error means: decided once an error, by one table (:mod:`~.error_table`).

:func:`judge` answers every question that is asked of an error. Is the connection lost? May the pool keep it, and the
others? Is it worth trying to connect again? Was the transaction rolled back? Is it certain that a COMMIT was not done?
May the unit of work be begun again? The pool's listeners, the replay of a first statement, ``run()`` and connecting
all ask here. (What there is to do about it, while connecting: :mod:`~.hints`.)

The table holds every error that a lost connection was seen to raise, the ones that SQLAlchemy's dialects do not
recognise among them. Pure data and pure functions: no driver is imported here. An error is judged by its number, its
class's name and its text.

Real servers and drivers have produced each row that has an effect; ``tests/server/error_cases.py`` has a case for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, StatementError

from .error_table import RULES, Effect, ErrorRule, Refusal
from .reasons import Reason

__all__ = [
    "ACCESS_DENIED",
    "CANNOT_CONVERT",
    "INACTIVE",
    "LOCK_WAIT_TIMEOUT",
    "NOT_OWNER",
    "NO_SUCH_SAVEPOINT",
    "NO_SUCH_TABLE",
    "NO_SUCH_THREAD",
    "OUT_OF_SYNC",
    "UNKNOWN_ERROR",
    "Verdict",
    "error_number",
    "is_the_clients",
    "is_the_servers",
    "judge",
    "said",
]

OUT_OF_SYNC = 2014
"""CR_COMMANDS_OUT_OF_SYNC"""
UNKNOWN_ERROR = 2000
"""CR_UNKNOWN_ERROR: neither SQLAlchemy nor holdfast takes it for a lost connection."""
ACCESS_DENIED = 1045
"""ER_ACCESS_DENIED_ERROR: the server refused the account or its password."""
NO_SUCH_THREAD = 1094
"""ER_NO_SUCH_THREAD: what KILL says of a session that is over."""
NOT_OWNER = 1095
"""ER_KILL_DENIED_ERROR: what KILL says of another account's session."""
NO_SUCH_TABLE = 1146
"""ER_NO_SUCH_TABLE"""
LOCK_WAIT_TIMEOUT = 1205
"""ER_LOCK_WAIT_TIMEOUT"""
NO_SUCH_SAVEPOINT = 1305
"""ER_SP_DOES_NOT_EXIST: what ROLLBACK TO says of a savepoint that is not there."""
INACTIVE = 4031
"""ER_CLIENT_INTERACTION_TIMEOUT, MySQL: the connection was idle for longer than wait_timeout."""
CANNOT_CONVERT = 3854
"""ER_CANNOT_CONVERT_STRING, MySQL: a name has a character that the other character set lacks."""


@dataclass(frozen=True)
class Verdict:
    """What one error means."""

    rule: ErrorRule | None
    """The row of the table; ``None`` for an error that says nothing about the connection or the transaction."""
    connected: bool
    """Whether it was raised on a connection, and not while connecting."""

    @property
    def meaning(self) -> str:
        """What happened, in words for a log line; empty when nothing is known."""
        return self.rule.meaning if self.rule is not None else ""

    @property
    def effect(self) -> Effect | None:
        """What to do with the connection."""
        return self.rule.effect if self.rule is not None else None

    @property
    def lost(self) -> bool:
        """The connection is gone."""
        return self.effect is Effect.LOST

    @property
    def others_too(self) -> bool:
        """The effect says something of the pool's other connections."""
        return self.rule is not None and self.rule.others_too

    @property
    def refusal(self) -> Refusal | None:
        """Why another try to connect may help."""
        return self.rule.refusal if self.rule is not None else None

    @property
    def proves_connecting(self) -> bool:
        """The error alone proves that there was no connection yet, so that nothing was sent."""
        return self.rule is not None and self.rule.proves_connecting

    @property
    def retry(self) -> Reason | None:
        """Why the unit of work may be begun again, or ``None``.

        Whether it may is only half the question: a COMMIT that may have been done is another one, which is not asked
        here.
        """
        if self.rule is None:
            return None
        if not self.connected and (self.rule.refusal is not None or self.lost):
            return Reason.UNREACHABLE
        return self.rule.retry or (Reason.UNREACHABLE if self.rule.refusal is not None else None)

    @property
    def rolled_back(self) -> bool:
        """The server has rolled back the whole transaction."""
        return self.rule is not None and self.rule.rolls_back

    @property
    def may_have_rolled_back(self) -> bool:
        """It has, if it was started with ``innodb_rollback_on_timeout``."""
        return self.rule is not None and self.rule.may_roll_back

    @property
    def refuses_commit(self) -> bool:
        """In reply to COMMIT, it proves that nothing was committed."""
        return self.rule is not None and self.rule.refuses_commit


def judge(error: BaseException, *, connected: bool = True) -> Verdict:
    """Say what a driver's error means.

    :param error: the exception as the driver raised it.
    :param connected: false when it was raised while connecting.
    """
    number, text = error_number(error), _text_of(error)
    names = frozenset(cls.__name__ for cls in type(error).__mro__)
    rule = next((rule for rule in RULES if rule.matches(number, text, names, connected=connected)), None)
    return Verdict(rule, connected)


def _text_of(error: BaseException) -> str:
    try:
        return str(error).lower()
    except Exception:  # an application's own class may not be able to say what it is
        return ""


def is_the_servers(number: object) -> bool:
    """Say whether an error number comes from the server (in a reply) and not from the client library.

    Client errors have the numbers 2000 to 2999 (errmsg.h); 0 and -1 are drivers' own.
    """
    return isinstance(number, int) and number > 0 and not 2000 <= number < 3000


def is_the_clients(number: object) -> bool:
    """Say whether an error number comes from the client library: no answer has come."""
    return isinstance(number, int) and 2000 <= number < 3000


def error_number(error: BaseException) -> int | None:
    """Return the MySQL error number that an exception carries, as ``errno`` or as its first argument."""
    for candidate in _number_candidates(error):
        if isinstance(candidate, int):
            return candidate
    return None


def said(error: BaseException) -> str:
    """Return what an error says, as far as a log or an error of ours may repeat it.

    A server's text may have a value of the statement in it (1062, 1366, what SIGNAL was given), and SQLAlchemy adds the
    statement and its parameters. So an error of SQLAlchemy's is its driver's error here, and a server's error is its
    class and its number. What a client library says (2000 to 2999) is given in full.
    """
    if isinstance(error, StatementError):
        if not isinstance(error, DBAPIError) or error.orig is None:
            return type(error.orig or error).__name__  # a value that could not be sent
        error = error.orig
    number = error_number(error)
    if is_the_servers(number):
        return f"{type(error).__name__} {number}"
    return str(error)


def _number_candidates(error: BaseException) -> Iterator[object]:
    yield getattr(error, "errno", None)
    yield from error.args[:1]
