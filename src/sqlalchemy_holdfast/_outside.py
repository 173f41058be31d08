"""Was an exception raised by the network, or by the program itself in the middle of something?

A signal's handler can raise at any line: a task's time limit, Ctrl-C, ``TimeoutError`` from SIGALRM. That is the
program's own doing and must reach it. What it raises may be of a class that the network raises as well, and a driver
may make an error of its own of it; so it is told by the place it was raised at.
"""

from __future__ import annotations

from types import FrameType

__all__ = ["from_outside"]

_NETWORK = frozenset({"socket", "ssl", "gevent", "eventlet", "pymysql", "mysql", "MySQLdb", __name__.partition(".")[0]})
"""The packages whose code talks to a server. What C code raises counts as raised by the Python code that called it."""

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
    return not _is_networks(traceback.tb_frame)


def _caught_by_network(error: BaseException) -> bool:
    """Say whether a driver has caught it. If not, it is one that the program was handling already when it came here:
    Python notes that one as the context of whatever is raised meanwhile."""
    return error.__traceback__ is not None and _is_networks(error.__traceback__.tb_frame)


def _is_networks(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0] in _NETWORK
