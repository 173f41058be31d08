"""Listeners of the application's that raise, each once, and what applications keep in ``Connection.info``."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import event, exc
from sqlalchemy.engine import Engine

from .actions import lost_something
from .hands import RawHand
from .ledger import Refused
from .registry import Skip, action
from .script import Step
from .side import Side

__all__ = ["LISTENERS"]

_ENGINE = ("begin", "commit", "rollback", "savepoint", "rollback_savepoint", "release_savepoint")
_POOL = ("checkout", "checkin", "reset", "connect")
_SESSION = ("before_commit", "after_commit", "after_rollback", "after_begin", "before_flush")
LISTENERS = (*_ENGINE, *_POOL, *_SESSION)


@action
def listen(side: Side, step: Step) -> None:
    """Have the next event of a kind raise: of the engine, its pool, or its sessions."""
    name = step.args[0]
    target: Any = side.session_class if name in _SESSION else side.engine
    raised = False

    def refuse(*args: Any) -> None:
        nonlocal raised
        if not raised:
            raised = True
            side.faults.listeners += 1
            raise Refused(f"a listener to {name}")

    event.listen(target, name, refuse)
    if isinstance(target, Engine):
        # Connections that are out already have their own copy of the engine's listeners.
        for hand in side.hands.values():
            connection = None if isinstance(hand, RawHand) or name in _POOL else getattr(hand, "connection", None)
            if connection is not None:
                event.listen(connection, name, refuse)


@action
def tenant(side: Side, step: Step) -> Any:
    """Read a tenant's row, and select the tenant first unless the connection's ``info`` says that this was done."""
    wanted = int(step.args[0])
    database = side.name if wanted == 1 else f"{side.name}_other"
    with side.interruptible(), side.engine.connect() as connection:
        number = None
        try:
            if connection.info.get("tenant") != wanted:
                connection.exec_driver_sql(f"USE {database}")
                connection.info["tenant"] = wanted
            if step.has("commit"):
                connection.commit()
            side.run_body(step.body)
            found = connection.exec_driver_sql("SELECT t FROM tenant").scalar()
        except exc.DBAPIError as error:
            _note(side, number, error)
            raise
    if found != wanted:
        side.violate("another tenant's row", f"tenant {wanted} has read the row of tenant {found}")
    return found


@action
def decoder(side: Side, step: Step) -> Any:
    """Set up the driver's connection once, note that in its ``info``, and count on it later."""
    with side.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        attribute = "attack_decoder"
        if not connection.info.get("decoder"):
            setattr(driver, attribute, 1)
            connection.info["decoder"] = True
        side.run_body(step.body)
        cursor = connection.connection.cursor()
        try:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        finally:
            cursor.close()
        used: Any = connection.connection.driver_connection
        if not hasattr(used, attribute):
            side.violate("set-up lost", "a connection without what its info says was set up has answered")


def _note(side: Side, number: int | None, error: BaseException) -> None:
    from .hands import Hand

    lost_something(side, Hand(0), number, error)


@action
def share(side: Side, step: Step) -> None:
    """Use one driver's connection in two threads at once: nobody may get another one's answer.

    On the held side alone: without holdfast mysql-connector's threads may wait for ever for each other's replies.
    """
    if not side.held:
        raise Skip
    hand = side.hand(step)
    proxied = hand.pooled()
    side.faults.broken = True
    wrong: list[str] = []

    def ask(first: int) -> None:
        for number in range(first, first + 30):
            try:
                cursor = proxied.cursor()
                cursor.execute(f"SELECT {number}")
                rows = cursor.fetchall()
                cursor.close()
            except Exception:
                continue
            if not rows or rows[0][0] != number:
                wrong.append(f"{number}: {rows}")

    threads = [threading.Thread(target=ask, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        side.violate("wrong answer", f"{len(wrong)} in two threads on one connection, as {wrong[0]}")
    raise Skip
