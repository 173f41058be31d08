"""Something happens at the n-th line of holdfast that a thread comes to.

As a signal's handler is called: in the middle of whatever the thread is doing. It may raise (a task's time limit, an
alarm, Ctrl-C), and it may use the engine itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy_holdfast as holdfast

SOURCE = str(Path(holdfast.__file__).parent)
PARTS = ("pool/", "budget/", "fork.py", "_registry.py", "server/limits.py")
"""Where connections come from. (What happens inside a driver's call: tests/chaos.)"""
_DESTRUCTORS = ("__del__", "_collected", "forget")


class Interrupted(Exception):
    """What a task queue raises when a task has taken too long. Not a driver's error, and not SQLAlchemy's."""


class Alarm(TimeoutError):
    """What the handler of SIGALRM raises. It is an OSError."""


class Break(KeyboardInterrupt):
    """Ctrl-C."""


KINDS = (Interrupted, Alarm, Break)


class Moment:
    """Calls something at the n-th line, for the length of a block, in this thread.

    :param number: counted from 0.
    :param then: what is called. What it raises comes out of that line.
    """

    def __init__(self, number: int, then: Callable[[], object], parts: tuple[str, ...] = PARTS) -> None:
        self.left = number
        self.then = then
        self.files = tuple(f"{SOURCE}/{part}" for part in parts)
        self.place = ""
        """Where it was; empty when there were fewer lines."""

    def __enter__(self) -> Moment:
        sys.settrace(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, what: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(self.files) or code.co_name in _DESTRUCTORS:
            return None
        caller = frame.f_back
        while caller is not None:  # Python would swallow what is raised there
            if caller.f_code.co_name in _DESTRUCTORS:
                return None
            caller = caller.f_back
        return self._line

    def _line(self, frame: FrameType, what: str, argument: Any) -> Any:
        if what == "line" and not self.place:
            self.left -= 1
            if self.left < 0:
                name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # 3.11 has it
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {name}"
                sys.settrace(None)
                self.then()
        return self._line


def raising(kind: type[BaseException]) -> Callable[[], object]:
    def then() -> None:
        raise kind("from outside")

    return then
