"""How users end what they have begun, and what they are told of it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy_holdfast.server.faults import judge

from .actions import lost_something
from .hands import ConnectionHand, Hand, RawHand, SessionHand
from .ledger import Fate, Told, told
from .registry import Skip, action
from .script import Step
from .side import Side

__all__ = ["LATE_SECONDS"]

LATE_SECONDS = 0.012
"""How much later everything arrives, each way, while a step is done ``late``."""


@action
def commit(side: Side, step: Step) -> None:
    hand = side.hand(step)
    unit = side.unit_of(hand)
    if unit is not None and not unit.plain and not _is_drivers(step):
        unit.commit_inside()
        return
    connection = hand.connection if isinstance(hand, ConnectionHand) else None
    if connection is not None and not connection.in_transaction() and not _is_drivers(step):
        hand.commit()  # SQLAlchemy sends nothing: what a cursor of the driver's has written stays as it is
        return
    since, seen = side.sent(), list(hand.tx.pending)
    if step.has("late"):
        side.proxy.delay = LATE_SECONDS
    try:
        with side.interruptible():
            if step.has("proxied"):
                hand.pooled().commit()
            elif step.has("driver"):
                hand.pooled().driver_connection.commit()
            else:
                hand.commit()
    except BaseException as error:
        if isinstance(error, Skip):
            raise
        what = told(error, rollback_on_timeout=False)
        if what in (Told.LOST, Told.INTERRUPTED):
            side.faults.broken = True
        orig = getattr(error, "orig", None) or error
        side.keeps(hand)
        sent = side.has_sent_commit(since)
        side.ledger.commit_failed(hand.tx, what, error, sent=sent, refused=judge(orig).refuses_commit)
        hand.locked = False
        raise
    else:
        if hand.inherited:
            side.violate("half committed", "a child's commit() of the parent's transaction was acknowledged")
        side.keeps(hand)
        side.ledger.committed(hand.tx)
        if step.has("late") and seen:
            _check_visible(side, seen)
        hand.locked = False
        if isinstance(hand, SessionHand):
            hand.kept = None
    finally:
        side.proxy.delay = 0.002 if "delay" in side.env else 0.0


def _is_drivers(step: Step) -> bool:
    """Say whether it is done with the driver's own method, or the pool's proxy of it."""
    return step.has("driver") or step.has("proxied")


def _check_visible(side: Side, numbers: list[int]) -> None:
    rows = side.lab.rows(side.name)
    missing = [number for number in numbers if side.ledger.fates[number][0] is Fate.THERE and number not in rows]
    if missing:
        side.violate("commit not done", f"commit() has returned, and {missing} are not there yet")


@action
def rollback(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if isinstance(hand, ConnectionHand) and not hand.connection.in_transaction() and not step.has("proxied"):
        hand.rollback()
        return
    _end(side, hand, step, hand.rollback if not step.has("proxied") else lambda: hand.pooled().rollback())
    if isinstance(hand, SessionHand):
        hand.kept = None


@action
def close(side: Side, step: Step) -> None:
    if not step.who:
        raise Skip
    hand = side.hand(step)
    del side.hands[step.who]
    number = hand.id()
    # What SQLAlchemy knows no transaction of is left to the pool.
    connection = hand.sqlalchemy()
    outside = connection is None or connection.closed or not connection.in_transaction()
    side.used_raw = side.used_raw or outside
    if outside and "resetcommit" in side.env and not hand.tx.empty:
        try:
            hand.close()
        except BaseException as error:
            side.ledger.unknown(hand.tx, f"close(), which commits, raised {type(error).__name__}")
            raise
        side.ledger.unknown(hand.tx, "it was returned to a pool that commits")
    elif outside and "noreset" in side.env and not hand.tx.empty:
        side.ledger.unknown(hand.tx, "it was returned to a pool that does nothing")
        hand.close()
    else:
        try:
            _end(side, hand, step, hand.close)
        finally:
            side.returned(hand, number)


def _end(side: Side, hand: Hand, step: Step, call: Callable[[], object]) -> None:
    """Roll back, in whatever way, and look whether the locks are free at once."""
    locked, hand.locked = hand.locked, False
    side.claim_undone(hand)
    if step.has("late"):
        side.proxy.delay = LATE_SECONDS
    try:
        with side.interruptible():
            call()
    except BaseException as error:
        what = told(error)
        if what in (Told.LOST, Told.INTERRUPTED):
            side.faults.broken = True
        side.ledger.not_ended(hand.tx, f"rollback() or close() raised {type(error).__name__}")
        raise
    else:
        hand.inherited = False
        side.ledger.gone(hand.tx, "it was rolled back")
        if step.has("late") and locked and not side.lab.row_is_free(side.name, hand.row):
            side.violate("locks kept", f"row {hand.row} is locked behind {step.name}()")
    finally:
        side.proxy.delay = 0.002 if "delay" in side.env else 0.0
        hand.points = []


@action
def invalidate(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if not isinstance(hand, ConnectionHand) or side.unit_of(hand) is not None:
        raise Skip
    hand.connection.invalidate()
    hand.kept = None
    side.ledger.gone(hand.tx, "its connection was invalidated")
    side.faults.broken = True  # which connection comes next is not the same with and without


@action
def detach(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if not isinstance(hand, ConnectionHand) or side.unit_of(hand) is not None:
        raise Skip
    hand.connection.detach()


# -- inside a transaction -------------------------------------------------------------------------------------------


@action
def savepoint(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if isinstance(hand, RawHand):
        raise Skip
    try:
        with side.interruptible():
            point = hand.savepoint()
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise
    hand.points.append(point)
    hand.tx.marks.append(len(hand.tx.pending))


@action
def release(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if not hand.points or not hand.tx.marks:
        raise Skip
    point = hand.points.pop()
    hand.tx.marks.pop()
    try:
        with side.interruptible():
            point.commit()
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise


@action
def rollback_to(side: Side, step: Step) -> None:
    hand = side.hand(step)
    if not hand.points or not hand.tx.marks:
        raise Skip
    point, mark = hand.points.pop(), hand.tx.marks.pop()
    undone = hand.tx.pending[mark:]
    try:
        with side.interruptible():
            point.rollback()
    except BaseException as error:
        lost_something(side, hand, None, error)
        hand.tx.doubtful += [number for number in hand.tx.pending if number in undone]
        hand.tx.pending = [number for number in hand.tx.pending if number not in undone]
        raise
    side.ledger.settle(undone, Fate.ABSENT, "it was rolled back to a savepoint")
    hand.tx.pending = hand.tx.pending[:mark]
    unit = side.unit_of(hand)
    if unit is not None:
        unit.claims = [number for number in unit.claims if number not in undone]
