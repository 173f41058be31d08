"""An exception at a chosen moment inside of a driver or holdfast, as a signal handler would raise it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from sqlalchemy_holdfast.drivers.subclass import _collected

DRIVER_FILES = ("/pymysql/", "/mysql/connector/", "/MySQLdb/", "/sqlalchemy_holdfast/drivers/")


class Interrupted(Exception):
    """Not a driver's: what a time limit of the application's raises in the middle of a statement."""


def in_a_destructor(frame: FrameType | None) -> bool:
    """Say whether Python would swallow what is raised here, and pytest keep it until the test's end, with the frame and
    the connection in it."""
    while frame is not None:
        if frame.f_code is _collected.__code__ or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class Interruption:
    """Raises `Interrupted` at the n-th moment at which a signal handler could, inside the driver or holdfast.

    Those moments are where CPython looks for signals: entering a Python function, and coming back from a C one.
    """

    def __init__(self, moment: int, files: tuple[str, ...] = DRIVER_FILES) -> None:
        self.left = moment
        self.files = files
        self.fired = ""

    def __enter__(self) -> Interruption:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, what: str, argument: Any) -> None:
        if what not in ("call", "c_return") or not any(part in frame.f_code.co_filename for part in self.files):
            return
        self.left -= 1
        if self.left < 0 and not self.fired and not in_a_destructor(frame):
            what += "" if what == "call" else f" of {getattr(argument, '__qualname__', argument)}"
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # 3.11 has it
            self.fired = f"{name} {what}"
            raise Interrupted(self.fired)
