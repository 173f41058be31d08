"""Ends an import that does not end by itself: one that serves, or waits for something."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from .facts import Failure
from .places import application_frame, place_of, shown

__all__ = ["ImportWatch", "entries"]

_SERVING_SECONDS = 1.0
_AGAIN_SECONDS = 0.5


class Stopped(BaseException):
    """Raised into the import when it does not end."""


class ImportWatch:
    """Ends an import that serves, or does not end at all. Only the main thread's.

    :param seconds: how long it may take.
    :param directory: what file names are shown relative to.
    """

    def __init__(self, seconds: float, directory: Path) -> None:
        self.directory = directory
        self.limit = seconds
        self.ends = time.monotonic() + seconds
        self.port = 0
        self.call: tuple[FrameType | None, int] = (None, -1)
        self.failure: Failure | None = None
        """Why it was ended."""

    def begin(self) -> None:
        """Watch from now on."""
        signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, self.limit)
        sys.addaudithook(self._audit)

    def end(self) -> None:
        """Watch no longer: the import has ended."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def ended(self, error: BaseException) -> None:
        """Note an import that a server has ended itself: its port is in use, or it wants to start its process anew."""
        for found in entries(error):
            call, instruction = self.call
            if self.failure is None and found.tb_frame is call and found.tb_lasti == instruction:
                where = f"{shown(found.tb_frame.f_code.co_filename, self.directory)} line {found.tb_lineno}"
                self.failure = self._serving(where)

    def _serving(self, where: str) -> Failure:
        return Failure(
            f"The import does not end: it starts a server on port {self.port}{f' at {where}' if where else ''}.",
            'Put the call that starts it under: if __name__ == "__main__":',
        )

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.bind" or self.failure is not None:
            return
        address = arguments[1]
        if isinstance(address, tuple) and len(address) >= 2 and address[1]:
            # A library may open a port in passing (metrics): it is a server when the same call does not come back.
            frame = application_frame(sys._getframe(1))
            if frame is not None:
                self.port, self.call = int(address[1]), (frame, frame.f_lasti)
                left = max(self.ends - time.monotonic(), 0.01)
                signal.setitimer(signal.ITIMER_REAL, min(_SERVING_SECONDS, left))

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        place = place_of(frame, self.directory)
        where = f" at {place}" if place else ""
        if self._serves(frame):
            self.failure = self._serving(str(place or ""))
        elif time.monotonic() < self.ends - 0.01:
            signal.setitimer(signal.ITIMER_REAL, max(self.ends - time.monotonic(), 0.01))
            return
        elif self.failure is None:
            self.failure = Failure(
                f"The import did not end within {self.limit:g} s: it is still{where or ' running'}.",
                "If it only needs more time, give it more: --app-timeout SECONDS. "
                "If it starts a server or waits for something there, do that elsewhere.",
            )
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)  # somebody may catch everything
        raise Stopped

    def _serves(self, frame: FrameType | None) -> bool:
        call, instruction = self.call
        while call is not None and frame is not None:
            if frame is call:
                return frame.f_lasti == instruction
            frame = frame.f_back
        return False


def entries(error: BaseException) -> Iterator[TracebackType]:
    """Yield the entries of an error's traceback, the outermost first."""
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next
