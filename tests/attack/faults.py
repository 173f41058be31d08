"""What breaks: sessions are killed, networks cut, rows locked, servers read-only, calls interrupted."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator
from operator import attrgetter
from types import FrameType
from typing import Any

import pymysql

from .hands import Hand
from .ledger import HardInterrupt, Interrupt, TimeLimit
from .registry import Skip, action
from .script import Step
from .side import Side

__all__: list[str] = []

_DESCRIPTORS = ("fileno", "_sock.fileno", "_socket.sock.fileno")
_ALARM_SECONDS = 10.0
"""When nobody has been interrupted by then, everything goes on."""
_KINDS: dict[str, type[BaseException]] = {"soft": Interrupt, "hard": HardInterrupt, "timeout": TimeLimit}
_FILES = re.compile(r"/(pymysql|mysql/connector|MySQLdb|holdfast(?!/lab)|sqlalchemy)/")


def _once(side: Side, step: Step) -> None:
    """A fault comes once, though the unit around it is begun again."""
    if step.number in side.faults.fired or side.in_child:
        raise Skip
    side.faults.fired.add(step.number)


def _break(side: Side, step: Step) -> None:
    _once(side, step)
    side.faults.broken = True


def _wait_for_end(hand: Hand) -> None:
    """Wait until the end of a hand's connection has arrived here."""
    try:
        connection = hand.present().driver_connection
    except Exception:
        return
    for path in _DESCRIPTORS:
        try:
            descriptor = attrgetter(path)(connection)()
            break
        except Exception:
            continue
    else:
        return
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)
    poller.poll(1000)


def _kill(side: Side, ids: list[int], *, query: bool = False) -> None:
    for number in ids:
        try:
            side.lab.admin(f"KILL {'QUERY ' if query else ''}{number}")
        except pymysql.err.MySQLError as error:
            if error.args[0] != 1094:
                raise
    if not query:
        side.lab.wait_until(lambda: not set(ids) & set(side.lab.sessions(side.name)))


# -- sessions and networks ------------------------------------------------------------------------------------------


@action
def kill(side: Side, step: Step) -> None:
    """KILL the session of a visitor, or of the unit that this is in."""
    hand = side.hand(step)
    number = hand.id()
    if number is None:
        raise Skip
    _break(side, step)
    _kill(side, [number])
    _wait_for_end(hand)


@action
def kill_idle(side: Side, step: Step) -> None:
    """KILL the sessions that nobody uses."""
    _break(side, step)
    used = {hand.id() for hand in side.hands.values()}
    used |= {unit.hand.id() for units in side._flows.values() for unit in units if unit.hand is not None}
    _kill(side, [number for number in side.lab.sessions(side.name) if number not in used])
    threading.Event().wait(0.005)  # the ends are on their way through the proxy


@action
def kill_all(side: Side, step: Step) -> None:
    """KILL all sessions of a side."""
    _break(side, step)
    _kill(side, side.lab.sessions(side.name))
    threading.Event().wait(0.005)


@action
def reset(side: Side, step: Step) -> None:
    """Reset all connections, on both sides."""
    _break(side, step)
    side.proxy.reset()


@action
def drop(side: Side, step: Step) -> None:
    """End all connections; the server knows."""
    _break(side, step)
    side.proxy.drop()


@action
def half_close(side: Side, step: Step) -> None:
    """End all connections for the clients; the server keeps their sessions, for now."""
    _break(side, step)
    side.proxy.half_close()


@action
def lose(side: Side, step: Step) -> None:
    """Lose the next COMMIT (``it``), or the reply to it (``reply``); with ``silent`` the server keeps the session."""
    _break(side, step)
    side.proxy.cut_at("COMMIT", delivered=step.has("reply"), server_knows=not step.has("silent"))


@action
def cut(side: Side, step: Step) -> None:
    """Lose a part of the next request or reply, and the connection with it."""
    _break(side, step)
    size = int(step.args[1])
    if step.args[0] == "reply":
        side.proxy.truncate_reply(size)
    else:
        side.proxy.truncate_request(size)


# -- locks and servers ----------------------------------------------------------------------------------------------


@action
def lock_row(side: Side, step: Step) -> None:
    """Lock a visitor's row of counter, until the sequence ends or a unit is begun again."""
    _once(side, step)
    row, lab = side.hand(step).row, side.lab
    lab.locker("SET SESSION innodb_lock_wait_timeout = 1")
    lab.locker("BEGIN")
    try:
        lab.locker(f"SELECT id FROM {side.name}.counter WHERE id = {row} FOR UPDATE")
    except pymysql.err.MySQLError:  # the visitor has it
        lab.locker("ROLLBACK")
        raise Skip from None
    side.cleaners.append(lambda: lab.locker("ROLLBACK"))


@action
def deadlock(side: Side, step: Step) -> None:
    """Have a user's transaction meet a larger one, in the opposite order: the server ends the user's."""
    from .actions import lost_something

    hand = side.hand(step)
    _once(side, step)
    lab, own = side.lab, hand.row
    heavy = lab.heavy
    try:
        hand.execute(f"UPDATE counter SET value = value + 1 WHERE id = {own}")
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise
    heavy("SET SESSION innodb_lock_wait_timeout = 3", side.name)
    heavy("BEGIN")
    heavy("UPDATE heavy SET value = value + 1")
    heavy("UPDATE counter SET value = value + 1 WHERE id = 10")
    connection = heavy.connection()
    waiting = threading.Thread(target=lambda: _quietly(heavy, f"UPDATE counter SET value = 0 WHERE id = {own}"))
    waiting.start()
    lab.wait_until(lambda: _is_waiting(side, connection.thread_id()), 1.0)
    try:
        hand.execute("UPDATE counter SET value = value + 1 WHERE id = 10")
    except BaseException as error:
        lost_something(side, hand, None, error)
        raise
    finally:
        waiting.join()
        heavy("ROLLBACK")


def _quietly(session: Any, sql: str) -> None:
    with contextlib.suppress(pymysql.err.MySQLError):
        session(sql)


def _is_waiting(side: Side, number: int) -> bool:
    rows = side.lab.admin(f"SELECT command, state FROM information_schema.processlist WHERE id = {number}")
    return bool(rows) and rows[0][0] == "Query" and str(rows[0][1]).lower() in ("updating", "statistics")


@action
def read_only(side: Side, step: Step) -> None:
    """Make the server read-only, until the sequence ends or a unit is begun again."""
    _break(side, step)
    side.lab.admin("SET GLOBAL read_only = 1")
    side.cleaners.append(lambda: side.lab.admin("SET GLOBAL read_only = 0"))


@action
def frozen(side: Side, step: Step) -> None:
    """Do something while the server lets nobody commit."""
    _once(side, step)
    locker = side.lab.locker
    try:
        locker("FLUSH TABLES WITH READ LOCK")
    except pymysql.err.MySQLError:  # somebody writes
        raise Skip from None
    side.cleaners.append(lambda: locker("UNLOCK TABLES"))
    try:
        side.run_body(step.body)
    finally:
        locker("UNLOCK TABLES")


@action
def refuse_rollback(side: Side, step: Step) -> None:
    """Have the next ROLLBACK answered with an error. The server does not see it."""
    if "refuser" not in side.env:
        raise Skip
    _break(side, step)
    side.faults.rollback_refused = True
    side.refuser.armed = True


# -- interrupts -----------------------------------------------------------------------------------------------------


@action
def interrupt(side: Side, step: Step) -> None:
    """Raise an exception in what is inside, at a moment in code of a driver, SQLAlchemy or holdfast: counted from 0.

    Moments are where CPython looks for signals: entering a Python function, and coming back from a C one.
    """
    _only_held(side)
    _break(side, step)
    kind, count = step.args
    fired = False

    @contextlib.contextmanager
    def moment() -> Iterator[None]:
        nonlocal fired
        left = int(count)

        def look(frame: FrameType, event: str, arg: object) -> None:
            nonlocal left, fired
            if event not in ("call", "c_return") or not _FILES.search(frame.f_code.co_filename):
                return
            left -= 1
            if left < 0 and not fired and not _is_in_destructor(frame):
                fired = True
                raise _KINDS[kind]("from outside")

        before = sys.getprofile()
        sys.setprofile(look if not fired else None)
        try:
            yield
        finally:
            sys.setprofile(before)

    side.interrupt, outer = moment, side.interrupt
    try:
        side.run_body(step.body)
    finally:
        side.interrupt = outer


def _only_held(side: Side) -> None:
    """Interrupted in the middle, a stock connection may read others' answers, or wait for one that never comes."""
    if not side.held:
        raise Skip


def _is_in_destructor(frame: FrameType | None) -> bool:
    """Say whether an exception would go nowhere."""
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_collected", "_finalize_fairy"):
            return True
        frame = frame.f_back
    return False


@action
def alarm(side: Side, step: Step) -> None:
    """Hold the server's replies in what is inside, and have a signal's handler raise while they are waited for."""
    if threading.current_thread() is not threading.main_thread():
        raise Skip
    _only_held(side)
    _break(side, step)
    kind = step.args[0]
    fired = False

    def handler(number: int, frame: object) -> None:
        nonlocal fired
        if not side.calling:  # the fuzzer's own code is no user's
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        fired = True
        side.proxy.restore()
        raise _KINDS[kind]("from outside")

    before = signal.signal(signal.SIGALRM, handler)
    side.proxy.hold_replies()
    # In a driver written in C a handler runs only when the call is over: then the replies come late.
    late = threading.Timer(0.1 if side.driver == "mysqldb" else _ALARM_SECONDS, side.proxy.restore)
    late.start()
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        side.run_body(step.body)
    except BaseException:
        fired = False
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        late.cancel()
        late.join()
        side.proxy.restore()
    if fired and side.held:
        side.violate("interrupt swallowed", "a signal's handler has raised, and nobody was told")
