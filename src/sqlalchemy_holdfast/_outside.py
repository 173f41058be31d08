"""Was an exception raised by the network, or by the program itself in the middle of something?

A signal's handler can raise at any line: a task's time limit, Ctrl-C, ``TimeoutError`` from SIGALRM. That is the
program's own doing and must reach it. What it raises may be of a class that the network raises as well, and a driver
may make an error of its own of it; so it is told by the place it was raised at.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

__all__ = ["NETWORK", "from_outside", "raised_by_signal_handler", "raised_inside"]

_OWN = __name__.partition(".")[0]
NETWORK = {"socket", "ssl", "gevent", "eventlet"}
"""The packages whose code talks to a server; :mod:`sqlalchemy_holdfast.drivers.registry` adds the drivers'. What C code
raises counts as raised by the Python code that called it."""

_OF_NETWORK = (OSError, AttributeError, ValueError, TypeError)
"""What sockets raise, and drivers that use one which they have closed."""


def from_outside(error: BaseException) -> BaseException | None:
    """Return what a program's own code has raised: the exception itself, or the one that a driver made it of.

    :param error: a driver's error, or SQLAlchemy's that was made of it.
    :return: ``None`` for what the network or holdfast has raised, and for a driver's own error, whoever raised it.
    """
    error = getattr(error, "orig", None) or error
    if isinstance(error, _OF_NETWORK) and _raised_elsewhere(error):
        return error
    made_of = error.__cause__ or error.__context__
    if isinstance(made_of, _OF_NETWORK) and _raised_elsewhere(made_of) and _caught_by_network(made_of):
        return made_of
    return None


def _raised_elsewhere(error: BaseException) -> bool:
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    package = _module_of(traceback.tb_frame).partition(".")[0]
    return package != _OWN and package not in NETWORK


def _caught_by_network(error: BaseException) -> bool:
    """Say whether a driver has caught it. If not, it is one that somebody was handling already when it came here:
    Python notes that one as the context of whatever is raised meanwhile."""
    if error.__traceback__ is None:
        return False
    name = _module_of(error.__traceback__.tb_frame)
    return name.startswith(f"{_OWN}.drivers.") or name.partition(".")[0] in NETWORK


def _module_of(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


def raised_inside(error: BaseException, function: Callable[..., object]) -> bool:
    """Say whether an error was raised by a function's own code, or by something written in C that it has called itself.

    For telling what the system refuses (an ``OSError``) from what a signal's handler raises: that may come in the
    middle of anything and may be any error, such as ``TimeoutError``, which is an ``OSError``, too.

    :param error: as it was caught, by the function itself or by one that has called it.
    :param function: one written in Python.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code is getattr(function, "__code__", None)


def raised_by_signal_handler(error: BaseException) -> bool:
    """Say whether an error came through a handler of the program's signals: a task's time limit, for example.

    For telling it from what a function of the application's raises by itself, of whatever class the two are.
    """
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers]
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
