"""Who holds a connection: since when, in which thread, checked out where, and doing what.

Recorded at every checkout, so it has to be cheap: a time, a thread's number and a line of code are kept as they are,
and made into words when somebody asks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import CodeType, FrameType

from ..server.statements import shortened

__all__ = ["Holder", "listed", "place", "thread_name"]

_LIBRARIES = frozenset(
    {"sqlalchemy", "sqlalchemy_holdfast", "flask_sqlalchemy", "contextlib", "weakref", "sqlmodel", "pandas"}
)
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
            frame = _application(sys._getframe(_BELOW))
        except ValueError:  # a thread or a greenlet was started with pool.connect() itself
            frame = None
        if frame is not None:
            self.code, self.line = frame.f_code, frame.f_lineno

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
            text += f", checked out at {self.code.co_filename}, line {self.line}, in {self.code.co_name}"
        return f"{text}; last statement: {shortened(statement)}" if statement else f"{text}; nothing sent yet"


def listed(descriptions: Iterable[str]) -> str:
    """Put descriptions below each other, the first ten of them."""
    all_of_them = list(descriptions)
    lines = [f"\n  {number}. {text}" for number, text in enumerate(all_of_them[:_LISTED], 1)]
    if len(all_of_them) > _LISTED:
        lines.append(f"\n  and {len(all_of_them) - _LISTED} more")
    return "".join(lines)


def place() -> str:
    """Name the line of the application that is running now, as ' by FILE, line N, in F'."""
    frame = _application(sys._getframe(1))
    return f" by {frame.f_code.co_filename}, line {frame.f_lineno}, in {frame.f_code.co_name}" if frame else ""


def _application(frame: FrameType | None) -> FrameType | None:
    while frame is not None:
        name: str = frame.f_globals.get("__name__") or ""
        # Most frames are SQLAlchemy's: told by a slice, without taking the name apart.
        if name[:10] != "sqlalchemy" and name.partition(".")[0] not in _LIBRARIES:
            return frame
        frame = frame.f_back
    return None


def thread_name(number: int) -> str:
    """Name a thread in words.

    :param number: as ``threading.get_ident()`` gives it.
    """
    if number == threading.get_ident():
        return "this same thread"
    for thread in threading.enumerate():
        if thread.ident == number:
            return f"thread {thread.name!r}"
    return "a thread that has ended"
