"""Visitors who come at their own pace, whether the site answers or not, and what each of them got."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE = 40.0
"""Seconds after which a visitor goes away."""


@dataclass(frozen=True)
class Visit:
    """One request."""

    path: str
    began: float
    """Monotonic time."""
    seconds: float
    status: int
    """0 when no answer came."""
    retry_after: str | None = None
    text: str = ""


@dataclass
class Visits:
    """All that came while somebody did something to the server."""

    all: list[Visit] = field(default_factory=list)

    def of(self, *starts: str) -> Visits:
        """Those of some paths."""
        return Visits([visit for visit in self.all if visit.path.startswith(starts)])

    def between(self, begin: float, end: float) -> Visits:
        """Those that were there at a time."""
        return Visits([visit for visit in self.all if visit.began < end and visit.began + visit.seconds >= begin])

    @property
    def statuses(self) -> Counter[int]:
        return Counter(visit.status for visit in self.all)

    @property
    def longest(self) -> float:
        return max((visit.seconds for visit in self.all), default=0.0)

    def __str__(self) -> str:
        seen = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(self.statuses.items()))
        return f"{seen}; longest {self.longest * 1000:.0f} ms"


def visit(url: str, path: str) -> Visit:
    parts = urlsplit(url)
    began = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        return Visit(
            path, began, time.monotonic() - began, answer.status, answer.getheader("Retry-After"), text.strip()[:200]
        )
    except (OSError, http.client.HTTPException) as error:
        return Visit(path, began, time.monotonic() - began, 0, text=repr(error))
    finally:
        connection.close()


def come(url: str, rates: dict[str, float], act: Callable[[], object]) -> Visits:
    """Visit a site for as long as something takes.

    :param rates: visits in a second, by path. A visit does not wait for the one before.
    """
    ended = threading.Event()
    visits: list[Visit] = []

    def pace(path: str, rate: float) -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            coming.append(threads.submit(lambda: visits.append(visit(url, path))))
            due += 1 / rate

    coming: list[object] = []
    with ThreadPoolExecutor(256) as threads:
        paces: Iterable[threading.Thread] = [
            threading.Thread(target=pace, args=(path, rate)) for path, rate in rates.items()
        ]
        for thread in paces:
            thread.start()
        try:
            act()
        finally:
            ended.set()
            for thread in paces:
                thread.join()
    return Visits(visits)
