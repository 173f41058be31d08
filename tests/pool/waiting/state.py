"""What must be as it was when a checkout was interrupted."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from tests.budget.workers import locks
from tests.conftest import inside, read

AT_ONCE = 5.0
"""Seconds: much more than a checkout takes on a busy machine, much less than pool_timeout."""


def problems(engine: Engine, out: int = 0) -> list[str]:
    """Say what is not as it was.

    :param out: connections that are checked out.
    """
    if not _problems(engine, out):
        return []
    gc.collect()  # an error's traceback may lead to what had a place, or a slot
    return _problems(engine, out)


def _problems(engine: Engine, out: int) -> list[str]:
    found = []
    pool: Any = engine.pool
    if isinstance(pool, QueuePool):
        taken = pool.checkedout() - pool._holdfast_lost_places()  # type: ignore[attr-defined]  # found when needed
        if taken != out:
            found.append(f"{taken} places of the pool are taken, {out} connections are checked out")
    connecting: Any = inside(engine)._connector
    for name in ("_waits", "in_pool", "_queue", "_turn"):
        left = list(getattr(connecting, name))
        if left:
            found.append(f"{name} has {left}")
    own, threads = threading.get_ident(), connecting._threads
    if threads.wait.get(own) is not None:
        found.append("this thread is said to be on its way to a connection")
    kept = threads.kept.get(own)
    if kept is not None and kept.slot is not None:
        found.append(f"{kept.slot} is kept")
    budget: Any = connecting.limit.budget
    if budget is not None:
        pools = [pool for user in budget.users for pool in user.pools]  # also other engines'
        found += budget_problems(budget, out + sum(pool.holdfast_idle() for pool in pools))
    return found


def budget_problems(budget: Any, connections: int) -> list[str]:
    """Say what a budget has that it must not have, when this process has so many connections and nobody waits."""
    found = []
    inside = threading.Thread(target=lambda: budget._exclusion.run(lambda: found.append(""), None, AT_ONCE))
    inside.start()
    inside.join()
    if not found:
        return ["nobody gets into the budget"]
    found.clear()
    seen = budget.snapshot()
    if seen.held != connections:
        found.append(f"{seen.held} slots are held for {connections} connections")
    locked = locks(Path(budget._file.path))
    if len(locked) != sum(place.index < 1000 for place in budget._holding.places):
        found.append(f"{locked} are locked for {budget._holding.places}")
    if seen.waiting or budget._waiters:
        found.append(f"{seen.waiting} processes and {budget._waiters} are in line")
    return found


def works_at_once(engine: Engine) -> list[str]:
    """Let another thread read, and then this one; say what went wrong."""
    found = []

    def use(whose: str) -> None:
        begun = time.monotonic()
        try:
            if read(engine, 7) != 7:
                found.append(f"{whose} read something else")
        except Exception as error:
            found.append(f"{whose}: {type(error).__name__}: {error}")
        if time.monotonic() - begun > AT_ONCE:
            found.append(f"{whose} took {time.monotonic() - begun:.1f} s")

    other = threading.Thread(target=use, args=("another thread",))
    other.start()
    other.join()
    use("this thread")
    return found
