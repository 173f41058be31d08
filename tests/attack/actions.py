"""What users do with a connection, a session, a driver's connection from the pool."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqlalchemy_holdfast.server.faults import error_number

from .grammar import STATEMENTS, Statement, dressed, has_several_results
from .hands import ConnectionHand, Hand, RawHand, SessionHand
from .ledger import Fate, Told, told
from .registry import Skip, action
from .script import Step
from .side import Side

__all__ = ["LEVELS", "Entry", "lost_something", "number_of", "statement"]

LEVELS = {"AUTOCOMMIT", "SERIALIZABLE", "READ-COMMITTED"}
_INSERT = text("INSERT INTO ledger (n) VALUES (:n)")


class _Base(DeclarativeBase):
    pass


class Entry(_Base):
    """A row of the ledger."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    n: Mapped[int]


def lost_something(side: Side, hand: Hand, number: int | None, error: BaseException, *, at_once: bool = False) -> None:
    """Note what an error of a statement tells its user."""
    what = told(error, rollback_on_timeout=side.lab.rollback_on_timeout)
    if number in side.ledger.fates and (number_of(error) == 1062 or (hand.unit and number in hand.unit.kept)):
        number = None  # settled by an earlier attempt
    if what in (Told.LOST, Told.INTERRUPTED):
        hand.kept = None
        side.faults.broken = True
    side.ledger.failed(hand.tx, number, what, error, at_once=at_once)


# -- beginning --------------------------------------------------------------------------------------------------


def _take(side: Side, step: Step, hand: Hand) -> None:
    if step.who in side.hands:
        raise Skip
    side.hands[step.who] = hand


def _free(side: Side, step: Step) -> int:
    if step.who in side.hands or not step.who:
        raise Skip
    return side.row_of(step)


@action
def connect(side: Side, step: Step) -> None:
    row = _free(side, step)
    level = next((arg for arg in step.args if arg in LEVELS), None)
    engine: Any = side.other if step.has("other") else side.engine
    if level is not None and step.has("engine"):
        engine = engine.execution_options(isolation_level=level.replace("-", " "))
    with side.interruptible():
        connection = engine.connect()
        if level is not None and not step.has("engine"):
            connection = connection.execution_options(isolation_level=level.replace("-", " "))
        if step.has("begin"):
            connection.begin()
    hand = ConnectionHand(connection, row, level)
    _take(side, step, hand)
    side.mode(hand)  # the level is this connection's: another one in its place has not got it


@action
def session(side: Side, step: Step) -> None:
    row = _free(side, step)
    _take(side, step, SessionHand(side.makers["maker"](), row))


@action
def twophase(side: Side, step: Step) -> None:
    row = _free(side, step)
    _take(side, step, SessionHand(side.makers["twophase"](), row))


@action
def scoped(side: Side, step: Step) -> None:
    row = _free(side, step)
    if any(isinstance(hand, SessionHand) and hand.registry for hand in side.hands.values()):
        raise Skip
    registry = side.makers["scoped"]
    _take(side, step, SessionHand(registry(), row, registry=registry))


@action
def raw(side: Side, step: Step) -> None:
    row = _free(side, step)
    with side.interruptible():
        proxied = side.engine.raw_connection()
    side.used_raw = True
    _take(side, step, RawHand(proxied, row))


# -- statements -------------------------------------------------------------------------------------------------


@action
def do(side: Side, step: Step) -> Any:
    """Send one of the grammar's statements."""
    found = STATEMENTS[step.args[0]]
    if found.only not in ("", side.lab.flavour):
        raise Skip
    what, hand = dressed(found, step.args[1] if len(step.args) > 1 else ""), side.hand(step)
    if hand.twophase and what.commits and ";" in what.sql[-1]:
        raise Skip  # refused behind a statement that is not: nobody is told
    if (what.begins or what.family == "completion") and side.at_once(hand):
        raise Skip  # a transaction that SQLAlchemy knows nothing of
    return statement(side, hand, what, step.number)


def statement(side: Side, hand: Hand, what: Statement, number: int) -> Any:
    """Have a user send a statement, and note what it tells."""
    if has_several_results(what):
        side.faults.leaves_results()
    names = {"n": number, "row": hand.row, "own": side.name, "other": f"{side.name}_other"}
    own = number if what.writes or what.lasting else None
    before = side.at_once(hand) and hand.id() is not None
    rows = None
    try:
        for sql in what.sql:
            with side.interruptible():
                rows = hand.execute(sql.format(**names))
    except BaseException as error:
        if what.commits and told(error) is not Told.HERE:  # DDL that is refused has committed before
            side.keeps(hand)
            side.ledger.unknown(hand.tx, f"a statement that may commit raised {type(error).__name__}")
        # A number that the statement was to write is settled, whatever it was to write it with.
        lost_something(side, hand, own, error, at_once=before or what.commits or what.lasting)
        if what.lasting and own is not None:
            side.ledger.settle([own], Fate.MAYBE, "its statement failed, in a table without transactions")
        raise
    _note_success(side, hand, what, own)
    _check(side, hand, what, number, rows)
    return rows[0][0] if rows and what.answers else None


def _note_success(side: Side, hand: Hand, what: Statement, own: int | None) -> None:
    ledger, mode = side.ledger, side.mode(hand)
    if what.rolls_back:
        side.claim_undone(hand)
        ledger.gone(hand.tx, "it was rolled back by a statement's text")
        hand.locked = False
    if what.autocommit is False or (what.autocommit and not mode.autocommit):
        mode.autocommit = bool(what.autocommit)
    if own is not None:
        unit = side.unit_of(hand)
        at_once = side.at_once(hand) or what.lasting or what.commits
        if what.lasting and unit is not None:
            ledger.settle([own], Fate.ANY, "in a table without transactions a unit may write twice")
        else:
            ledger.wrote(hand.tx, own, at_once=at_once)
            if unit is not None:
                unit.claims.append(own)
                unit.kept.update([own] if at_once else [])
    if what.commits:
        side.keeps(hand)
        ledger.committed(hand.tx, f"the statement {what.name!r} commits")
        hand.locked = False
    if what.perhaps:
        side.keeps(hand)
        ledger.unknown(hand.tx, f"the statement {what.name!r} may commit")
    if what.locks and not mode.autocommit:
        hand.locked = True
    if what.remembers and own is None:
        hand.kept = -1


def _check(side: Side, hand: Hand, what: Statement, number: int, rows: Any) -> None:
    if what.remembers:
        hand.kept = number
    if what.answers and (not rows or rows[0][0] != number):
        side.violate("wrong answer", f"{what.name} asked for {number} and got {rows}")
    if what.recalls and hand.kept is not None and rows and rows[0][0] != hand.kept:
        side.violate(
            "session lost", f"{hand.kept} was left in the session, and {rows[0][0]} is there, without an error"
        )


@action
def add(side: Side, step: Step) -> None:
    """Write with parameters: several rows, with ``many``; as objects of a class, with ``orm``."""
    hand = side.hand(step)
    many = step.has("many")
    numbers = [step.number, step.number + 1] if many else [step.number]
    before = side.at_once(hand) and hand.id() is not None
    parameters = [{"n": n} for n in numbers]
    try:
        with side.interruptible():
            if isinstance(hand, ConnectionHand):
                hand.connection.execute(_INSERT, parameters if many else parameters[0])
            elif isinstance(hand, SessionHand) and step.has("orm"):
                hand.session.add_all([Entry(n=n) for n in numbers])
                hand.session.flush()
            elif isinstance(hand, SessionHand):
                hand.session.execute(_INSERT, parameters if many else parameters[0])
            else:
                raise Skip
    except Skip:
        raise
    except BaseException as error:
        for number in numbers:
            lost_something(side, hand, number, error, at_once=before)
        raise
    unit = side.unit_of(hand)
    for number in numbers:
        at_once = side.at_once(hand)
        side.ledger.wrote(hand.tx, number, at_once=at_once)
        if unit is not None:
            unit.claims.append(number)
            unit.kept.update([number] if at_once else [])


@action
def stream(side: Side, step: Step) -> Any:
    """Read half of a result that is not buffered, and leave the rest."""
    hand = side.hand(step)
    if not isinstance(hand, (ConnectionHand, SessionHand)):
        raise Skip
    sql = text(f"SELECT n + {step.number} FROM numbers ORDER BY n LIMIT 200").execution_options(stream_results=True)
    try:
        with side.interruptible():
            source: Any = hand.connection if isinstance(hand, ConnectionHand) else hand.session
            rows = source.execute(sql).fetchmany(3)
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise
    if [row[0] for row in rows] != [step.number + i for i in (1, 2, 3)]:
        side.violate("wrong answer", f"stream from {step.number} on got {rows}")
    if step.has("keep"):
        hand.points.append(rows)


@action
def callproc(side: Side, step: Step) -> None:
    """Call a procedure with the driver's cursor: SQLAlchemy's statement events know nothing of it."""
    hand = side.hand(step)
    name = step.args[0]
    side.faults.leaves_results()
    what = STATEMENTS[{"writes": "call_writes", "commits": "call_commits"}.get(name, "call_reads")]
    own = step.number if what.writes else None
    try:
        with side.interruptible():
            cursor = hand.pooled().cursor()
        try:
            with side.interruptible():
                cursor.callproc(name, (step.number,))
                if cursor.description and not step.has("unread"):
                    cursor.fetchall()
        finally:
            cursor.close()
    except BaseException as error:
        if what.commits:
            side.keeps(hand)
            side.ledger.unknown(hand.tx, "a procedure that commits failed")
        lost_something(side, hand, own, error, at_once=side.at_once(hand) or what.commits)
        raise
    _note_success(side, hand, what, own)


@action
def driver_autocommit(side: Side, step: Step) -> None:
    """Switch autocommit with the driver's own method."""
    hand, on = side.hand(step), step.has("on")
    try:
        with side.interruptible():
            driver = hand.pooled().driver_connection
            if side.driver == "mysqlconnector":
                driver.autocommit = on
            else:
                driver.autocommit(on)
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise
    mode = side.mode(hand)
    if on and not mode.autocommit:
        side.keeps(hand)
        side.ledger.committed(hand.tx, "autocommit was switched on")
    mode.autocommit = on


@action
def wait(side: Side, step: Step) -> None:
    """Let time pass."""
    time.sleep(0.02)


def number_of(error: BaseException) -> int | None:
    """Return the server's or the driver's number of an error."""
    orig = getattr(error, "orig", None) or error
    return error_number(orig)
