"""Many threads need the password at once: one of them asks for it, and the others take its answer.

There is no lock here. The application's own code is called, which may take long, use the engine, or be interrupted by
an exception from outside. Whose turn it is stands in a dictionary that is changed in single steps of the interpreter's.
A turn is not waited for when it is the waiting thread's own, when it is the parent process's, or after a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import PasswordUnavailable

__all__ = ["OneAsks", "sleep"]

T = TypeVar("T")

_PATIENCE = 15.0
"""Seconds for which a thread waits for another one's answer before it asks itself. A command may take 10."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
"""Seconds after which a waiting thread looks for the answer: growing from the one to the other."""


def sleep(seconds: float) -> None:
    """Sleep, as gevent or eventlet wants it: either may take the place of ``time.sleep`` after this was imported."""
    time.sleep(seconds)


class _Turn(Generic[T]):
    """One thread's asking."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.process = os.getpid()
        self.thread = threading.get_ident()
        self.answer: tuple[T | None, PasswordUnavailable | None] | None = None


class OneAsks(Generic[T]):
    """Asks for something that takes a while, once for all threads that want it at the same time.

    :param ask: gets the answer, or raises :class:`~sqlalchemy_holdfast.errors.PasswordUnavailable`.
    :param clock: monotonic time in seconds.
    """

    def __init__(self, ask: Callable[[], T], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._turns: dict[None, _Turn[T]] = {}
        """At most one."""

    def answer(self, not_before: float) -> T:
        """Ask, or wait for the answer of a thread that does.

        :param not_before: an asking that began before this moment will not do.
        :raises PasswordUnavailable: as the asking raised it, to every thread that waited for it.
        """
        own: _Turn[T] = _Turn(self._clock())
        try:
            try:
                return self._answer(own, not_before)
            finally:
                self._end(own)
        finally:
            self._end(own)  # again: an exception from outside may have come just before

    def _answer(self, own: _Turn[T], not_before: float) -> T:
        patience, pause = own.began + _PATIENCE, _FIRST_PAUSE
        while True:
            turn = self._turns.setdefault(None, own)
            if turn is own:
                return self._ask_for_all(own)
            if turn.thread == own.thread and turn.process == own.process:
                return self._ask()  # this is called by what the asking has called: a listener, a signal's handler
            if turn.process != own.process or self._clock() > patience:
                self._end(turn)
                continue
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if turn.answer is not None and turn.began >= not_before:
                value, failed = turn.answer
                if failed is not None:
                    raise PasswordUnavailable(*failed.args) from failed.__cause__
                return value  # type: ignore[return-value]

    def _ask_for_all(self, own: _Turn[T]) -> T:
        try:
            value = self._ask()
        except PasswordUnavailable as error:
            own.answer = None, error
            raise
        own.answer = value, None
        return value

    def _end(self, turn: _Turn[T]) -> None:
        if self._turns.get(None) is turn:
            self._turns.pop(None, None)
