"""Which core the site and the server run on.

Over loopback that decides more than anything else: on one core each reply is handed over at once and only the sum of
all computing counts; on two cores each wait is a sleep and a wake-up. Left to itself the scheduler changes its mind
from connection to connection, and a benchmark measures that. So both are measured, each on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy_holdfast.lab import Server

__all__ = ["PLACEMENTS", "SCHEDULER", "placed"]

SCHEDULER = "wherever the system puts them"
_SHARED, _OWN = "one core for site and server", "a core for each"


def _placements() -> tuple[str, ...]:
    if not hasattr(os, "sched_setaffinity") or not Path("/proc/self/task").is_dir():
        return (SCHEDULER,)
    return (_OWN, _SHARED) if len(os.sched_getaffinity(0)) > 1 else (SCHEDULER,)


PLACEMENTS = _placements()
"""What can be arranged on this machine."""


@contextmanager
def placed(server: Server, placement: str) -> Iterator[None]:
    """Keep this process's thread and all of the server's on the cores that the placement names."""
    if placement == SCHEDULER:
        yield
        return
    allowed = os.sched_getaffinity(0)
    mine, other = sorted(allowed)[0], sorted(allowed)[-1]
    try:
        os.sched_setaffinity(0, {mine})
        _move(server, {mine if placement == _SHARED else other})
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        _move(server, allowed)


def _move(server: Server, cores: set[int]) -> None:
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            pass  # a thread that has just ended
