"""``holdfast.run``, and on the other side the reference: begin, call, commit, and nothing again.

What a unit's user is told: it returned, so all that its function wrote in the attempt that counted is there; it raised
before COMMIT was sent, so nothing is there but what committed itself; CommitOutcomeUnknown, so either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import scoped_session

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.server.faults import judge

from .hands import ConnectionHand, Hand, SessionHand
from .ledger import OUTSIDE, Fate, Told, Tx, told
from .registry import Skip, action
from .script import Step, walk
from .side import Side

__all__ = ["Unit"]

ATTEMPTS = 4
DEADLINE = 5.0
_OWN_COMMIT = "run() commits the unit of work when its function returns"


class Unit:
    """One call of ``run()`` that is a unit of its own."""

    def __init__(self, side: Side, step: Step, *, plain: bool = False) -> None:
        self.side = side
        self.step = step
        self.plain = plain
        """It is no ``run()``: what is inside may commit, and nobody says CommitOutcomeUnknown."""
        self.hand: Hand | None = None
        self.subject: Any = None
        self.attempts = 0
        self.claims: list[int] = []
        """What its function was told to be written, in this attempt: all of it or nothing must be there."""
        self.kept: set[int] = set()
        """What is settled apart from it: a statement has committed it, or may have."""
        self.over = False
        """Its function has returned."""
        self.acknowledged = False
        self.refused = False
        self.since = 0
        self.gives: Callable[[], Any] | None = None
        self.then: list[Callable[[], None]] = []
        """What is to come behind the commit of a publisher."""

    def begin(self, subject: Any) -> None:
        """Begin an attempt."""
        side, ledger = self.side, self.side.ledger
        if self.hand is not None:
            done = [number for number in self.kept if ledger.fates[number][0] is Fate.THERE]
            if done:
                side.violate("begun again", f"a unit, though {done} had been committed by themselves")
            ledger.again |= self._others()
            self.settle(Fate.ABSENT, "it was begun again")
        self.attempts += 1
        self.over = self.acknowledged = False
        self.claims, self.gives, self.then = [], None, []
        self.subject = subject
        row = side.row_of(Step("run"))
        self.hand = ConnectionHand(subject, row) if isinstance(subject, Connection) else SessionHand(subject, row)
        self.hand.unit = self
        if isinstance(self.hand, SessionHand):
            self.hand.session.info.setdefault("after_commit", []).insert(0, self._after_commit)
        if self.step.args[:1] == ("scoped",):
            for hand in side.hands.values():
                if isinstance(hand, SessionHand) and hand.registry is not None and not hand.tx.empty:
                    # Written before: the unit goes on in that transaction, or it must have been refused.
                    self.claims += hand.tx.pending
                    hand.tx = Tx()
        if self.attempts > 1:
            ledger.settle(self.claims, Fate.MAYBE, "in a unit that was begun again")

    def _others(self) -> set[int]:
        """Return what was told to be done by others inside of it, in a unit on another target or without one."""
        numbers = {number + more for step in walk(self.step.body) for number in [step.number] for more in (0, 1)}
        fates = self.side.ledger.fates
        done = {number for number in numbers if number in fates and fates[number][0] is Fate.THERE}
        return done - self.kept - set(self.claims)

    def do(self) -> Any:
        """Be the function."""
        side = self.side
        flow = side.flow()
        flow.append(self)
        depth = len(flow)
        try:
            side.run_body(self.step.body)
            value = self.gives() if self.gives is not None else (self.step.number, self.attempts)
        finally:
            del flow[depth - 1 :]
        self.over = True
        self.since = side.sent()
        return value

    def commit_inside(self) -> None:
        """The function commits, which it must not."""
        hand = self.hand
        assert hand is not None
        # A session that has sent nothing has nothing to commit.
        if not self.side.held and hand.present() is not None:
            self.refused = True
            raise InvalidRequestError(_OWN_COMMIT)
        try:
            hand.commit()
        except InvalidRequestError:
            self.refused = True
            raise
        self.side.keeps(hand)
        self.side.ledger.committed(hand.tx)

    def done(self, value: Any) -> None:
        """``run()`` has returned."""
        side = self.side
        self.settle(Fate.THERE, "its unit of work was told to be done")
        if self.refused:
            side.violate("refusal forgotten", "a unit whose function has called commit() was told to be done")
        if self.gives is not None and side.held:
            side.violate("read later", f"a unit has returned {type(value).__name__}, which is read after its commit")
        elif self.gives is None and not self.plain and value != (self.step.number, self.attempts):
            side.violate("wrong answer", f"run() returned {value}, and attempt {self.attempts} was the last")

    def failed(self, error: BaseException) -> None:
        """``run()`` has raised."""
        if self.hand is None:
            return
        name = type(error).__name__
        if not self.over:
            self.settle(Fate.ABSENT, f"its unit of work raised {name} before its COMMIT")
        elif self.acknowledged:
            self.settle(Fate.THERE, f"its unit of work raised {name} behind its commit()")
        elif isinstance(error, holdfast.CommitOutcomeUnknown):
            self.settle(Fate.MAYBE, "its unit of work raised CommitOutcomeUnknown")
        else:
            self.settle(self._for_its_commit(error), f"its unit of work raised {name} for its COMMIT")

    def _for_its_commit(self, error: BaseException) -> Fate:
        side, what = self.side, told(error)
        if self.step.args[:1] == ("twophase",):
            return Fate.MAYBE
        if not side.has_sent_commit(self.since):
            return Fate.ABSENT
        if isinstance(error, OUTSIDE) or what is Told.INTERRUPTED:
            return Fate.MAYBE
        if what is Told.HERE:
            return Fate.THERE
        if judge(getattr(error, "orig", None) or error).refuses_commit:
            return Fate.ABSENT
        # holdfast says CommitOutcomeUnknown where nobody knows: another error says that it was not done.
        return Fate.ABSENT if side.held and not self.plain else Fate.MAYBE

    def _after_commit(self, session: Any) -> None:
        self.acknowledged = self.over

    def settle(self, fate: Fate, why: str) -> None:
        """Note what must have become of all that is not settled apart."""
        assert self.hand is not None
        tx = self.hand.tx
        doubtful = [*tx.doubtful, *tx.limbo]
        numbers = dict.fromkeys([*self.claims, *tx.pending])
        self.side.ledger.settle((n for n in numbers if n not in self.kept), fate, why)
        self.side.ledger.settle(doubtful, fate if fate is Fate.ABSENT else Fate.MAYBE, f"{why}, after an interrupt")
        self.hand.tx = Tx()


@action
def run(side: Side, step: Step) -> Any:
    """A unit of work on a target: engine, other, maker, other_maker, publisher, twophase, scoped."""
    target = side.targets[step.args[0]]
    unit = Unit(side, step)

    def function(subject: Any) -> Any:
        with side.own_work():
            return work(subject)

    def work(subject: Any) -> Any:
        flow = side.flow()
        outer = next((u for u in reversed(flow) if u.subject is subject and not u.over), None)
        if outer is None:
            unit.begin(subject)
            return unit.do()
        flow.append(outer)
        depth = len(flow)
        try:
            side.run_body(step.body)
        finally:
            del flow[depth - 1 :]
        return step.number

    try:
        with side.interruptible():
            if side.held:
                value = _held(side, step, target, function)
            else:
                value = _reference(side, unit, target, function)
    except BaseException as error:
        if told(error) in (Told.LOST, Told.INTERRUPTED):
            side.faults.broken = True
        unit.failed(error)
        raise
    if unit.hand is not None:
        unit.done(value)
    return step.number


@action
def block(side: Side, step: Step) -> None:
    """Do something in ``with engine.begin()``, or a sessionmaker's, with and without holdfast."""
    target = side.targets[step.args[0]]
    unit = Unit(side, step, plain=True)
    try:
        with side.interruptible(), target.begin() as subject, side.own_work():
            unit.begin(target() if isinstance(target, scoped_session) else subject)
            unit.do()
    except BaseException as error:
        unit.failed(error)
        raise
    unit.done(None)


def _held(side: Side, step: Step, target: Any, function: Callable[[Any], Any]) -> Any:
    options: dict[str, Any] = {"attempts": ATTEMPTS, "deadline": DEADLINE, "verify": step.has("verify")}

    def on_retry(attempt: object) -> None:
        side.relent()

    if step.has("decorated"):
        transactional: Any = holdfast.transactional
        return transactional(target, on_retry=on_retry, **options)(function)()
    return holdfast.run(target, function, on_retry=on_retry, **options)


def _reference(side: Side, own: Unit, target: Any, function: Callable[[Any], Any]) -> Any:
    """Begin, call, commit: what a unit of work is without any repetition."""
    for unit in reversed(side.flow()):
        if not unit.plain and side.targets[unit.step.args[0]] is target and not unit.over:
            return function(unit.subject)

    def noting(subject: Any) -> Any:
        value = function(subject)
        if own.refused:
            raise InvalidRequestError(_OWN_COMMIT)
        return value

    if isinstance(target, Engine):
        with target.connect() as connection, connection.begin():
            _refuse_autocommit(side, ConnectionHand(connection, 0))
            return noting(connection)
    if isinstance(target, scoped_session):
        session = target()
        if any(h.session is session and not h.tx.empty for h in side.hands.values() if isinstance(h, SessionHand)):
            raise InvalidRequestError("the current session is in a transaction that may have changed something")
        session.rollback()
    else:
        session = target()

    def refuse(session: Any, transaction: Any, connection: Connection) -> None:
        _refuse_autocommit(side, ConnectionHand(connection, 0))

    event.listen(session, "after_begin", refuse)
    try:
        if not session.in_transaction():
            session.begin()
        value = noting(session)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        event.remove(session, "after_begin", refuse)
        if not isinstance(target, scoped_session):
            session.close()
    return value


def _refuse_autocommit(side: Side, hand: Hand) -> None:
    if side.mode(hand).autocommit:
        raise InvalidRequestError("run() needs transactions, and this connection is in AUTOCOMMIT")


# -- what a function may return -------------------------------------------------------------------------------------


@action
def give(side: Side, step: Step) -> None:
    """Have the function return something that is to be read later."""
    hand = side.hand(step)
    unit, kind = side.unit_of(hand), step.args[0]
    if unit is None:
        raise Skip
    source: Any = unit.subject

    def result() -> Any:
        from sqlalchemy import text

        return source.execute(text("SELECT n FROM numbers WHERE n < 4"))

    makers: dict[str, Callable[[], Any]] = {
        "result": result,
        "scalars": lambda: result().scalars(),
        "mappings": lambda: result().mappings(),
        "list": lambda: [result()],
        "tuple": lambda: (1, result()),
        "dict": lambda: {"rows": result().scalars()},
        "generator": lambda: (row for row in result()),
        "generators": lambda: [(row for row in result())],
        "iterator": lambda: iter(result()),
        "map": lambda: map(str, result()),
        "zip": lambda: zip(result(), range(2), strict=False),
        "partitions": lambda: result().partitions(2),
    }
    unit.gives = makers[kind]


# -- behind the commit ----------------------------------------------------------------------------------------------


def _behind(side: Side, step: Step, unit: Unit | None = None) -> Callable[..., None]:
    """Return a function that does the body of a step, behind a commit."""

    def block(*args: Any) -> None:
        if unit is not None and not unit.over:
            return  # it ends because its function has rolled back
        with side.own_work():
            side.run_body(step.body)

    return block


@action
def after_commit(side: Side, step: Step) -> None:
    """Do something in a listener to the session's ``after_commit``."""
    hand = side.hand(step)
    if not isinstance(hand, SessionHand):
        raise Skip
    hand.session.info.setdefault("after_commit", []).append(_behind(side, step))


@action
def after_end(side: Side, step: Step) -> None:
    """Do something in a listener to the end of the session's transaction."""
    hand = side.hand(step)
    if not isinstance(hand, SessionHand):
        raise Skip
    hand.session.info.setdefault("after_end", []).append(_behind(side, step, hand.unit))


@action
def publish(side: Side, step: Step) -> None:
    """Do something at the end of the session's own ``commit()``, as classes with an outbox do."""
    hand = side.hand(step)
    if not isinstance(hand, SessionHand):
        raise Skip
    side.after_publish[id(hand.session)] = _behind(side, step)
