"""Connections that the server closed between two requests: how many of the requests after that fail?

All sites (each driver, with and without holdfast) wait for the same fault and then get one request each. So they share
the idle times, and what happens to one happens to all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server

from .contenders import HOLDFAST, STOCK, Contender
from .guestbook import Guestbook, WrongAnswer, make_tables
from .stage import IDLE_LIMIT, PAUSE, Stage

__all__ = ["CAUSES", "Cause", "Lost", "run"]

_ARRIVAL = 0.1
"""Seconds between a fault and the next request, for the end of the connection to arrive."""
_LATER = 3
"""Requests after the last fault, when nothing is broken any more."""


@dataclass(frozen=True)
class Cause:
    """One way to lose all idle connections."""

    key: str
    title: str
    strike: Callable[[Server, Proxy], None]
    rounds: int
    quick_rounds: int
    through_proxy: bool = False
    """The sites connect to the proxy, not to the server."""


@dataclass
class Lost:
    """What one site went through with one cause."""

    driver: str
    cause: str
    contender: str
    requests: int = 0
    failed: int = 0
    wrong: int = 0
    """Requests that got somebody else's answer, without an error."""
    later_requests: int = 0
    """Requests at the end, with nothing broken any more."""
    later_failed: int = 0
    signed: int = 0
    """Entries of which the site told its visitor that they are in the book."""
    entries: int = 0
    """Entries that are in the book."""
    errors: list[str] = field(default_factory=list)
    """The different errors, first lines, in the order they came."""
    counters: str = ""
    """What holdfast has counted; empty without it."""

    @property
    def bad(self) -> int:
        """How many things were not as they should be."""
        return self.failed + self.wrong + self.later_failed + abs(self.entries - self.signed)


def _idle(server: Server, proxy: Proxy) -> None:
    time.sleep(PAUSE)


def _kill(server: Server, proxy: Proxy) -> None:
    server.kill_connections("app")
    deadline = time.monotonic() + 10
    while server.processlist(user="app") and time.monotonic() < deadline:
        time.sleep(0.01)


def _stop(server: Server, proxy: Proxy) -> None:
    server.stop()
    server.start()


def _crash(server: Server, proxy: Proxy) -> None:
    server.kill()
    server.start()


def _reset(server: Server, proxy: Proxy) -> None:
    proxy.reset()


CAUSES = (
    Cause("idle", f"idle for {PAUSE:g} s, limit {IDLE_LIMIT} s", _idle, rounds=5, quick_rounds=2),
    Cause("kill", "KILL by an administrator", _kill, rounds=5, quick_rounds=2),
    Cause("restart", "server stopped and started", _stop, rounds=4, quick_rounds=2),
    Cause("crash", "server killed (-9), started", _crash, rounds=4, quick_rounds=2),
    Cause("reset", "connection reset (RST)", _reset, rounds=5, quick_rounds=2, through_proxy=True),
)


def run(
    stage: Stage, contenders: Sequence[Contender] = (STOCK, HOLDFAST), *, rounds: dict[str, int] | None = None
) -> list[Lost]:
    """Let every cause strike every driver and contender.

    :param rounds: rounds by cause, where they are to differ from the cause's own.
    """
    rows: list[Lost] = []
    stage.server.execute("SET GLOBAL wait_timeout = %s", (IDLE_LIMIT,))
    for cause in CAUSES:
        count = (rounds or {}).get(cause.key) or stage.rounds(cause.rounds, cause.quick_rounds)
        rows += _strike(stage, cause, contenders, count)
    return rows


def _strike(stage: Stage, cause: Cause, contenders: Sequence[Contender], rounds: int) -> list[Lost]:
    make_tables(stage.server.url(stage.drivers[0]))
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy.for_server(stage.server))
        host, port = (proxy.host, proxy.port) if cause.through_proxy else (None, None)
        sites: list[tuple[Lost, Guestbook]] = []
        for driver in stage.drivers:
            for contender in contenders:
                engine = contender.engine(stage.server.url(driver, host=host, port=port))
                stack.callback(engine.dispose)
                site = Guestbook(engine, f"{driver} {contender.name}")
                site.request("the owner")
                sites.append((Lost(driver, cause.key, contender.name, signed=1), site))
        for number in range(1, rounds + 1):
            stage.say(f"{cause.title}: {number} of {rounds}")
            cause.strike(stage.server, proxy)
            time.sleep(_ARRIVAL)
            for row, site in sites:
                row.requests += 1
                row.failed += not _served(row, site, f"visitor {number}")
        for row, site in sites:
            for number in range(1, _LATER + 1):
                row.later_requests += 1
                row.later_failed += not _served(row, site, f"late visitor {number}")
            row.entries = int(
                stage.server.execute("SELECT COUNT(*) FROM entry WHERE book = %s", (site.book,), database="test")[0][0]
            )
            if (hold := holdfast.status(site.engine)).active:
                row.counters = repr(hold)
    return [row for row, _ in sites]


def _served(row: Lost, site: Guestbook, visitor: str) -> bool:
    try:
        site.request(visitor)
    except WrongAnswer as error:
        row.wrong += 1
        row.errors.append(str(error))
    except Exception as error:
        original = getattr(error, "orig", None) or error
        words = f"{type(original).__name__}: {original}".splitlines()[0]
        if words not in row.errors:
            row.errors.append(words)
    else:
        row.signed += 1
        return True
    return False
