"""One attempt of many, and the time that all of them have."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from .._words import Words
from ..server.faults import said
from ..server.reasons import Reason

__all__ = ["Attempt", "Commit", "Pace"]

_jitter = random.SystemRandom().random
"""The module's own generator gives the same to each worker that uWSGI forks, which runs no at-fork hooks."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # looked up each time: gevent and eventlet may take its place after this module was imported


class Commit(Words):
    """What was known of an attempt's COMMIT when it failed."""

    NOT_SENT = "not sent"
    """Nothing of it was sent: the server has rolled back, or will."""
    REFUSED = "refused"
    """The server answered it with an error that says that nothing was committed."""
    NOT_DONE = "not done"
    """The connection was lost while it was under way, and the server was asked: it was not done."""
    FOUND = "found done"
    """The connection was lost while it was under way, and the server was asked: it was done. Not a failure."""
    UNKNOWN = "unknown"
    """The connection was lost while it was under way. It may have been done."""
    DONE = "done"
    """It was done; the error came after it, as from a session's ``after_commit`` listener."""


@dataclass(frozen=True)
class Attempt:
    """An attempt of :func:`~.run` that failed. ``on_retry`` gets it, and the final error has all of them."""

    number: int
    """Counted from 1."""
    started: float
    """When it began, in seconds since ``run()`` was called."""
    seconds: float
    """How long it took."""
    exception: Exception
    """What it raised."""
    reason: Reason | None
    """Why the unit may be begun again (:class:`~.transactions.Reason`), or ``None`` when it may not."""
    commit: Commit
    """What was known of its COMMIT: one of :class:`Commit`."""

    def __str__(self) -> str:
        return self._described(getattr(self.exception, "orig", None) or self.exception)

    def without_values(self) -> str:
        """Return the same for a log or an error of holdfast's, where a server's words have no place."""
        return self._described(said(self.exception))

    def _described(self, what: object) -> str:
        return (
            f"attempt {self.number}, after {self.started:.2f} s and for {self.seconds:.2f} s: "
            f"{self.reason or type(self.exception).__name__}, COMMIT {self.commit}: {what}"
        )


class Pace:
    """When the next attempt begins, and when there is no time for one.

    The pauses have full jitter: between nothing and a span that doubles each time, so that workers that met in a
    deadlock do not meet again.
    """

    FIRST = 0.02
    """Longest first pause in seconds."""
    LONGEST = 1.0
    """Longest pause in seconds."""

    def __init__(
        self,
        deadline: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = _sleep,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self.clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._began = clock()
        self._deadline = deadline

    def elapsed(self) -> float:
        """Return the seconds since it was made."""
        return self.clock() - self._began

    def left(self) -> float:
        """Return the seconds until the deadline; negative when it has passed."""
        return self._deadline - self.elapsed()

    def grace(self, seconds: float) -> Pace:
        """Return a pace that has what is left, and so many seconds at the least."""
        return Pace(max(self.left(), seconds), clock=self.clock, sleep=self._sleep, jitter=self._jitter)

    def pause(self, number: int) -> bool:
        """Sleep before the next try.

        :param number: how many there were.
        :return: false, at once, when the time is up.
        """
        left = self.left()
        if left <= 0:
            return False
        span = min(self.LONGEST, self.FIRST * 2 ** min(number - 1, 30))
        self._sleep(min(left, span * self._jitter()))
        return self.left() > 0
