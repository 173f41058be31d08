"""Keeping threads out of each other's way for a few instructions, and nothing else.

A lock can do more harm than what it protects from. An exception from outside (a signal's handler, a task's time limit)
may come at any instruction, also between the end of what is protected and the release of the lock. And a signal's
handler or a destructor runs in the middle of whatever its thread is doing. If it waits for that thread, it waits for
itself. So here

* the thread that is inside may enter again, and can tell that it does (:attr:`Exclusion.entered`);
* nobody waits for long: a thread that does not get in is told so, and goes on without;
* what was taken is given back, wherever an exception comes.

Do not call foreign code inside: listeners, logging handlers, drivers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Exclusion"]

T = TypeVar("T")


class Exclusion:
    """One thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.nested = False
        """What is running was called in the middle of something that is inside, too."""

    @property
    def entered(self) -> bool:
        """Whether this thread is inside: it is then in a signal's handler or a destructor."""
        # What threading.Condition asks a lock, too: it is there in each kind of RLock, also in those of gevent.
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def run(self, do: Callable[[], T], otherwise: T, seconds: float) -> T:
        """Call something while no other thread is inside.

        :param otherwise: what to return when another one stays inside.
        :param seconds: for how long it may.
        """
        if self.entered:
            before, self.nested = self.nested, True
            try:
                return do()
            finally:
                self.nested = before
        try:
            try:
                if not self._lock.acquire(timeout=seconds):
                    return otherwise
                self.nested = False
                return do()
            finally:
                self._leave()
        finally:
            self._leave()  # again: an exception from outside may have come just before

    def _leave(self) -> None:
        if self.entered:
            self._lock.release()
