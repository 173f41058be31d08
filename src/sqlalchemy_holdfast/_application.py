"""The application's own line: which one is running now, here or in another thread, below all that libraries call.

For messages that name a place in the application. Looking for another thread's or greenlet's line costs time, so it is
done only when there is an error to explain.
"""

from __future__ import annotations

import gc
import sys
import threading
from types import FrameType
from typing import Any

from ._outside import NETWORK

__all__ = ["LIBRARIES", "line_of", "place", "running_line", "thread_name", "user"]

LIBRARIES = frozenset(
    {
        *("sqlalchemy", "sqlalchemy_holdfast", "flask_sqlalchemy", "sqlmodel", "pandas"),
        *("contextlib", "weakref", "threading", "concurrent"),
    }
)
"""The packages that come between an application and its connection. Drivers are known by :data:`.NETWORK`."""


def line_of(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the application's that has led to this one, through the libraries that use connections.

    This runs at each checkout.
    """
    while frame is not None:
        name: str = frame.f_globals.get("__name__") or ""
        # Most frames are SQLAlchemy's: told by a slice, without taking the name apart.
        if name[:10] != "sqlalchemy" and name.partition(".")[0] not in LIBRARIES:
            return frame
        frame = frame.f_back
    return None


def running_line(frame: FrameType | None) -> FrameType | None:
    """Return the same from inside of a driver."""
    while (frame := line_of(frame)) is not None:
        if (frame.f_globals.get("__name__") or "").partition(".")[0] not in NETWORK:
            return frame
        frame = frame.f_back
    return None


def place(frame: FrameType | None = None) -> str:
    """Name the line of the application that is running now, as 'FILE, line N, in F'; empty if there is none.

    :param frame: look from there, and not from whoever has called this.
    """
    found = running_line(frame or sys._getframe(1))
    return f"{found.f_code.co_filename}, line {found.f_lineno}, in {found.f_code.co_name}" if found else ""


def thread_name(number: int) -> str:
    """Name a thread in words.

    :param number: as ``threading.get_ident()`` gives it.
    """
    if number == threading.get_ident():
        return "this same thread"
    return _named(number) or "a thread that has ended"


def user(number: int) -> str:
    """Name a thread, or a greenlet, and the line of the application that it is at: 'thread NAME (FILE, line N, in F)'.

    :param number: as ``threading.get_ident()`` gives it, which tells greenlets apart where gevent or eventlet has
        replaced it.
    """
    greenlet = _greenlet(number)
    name = _named(number) or (f"greenlet {getattr(greenlet, 'name', number)!r}" if greenlet else f"thread {number}")
    if number == threading.get_ident():
        where = place(sys._getframe(1))
    else:
        frame = greenlet.gr_frame if greenlet is not None else sys._current_frames().get(number)
        where = place(frame) if frame is not None else ""
    return f"{name} ({where})" if where else name


def _named(number: int) -> str:
    for thread in threading.enumerate():
        if thread.ident == number:
            return f"thread {thread.name!r}"
    return ""


def _greenlet(number: int) -> Any:
    """Return the greenlet that has this number, if it is one's; the libraries keep no list of them."""
    module: Any = sys.modules.get("greenlet")
    if module is None or number in sys._current_frames():
        return None
    found = next((found for found in gc.get_objects() if id(found) == number), None)
    return found if isinstance(found, module.greenlet) else None
