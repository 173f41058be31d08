"""``run`` and ``transactional``: a whole unit of work, begun again where that is safe.

The rule: a unit is begun again from its start if, and only if, it is proven that nothing of it was committed. That is
proven as long as COMMIT was not sent, and after the few errors with which a server refuses a COMMIT. When the
connection is lost between sending COMMIT and reading its reply, nobody on this side knows. Then holdfast asks the
server (:mod:`.commits`), or raises :class:`~sqlalchemy_holdfast.CommitOutcomeUnknown`.

It cannot be a context manager: Python runs the body of a ``with`` statement once.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar, overload

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, PendingRollbackError, StatementError, TimeoutError

from .. import drivers
from ..errors import (
    CheckoutTimeout,
    CommitOutcomeUnknown,
    HoldfastError,
    ServerAway,
    TooManyWaiting,
    raised_connecting,
)
from ..pool.status import find, reporter_of
from ..server.faults import judge, said
from ..server.reasons import Reason
from . import commits, lost_sessions
from .attempts import Attempt, Commit, Pace
from .commits import Answer
from .lazy import refuse_lazy_function, refuse_lazy_value
from .lost_sessions import LostSession
from .units import CoreUnit, Unit, current

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session, sessionmaker

__all__ = ["ATTEMPTS", "DEADLINE", "run", "transactional"]


R = TypeVar("R")
P = ParamSpec("P")
S = TypeVar("S", bound="Session")

ATTEMPTS = 10
"""How often a function is called at the most, unless it is said."""
DEADLINE = 30.0
"""For how long attempts are begun, in seconds, unless it is said."""
_ASK_AT_LEAST = 5.0
"""How long, in seconds, a server is asked about a COMMIT whose reply came to be missed after the deadline."""
_LARGE = 1_000_000
"""A statement of more bytes than this may be too large for the server, where its limit is not known."""
_END_WITHIN = 2.0
"""How long, in seconds, the session of a COMMIT of unknown outcome is waited for."""


@overload
def run(
    target: Engine,
    fn: Callable[[Connection], R],
    *,
    attempts: int = ...,
    deadline: float = ...,
    verify: bool = ...,
    on_retry: Callable[[Attempt], object] | None = ...,
) -> R: ...


@overload
def run(
    target: sessionmaker[S] | scoped_session[S],
    fn: Callable[[S], R],
    *,
    attempts: int = ...,
    deadline: float = ...,
    verify: bool = ...,
    on_retry: Callable[[Attempt], object] | None = ...,
) -> R: ...


def run(
    target: Any,
    fn: Callable[[Any], R],
    *,
    attempts: int = ATTEMPTS,
    deadline: float = DEADLINE,
    verify: bool = False,
    on_retry: Callable[[Attempt], object] | None = None,
) -> R:
    """Do a unit of work: begin, call a function, commit; and do it again from its start where that is safe.

    It is done again when the connection is lost before COMMIT was sent, after a deadlock, a lock timeout, on a server
    that became read-only or is not ready, and when there is no connection to be had. Any other error is raised at
    once, unchanged. What the function did besides the database is done again as well.

    Inside another ``run()`` on the same target in the same thread, the function takes part in that unit: the outer one
    commits and repeats.

    :param target: an :class:`~sqlalchemy.engine.Engine`, a :class:`~sqlalchemy.orm.sessionmaker` (each attempt gets a
        new session, which is closed at the end), or a :class:`~sqlalchemy.orm.scoped_session` (its current session,
        rolled back between attempts).
    :param fn: gets the :class:`~sqlalchemy.engine.Connection` or the :class:`~sqlalchemy.orm.Session`. It must not
        commit, and must not return what is to be read after the commit: a generator, a coroutine, an unread result.
    :param attempts: how often it is called at the most. Attempts that got no connection do not count, nor those whose
        server is read-only or not ready.
    :param deadline: seconds after which no attempt is begun. Nothing that is running is interrupted.
    :param verify: write a token into the table ``holdfast_commits`` with the unit, so that a COMMIT whose reply was
        lost can be asked for. One more round trip.
    :param on_retry: called with the :class:`~.transactions.Attempt` that failed, before the next one.
    :return: what the function returned in the attempt that was committed.
    :raises CommitOutcomeUnknown: when the connection was lost while COMMIT was under way, and the server was not asked
        or could not tell in time.
    :raises sqlalchemy.exc.InvalidRequestError: when the current session of a ``scoped_session`` has changes already,
        when the function commits, or when the connection is in AUTOCOMMIT.
    :raises TypeError: for another target, and for a function that returns what is to be read later.
    :raises ValueError: for limits out of their range.
    """
    refuse_lazy_function(fn)
    make = _unit_class(target)
    if attempts < 1:
        raise ValueError(f"attempts is {attempts}; it must be at least 1")
    longest = commits.LONGEST_DEADLINE
    if not deadline > 0 or (verify and deadline > longest):
        raise ValueError(
            f"deadline is {deadline}; it must be a number of seconds above 0, and with verify at most {longest:g}"
        )
    outer = current(target)
    if outer is not None:
        outer.verify = outer.verify or verify
        return refuse_lazy_value(fn(outer.subject), fn)
    value: R = _Run(target, make, fn, attempts, verify, on_retry, Pace(deadline)).until_done()
    return value


@overload
def transactional(
    target: Engine,
    *,
    attempts: int = ...,
    deadline: float = ...,
    verify: bool = ...,
    on_retry: Callable[[Attempt], object] | None = ...,
) -> Callable[[Callable[Concatenate[Connection, P], R]], Callable[P, R]]: ...


@overload
def transactional(
    target: sessionmaker[S] | scoped_session[S],
    *,
    attempts: int = ...,
    deadline: float = ...,
    verify: bool = ...,
    on_retry: Callable[[Attempt], object] | None = ...,
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[P, R]]: ...


def transactional(target: Any, **options: Any) -> Any:
    """Make each call of a function a unit of work of its own: :func:`run` as a decorator.

    The function gets the connection or the session as its first argument, before those that it is called with.

    :param target: as for :func:`run`.
    :param options: as for :func:`run`.
    :raises TypeError: for a generator function or a coroutine function, and for another target.
    """
    _unit_class(target)

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        refuse_lazy_function(function)

        @functools.wraps(function)
        def unit(*args: Any, **kwargs: Any) -> R:
            return run(target, lambda subject: function(subject, *args, **kwargs), **options)

        return unit

    return decorate


class _Run:
    """One call of :func:`run`."""

    def __init__(
        self,
        target: object,
        make: type[Unit],
        fn: Callable[[Any], Any],
        attempts: int,
        verify: bool,
        on_retry: Callable[[Attempt], object] | None,
        pace: Pace,
    ) -> None:
        self.target = target
        self.make = make
        self.fn = fn
        self.attempts = attempts
        self.verify = verify
        self.on_retry = on_retry
        self.pace = pace
        self.history: list[Attempt] = []
        self.counted = 0
        self.lost: list[tuple[Engine, LostSession]] = []

    def until_done(self) -> Any:
        """Do the unit, as often as it takes."""
        while True:
            started = self.pace.elapsed()
            unit = self.make(self.target, verify=self.verify)
            try:
                with unit.active():
                    self._end_lost_sessions()
                    unit.open()
                    value = refuse_lazy_value(self.fn(unit.subject), self.fn)
                    unit.commit()
            except Exception as error:
                commit = self._what_became_of_commit(unit)
                if commit is Commit.FOUND:
                    unit.keep()
                    unit.reporter.unit_committed()
                    return value
                reason = self._why_again(unit, error, commit)
                unit.discard()
                self._failed(unit, Attempt(len(self.history) + 1, started, self._since(started), error, reason, commit))
            except BaseException:
                unit.discard()
                raise
            else:
                unit.close()
                unit.reporter.unit_committed()
                return value

    def _since(self, started: float) -> float:
        return self.pace.elapsed() - started

    def _end_lost_sessions(self) -> None:
        """See to it that nobody holds the locks of an attempt whose connection was lost."""
        while self.lost:
            engine, session = self.lost[-1]
            try:
                lost_sessions.end(engine, session, self.pace)
            except TimeoutError:  # the pool has no connection to ask with
                pass
            except DBAPIError as error:
                if drivers.from_outside(error) is not None:
                    raise
                if error.orig is not None and judge(error.orig, connected=False).retry is not None:
                    raise
                reporter_of(engine).lost_session_not_asked(said(error))
            self.lost.pop()

    def _lost_sessions_are_over(self) -> bool:
        pace = self.pace.grace(_END_WITHIN)
        try:
            return bool(self.lost) and all(lost_sessions.end(engine, session, pace) for engine, session in self.lost)
        except (DBAPIError, TimeoutError) as error:
            if drivers.from_outside(error) is not None:
                raise
            return False

    # -- after a failure ---------------------------------------------------------------------------------------

    def _what_became_of_commit(self, unit: Unit) -> Commit:
        """Return one of :class:`Commit`."""
        state = unit.commit_state
        if state is not Commit.UNKNOWN or unit.token is None:
            return state
        unit.let_go()
        engine, session = unit.session_to_ask()
        answer = commits.ask(engine, unit.token, session, self.pace.grace(_ASK_AT_LEAST))
        if answer is Answer.UNKNOWN:
            return Commit.UNKNOWN
        reporter_of(engine).commit_decided(answer.value)
        return Commit.FOUND if answer is Answer.COMMITTED else Commit.NOT_DONE

    def _why_again(self, unit: Unit, error: BaseException, commit: Commit) -> Reason | None:
        if commit in (Commit.UNKNOWN, Commit.DONE) or not unit.repeatable:
            return None
        if commit is Commit.NOT_DONE:
            return Reason.LOST
        if isinstance(error, PendingRollbackError) and unit.broken_by is not None:
            error = unit.broken_by
        if not unit.owns(error):  # another connection's: what was done there is not known here
            return None
        if isinstance(error, ServerAway):  # it is there to say so at once
            return None
        if isinstance(error, CheckoutTimeout) and not isinstance(error, TooManyWaiting):
            return Reason.UNREACHABLE if error.account_full else None
        orig = getattr(error, "orig", None) or error
        if drivers.from_outside(orig) is not None:  # a time limit of the program's own, in a driver's words
            return None
        reason = judge(orig, connected=not unit.was_connecting(error)).retry
        return None if reason is Reason.LOST and self._was_too_large(unit) else reason

    def _was_too_large(self, unit: Unit) -> bool:
        """Say whether the server has closed the connection because it does not take packets of that size."""
        known = find(unit.engine) if unit.engine is not None else None
        if known is not None and known.limits is not None:
            return unit.largest_statement >= known.limits.max_allowed_packet
        lost_before = any(attempt.reason is Reason.LOST for attempt in self.history)
        return lost_before and unit.largest_statement > _LARGE

    def _failed(self, unit: Unit, attempt: Attempt) -> None:
        """Raise the error of an attempt, or return when it is time for another one."""
        self.history.append(attempt)
        if attempt.reason is None or attempt.reason.counts:
            self.counted += 1
        if attempt.commit is Commit.UNKNOWN:
            self._give_up_on_commit(unit, attempt)
        if attempt.reason is None or self.counted >= self.attempts or self.pace.left() <= 0:
            self._give_up(attempt)
        self.lost += unit.lost
        unit.reporter.unit_repeated(attempt.reason, attempt.without_values())
        if self.on_retry is not None:
            self.on_retry(attempt)
        if not self._pause(attempt):
            self._give_up(attempt)
        # A traceback would keep alive what the attempt's functions had in their variables.
        traceback.clear_frames(attempt.exception.__traceback__)

    def _pause(self, attempt: Attempt) -> bool:
        """Wait before the next attempt. Return false when there is to be none."""

        def pause() -> bool:
            return self.pace.pause(len(self.history))

        waiting = raised_connecting(attempt.exception)
        return pause() if waiting is None else waiting(pause)

    def _give_up(self, attempt: Attempt) -> NoReturn:
        error = attempt.exception
        if len(self.history) > 1 or attempt.reason is not None:
            _tell(error, self.history)
        raise error

    def _give_up_on_commit(self, unit: Unit, attempt: Attempt) -> NoReturn:
        token = unit.token.hex() if unit.token is not None else None
        unit.reporter.commit_unknown(token)
        self.lost = unit.lost
        over = self._lost_sessions_are_over()
        cause = attempt.exception
        error = CommitOutcomeUnknown(
            "The reply to COMMIT was lost: the transaction may or may not have been committed. "
            + (
                f"The server could not tell in time. It was committed if holdfast_commits has the row {token}."
                if token
                else "run(verify=True) would have asked the server."
            )
            + (
                " Its session on the server is over: what the database shows now is final."
                if over
                else " Its session on the server may not be over: what the database shows now may change."
            )
            + f" The driver said: {said(cause)}",
            getattr(cause, "orig", None) or cause,
            token=token,
        )
        _tell(error, self.history)
        raise error from cause


def _tell(error: Exception, history: list[Attempt]) -> None:
    """Give an error the history of all attempts."""
    error.holdfast_attempts = tuple(history)  # type: ignore[attr-defined]
    if isinstance(error, StatementError):
        ours = isinstance(error, HoldfastError)  # the driver's have the server's words anyway
        for attempt in history:
            error.add_detail(f"holdfast: {attempt.without_values() if ours else attempt}")


def _unit_class(target: object) -> type[Unit]:
    if isinstance(target, Engine):
        return CoreUnit
    from . import orm  # an application that uses Core alone does not load the ORM

    found = orm.unit_class(target)
    if found is None:
        raise TypeError(
            f"run() takes an Engine, a sessionmaker or a scoped_session, not {type(target).__name__}, because it must "
            "be able to begin again. (The asyncio variants are not supported.)"
        )
    return found
