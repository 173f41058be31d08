"""Who holds a connection: since when, in which thread, checked out where, and doing what.

Recorded at every checkout, so it has to be cheap: a time, a thread's number and a line of code are kept as they are,
and made into words when somebody asks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import CodeType

from .._application import line_of, place, thread_name
from ..server.statements import shortened

__all__ = ["Holder", "by_whom", "listed"]

_BELOW = 6
"""Frames that are never the application's: ours, the event's and the pool's, in between SQLAlchemy's ``Pool.connect()``
and :class:`Holder`."""
_LISTED = 10


class Holder:
    """One checkout of a connection."""

    __slots__ = ("code", "line", "named", "since", "thread")

    def __init__(self, since: float) -> None:
        self.since = since
        """Monotonic time of the checkout."""
        self.thread = threading.get_ident()
        self.named = False
        """A warning has been given about it."""
        self.code: CodeType | None = None
        """The application's code that asked for the connection, and the line in its file."""
        self.line = 0
        try:
            frame = line_of(sys._getframe(_BELOW))
        except ValueError:  # a thread or a greenlet was started with pool.connect() itself
            frame = None
        if frame is not None:
            self.code, self.line = frame.f_code, frame.f_lineno

    @property
    def place(self) -> str:
        """The line of the application that asked for the connection: 'FILE, line N, in F'; empty if there is none."""
        code = self.code
        return "" if code is None else f"{code.co_filename}, line {self.line}, in {code.co_name}"

    def overdue(self, now: float, threshold: float | None) -> bool:
        """Say whether it has lasted for more than so many seconds."""
        return threshold is not None and now - self.since > threshold

    def described(self, now: float, statement: str | bytes | bytearray | None) -> str:
        """Say it in words.

        :param now: monotonic time in seconds.
        :param statement: the last statement sent; its values are not shown.
        """
        text = f"for {now - self.since:.1f} s by {thread_name(self.thread)}"
        if self.code is not None:
            text += f", checked out at {self.place}"
        return f"{text}; last statement: {shortened(statement)}" if statement else f"{text}; nothing sent yet"


def listed(descriptions: Iterable[str]) -> str:
    """Put descriptions below each other, the first ten of them."""
    all_of_them = list(descriptions)
    lines = [f"\n  {number}. {text}" for number, text in enumerate(all_of_them[:_LISTED], 1)]
    if len(all_of_them) > _LISTED:
        lines.append(f"\n  and {len(all_of_them) - _LISTED} more")
    return "".join(lines)


def by_whom() -> str:
    """Name the line of the application that is running now, as ' by FILE, line N, in F'; empty if there is none."""
    found = place(sys._getframe(1))
    return f" by {found}" if found else ""
