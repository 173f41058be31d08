"""The end of a sequence: everybody lets go, others use what was given back, and the ledger is compared."""

from __future__ import annotations

import contextlib
import gc

from sqlalchemy.pool import QueuePool

from .ledger import Fate
from .registry import ACTIONS
from .script import Step
from .side import Side

__all__ = ["compare", "finish"]


def finish(side: Side, number: int) -> None:
    """Let everybody go, let others use what they gave back, and compare the ledger.

    :param number: the first of the numbers for those others.
    """
    side.proxy.restore()
    side.proxy.delay = 0.0
    side.relent()
    for who in list(side.hands):
        with contextlib.suppress(Exception):
            ACTIONS["close"](side, Step("close", who))
    with contextlib.suppress(Exception):
        side.targets["scoped"].remove()
    gc.collect()  # where a close() has raised, the connection is returned when nobody knows of it any more
    if not (("noreset" in side.env and side.used_raw) or side.faults.rollback_refused):
        _look_at_what_was_returned(side)
    _next_visitors(side, number)
    for engine in side.engines:
        engine.dispose()


def _look_at_what_was_returned(side: Side) -> None:
    lab = side.lab
    if not lab.tables_are_free(side.name) and not lab.wait_until(lambda: lab.tables_are_free(side.name), 0.5):
        side.violate("locks left behind", f"of tables, by a returned connection: {lab.transactions(side.name)}")
    elif not lab.wait_until(lambda: not lab.transactions(side.name), 0.5):
        side.violate("transaction left open", f"by a returned connection: {lab.transactions(side.name)}")


def _next_visitors(side: Side, number: int) -> None:
    """Use each pooled connection once, and commit: what a returned one has left open is committed now."""
    for engine in side.engines:
        connections = []
        idle = engine.pool.checkedin() if isinstance(engine.pool, QueuePool) else 0
        for _ in range(idle):
            try:
                connections.append(engine.connect())
            except Exception:
                continue
        for connection in connections:
            number += 1
            try:
                with connection, connection.begin():
                    found = connection.exec_driver_sql(f"SELECT {number}").scalar()
                    connection.exec_driver_sql(f"INSERT INTO ledger (n) VALUES ({number})")
            except Exception:
                side.ledger.settle([number], Fate.MAYBE, "a later visitor was told of an error")
                continue
            side.ledger.settle([number], Fate.THERE, "a later visitor's commit was acknowledged")
            if found != number:
                side.violate("wrong answer", f"a later visitor asked for {number} and got {found}")


def compare(side: Side) -> None:
    """Compare what is there with what everybody was told."""
    lab = side.lab
    if not lab.wait_until(lambda: not lab.sessions(side.name), 0.1):
        lab.wait_until(lambda: not lab.sessions(side.name), 2.0)
        for session in lab.sessions(side.name):
            try:
                lab.admin(f"KILL {session}")
            except Exception:
                continue
        lab.wait_until(lambda: not lab.sessions(side.name))
    for name in lab.prepared():
        lab.admin(f"XA ROLLBACK '{name}'")
    side.rows = lab.rows(side.name)
    for rule, wrong, why in side.ledger.compare(side.rows):
        side.violate(rule, f"number {wrong} is {why}")
