"""The cases: what a crowd of processes does to a server that allows few connections, in figures."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any, Literal

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import SQLAlchemyError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy
from sqlalchemy_holdfast.transactions import create_commit_table
from tests.budget.crowd import Crowd
from tests.budget.host import Host, Kind, limited
from tests.budget.request import Outcome, serve
from tests.budget.served import Served
from tests.budget.site import Site

Shape = Literal["plain", "uwsgi", "uwsgi+import"]
SHAPES: tuple[Shape, ...] = ("plain", "uwsgi", "uwsgi+import")
"""Plain processes, uWSGI's, and uWSGI's of a site that asks the database something at import."""

POOL = {"pool_size": 5, "max_overflow": 10}
"""What a site writes that does not know how few connections it may have; SQLAlchemy's default."""
FIRST = 5
"""Requests for each thread until every process is taken to have begun."""
STOCK_PATIENCE = {**POOL, "pool_timeout": 10}


def tuned(connections: int, processes: int) -> dict[str, Any]:
    """Return the best options that stock has: the largest pool that fits as often as there are processes."""
    return {"pool_size": connections // processes, "max_overflow": 0, "pool_timeout": 60}


@dataclass
class Seen:
    """What came of many requests, and what the server saw of them."""

    outcomes: list[Outcome]
    limit: int = 0
    most_used: int = 0
    refused: int = 0
    """Connections that the server turned away once every process had asked it something."""
    refused_at_first: int = 0
    """The same while the processes came up, and did not know the limit yet."""
    lost: int = 0
    doubled: int = 0
    unknown: int = 0
    """Entries that are there although nobody was told: the reply to the COMMIT was lost."""
    counters: Counter[str] = field(default_factory=Counter)
    """holdfast's, all processes together, where they could be asked."""

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.failed]

    @property
    def kinds(self) -> str:
        """The failures by kind, the most frequent first: "1226 at checkout: 12"."""
        kinds = Counter(f"{outcome.failed} at {outcome.step}" for outcome in self.failed)
        return ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()) or "none"

    @property
    def served(self) -> Counter[int]:
        """Requests by process."""
        return Counter(outcome.pid for outcome in self.outcomes if not outcome.failed)

    @property
    def waits(self) -> dict[int, float]:
        """Mean wait for connections of a request, by process."""
        waits: dict[int, list[float]] = {}
        for outcome in self.outcomes:
            waits.setdefault(outcome.pid, []).append(outcome.waited)
        return {pid: mean(each) for pid, each in waits.items()}

    @property
    def evenness(self) -> float:
        """How the process that served most compares with the one that served least; infinite when one served none."""
        counts = sorted(self.served.values())
        return counts[-1] / counts[0] if counts else float("inf")

    @property
    def wait_evenness(self) -> float:
        """The same of the mean waits, below a millisecond all alike."""
        waits = sorted(max(wait, 0.001) for wait in self.waits.values())
        return waits[-1] / waits[0] if waits else float("inf")

    @property
    def longest_wait(self) -> float:
        return max((outcome.longest for outcome in self.outcomes), default=0.0)

    @property
    def typical_wait(self) -> float:
        return median(outcome.waited for outcome in self.outcomes) if self.outcomes else 0.0

    def examples(self) -> str:
        """The first failures in words, for the message of an assertion."""
        return "\n".join(f"{o.failed} at {o.step} after {o.ended - o.begun:.2f} s: {o.words}" for o in self.failed[:5])

    def __str__(self) -> str:
        lines = [
            f"{len(self.outcomes)} requests, {len(self.failed)} failed ({self.kinds})",
            f"of {self.limit} connections {self.most_used} used, {self.refused_at_first} + {self.refused} refused",
            f"{self.lost} lost, {self.doubled} doubled, {self.unknown} there and not acknowledged",
            f"served {sorted(self.served.values())}, longest wait {self.longest_wait:.2f} s",
            f"{dict(+self.counters)}",
        ]
        return "\n".join([*lines, self.examples()])


def site(shape: Shape, host: Host, driver: str, *, held: bool, **more: Any) -> Site:
    """Make the site of a shape; the caller enters it.

    :param more: ``options`` of the engine, ``processes``, ``threads``.
    """
    more.setdefault("options", POOL if held else STOCK_PATIENCE)
    url = host.url(driver, held=held)
    if shape == "plain":
        return Crowd(url, **more)
    return Served(url, import_asks=shape != "uwsgi", **more)


class Watch:
    """What the server counts while a site runs. The administrator takes a place as well, so it is asked seldom."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._refused_at_first = 0
        host.forget()
        self._before = host.refused

    def begin(self) -> None:
        """Note that the processes have come up."""
        self._refused_at_first = self.host.refused - self._before
        self.host.forget()
        self._before = self.host.refused

    def end(self, outcomes: list[Outcome], crowd: Site) -> Seen:
        """Say what came of it. The site must have ended."""
        host = self.host
        counters: Counter[str] = Counter()
        for found in crowd.counters.values():
            counters.update(found)
        used, refused = host.most_used, host.refused - self._before
        return Seen(outcomes, host.limit, used, refused, self._refused_at_first, *host.astray(outcomes), counters)


# -- more threads than connections ---------------------------------------------------------------------------------


@dataclass
class Compared:
    """A site that does not know the limit, and stock tuned to it by hand, in turns."""

    seen: Seen
    tuned: Seen
    ratios: list[float] = field(default_factory=list)
    """Requests a second, held against tuned by hand, of each turn."""

    @property
    def ratio(self) -> float:
        return median(self.ratios)


def many_on_few(
    driver: str,
    requests: int,
    *,
    held: bool = True,
    kind: Kind = "account",
    shape: Shape = "plain",
    processes: int = 4,
    threads: int = 5,
    limit: int = 5,
) -> Seen:
    """Let a site with room for 60 connections ask a server that allows five."""
    with limited(kind, limit) as host:
        watch = Watch(host)
        with site(shape, host, driver, held=held, processes=processes, threads=threads) as crowd:
            first = min(requests // 4, FIRST * processes * threads)
            outcomes = crowd.ask(host.numbers(first))
            watch.begin()
            outcomes += crowd.ask(host.numbers(requests - first))
            outcomes += crowd.finish()
        return watch.end(outcomes, crowd)


def against_tuned(
    driver: str,
    requests: int,
    *,
    held: bool = True,
    kind: Kind = "account",
    shape: Shape = "plain",
    processes: int = 4,
    threads: int = 5,
    limit: int = 5,
    slices: int = 20,
    round_trip: float = 0.0,
) -> Compared:
    """Take turns between a site that knows nothing of the limit and one that is tuned to it by hand.

    Each has a server of its own, alike, so that neither's idle connections are in the other's way.

    :param round_trip: seconds from a site to its server and back, which is otherwise on the same machine and takes all
        the processor time that the sites leave.
    """
    with ExitStack() as stack:
        hosts = [stack.enter_context(limited(kind, limit)) for _ in range(2)]
        watches = [Watch(host) for host in hosts]
        if round_trip:
            for host in hosts:
                host.proxy = stack.enter_context(Proxy.for_server(host.server, delay=round_trip / 2))
        by_hand = tuned(hosts[1].limit, processes)
        its_shape: Shape = "plain" if shape == "plain" else "uwsgi"  # stock cannot bear a query at import
        crowds = [
            stack.enter_context(each)
            for each in (
                site(shape, hosts[0], driver, held=held, processes=processes, threads=threads),
                site(its_shape, hosts[1], driver, held=False, processes=processes, threads=threads, options=by_hand),
            )
        ]
        outcomes: list[list[Outcome]] = [[], []]
        ratios = []
        size = max(requests // slices, processes * threads)
        for turn in range(-1, slices):  # the first one opens the connections, and is not timed
            rates = [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                begun = time.monotonic()
                found = crowds[which].ask(hosts[which].numbers(size))
                rates[which] = sum(not outcome.failed for outcome in found) / (time.monotonic() - begun)
                outcomes[which] += found
            if turn >= 0:
                ratios.append(rates[0] / rates[1])
            else:
                for watch in watches:
                    watch.begin()
        for which in (0, 1):
            outcomes[which] += crowds[which].finish()
        seen = [watches[n].end(outcomes[n], crowds[n]) for n in (0, 1)]
        return Compared(seen[0], seen[1], ratios)


def newcomer(driver: str, requests: int, *, idle: int = 4, limit: int = 5) -> int:
    """Return how many of one process's requests wait for a place while the others hold all but one place, idle."""
    with limited("account", limit) as host, ExitStack() as stack:
        crowd = stack.enter_context(Crowd(host.url(driver, held=True), processes=idle, threads=1))
        while len({outcome.pid for outcome in crowd.ask(host.numbers(4 * idle))}) < idle:
            pass
        engine = create_engine(host.url(driver, held=True))
        stack.callback(engine.dispose)
        for _ in range(requests):
            outcome = serve(engine, 1)
            assert not outcome.failed, outcome
        return holdfast.status(engine).counters.waits


# -- processes that are killed -------------------------------------------------------------------------------------


@dataclass
class Killed:
    """What came of a crowd whose processes were killed again and again."""

    seen: Seen
    kills: int
    unanswered: int
    """What the killed had taken with them."""
    places: int
    """Connections that one new process could open at once, afterwards."""


def killed(
    driver: str,
    seconds: float,
    *,
    held: bool = True,
    limit: int = 5,
    processes: int = 4,
    threads: int = 3,
    every: float = 0.2,
    kills_at_least: int = 1,
) -> Killed:
    """Kill a process every 200 ms and start another; at the end see how many connections a new one may open.

    :param seconds: how long; longer on a machine so busy that there were fewer kills by then.
    """
    with limited("account", limit) as host:
        watch, kills = Watch(host), 0
        options = POOL if held else tuned(limit, processes)
        with Crowd(host.url(driver, held=held), processes=processes, threads=threads, options=options) as crowd:
            until = time.monotonic() + seconds
            next_kill = time.monotonic() + min(1.0, seconds / 4)

            def going_on() -> bool:
                return time.monotonic() < until or kills < kills_at_least

            def kill() -> None:
                nonlocal kills, next_kill
                if next_kill <= time.monotonic() and going_on():
                    crowd.kill(random.randrange(len(crowd.alive)))
                    crowd.add()
                    kills += 1
                    next_kill = time.monotonic() + every

            numbers = host.numbers_while(going_on)
            outcomes = crowd.ask(numbers, meanwhile=kill, may_lose=True) + crowd.finish()
        seen = watch.end(outcomes, crowd)
        places = _places(host.url(driver, held=held, holdfast_headroom="0"), limit)
        return Killed(seen, kills, crowd.asked - len(outcomes), places)


def _places(url: URL, limit: int) -> int:
    """Return how many connections an engine of this process gets at once, not waiting long."""
    engine = create_engine(url, pool_size=limit, max_overflow=0, pool_timeout=2)
    found = []
    try:
        for _ in range(limit):
            found.append(engine.connect())
    except SQLAlchemyError:
        pass
    finally:
        for connection in found:
            connection.close()
        engine.dispose()
    return len(found)


def _make_commit_table(url: URL) -> None:
    engine = create_engine(url)
    create_commit_table(engine)
    engine.dispose()


# -- a server that goes away ---------------------------------------------------------------------------------------

How = Literal["stop", "kill"]
"""How the server ends: SIGTERM, SIGKILL."""


@dataclass(frozen=True)
class Outage:
    """Monotonic times of a server that went away and came back."""

    begun: float
    down: float
    back: float


@dataclass
class Restarted:
    """What came of a crowd whose server went away and came back, again and again."""

    seen: Seen
    outages: list[Outage]

    def _was_cut_off(self, outcome: Outcome) -> bool:
        return outcome.step != "checkout" and any(
            outcome.out_since <= outage.down and outcome.ended >= outage.begun for outage in self.outages
        )

    @property
    def cut_off(self) -> list[Outcome]:
        """Failed requests that had their connection before the server was down.

        Nothing can keep a statement from failing that is being executed at that moment.
        """
        return [outcome for outcome in self.seen.failed if self._was_cut_off(outcome)]

    @property
    def others(self) -> list[Outcome]:
        """All other failed requests: they could have waited."""
        return [outcome for outcome in self.seen.failed if not self._was_cut_off(outcome)]


def restarted(
    driver: str,
    how: How,
    *,
    held: bool = True,
    repeat: bool = False,
    times: int = 3,
    away: tuple[float, float] = (1.0, 3.0),
    between: float = 1.0,
    limit: int = 5,
    processes: int = 4,
    threads: int = 3,
) -> Restarted:
    """Take the server away while a crowd asks it, for one to three seconds each time."""
    outages: list[Outage] = []

    def interrupt() -> None:
        for _ in range(times):
            time.sleep(between)
            begun = time.monotonic()
            (host.server.stop if how == "stop" else host.server.kill)()
            down = time.monotonic()
            time.sleep(random.uniform(*away))
            host.server.start()
            outages.append(Outage(begun, down, time.monotonic()))
        time.sleep(between)

    with limited("account", limit) as host:
        options = POOL if held else tuned(limit, processes)
        url, watch = host.url(driver, held=held), Watch(host)
        if repeat:
            _make_commit_table(url)
        with Crowd(url, processes=processes, threads=threads, options=options, repeat=repeat) as crowd:
            outcomes = crowd.ask(host.numbers(FIRST * processes * threads))
            interrupting = threading.Thread(target=interrupt)
            interrupting.start()
            try:
                outcomes += crowd.ask(host.numbers_while(interrupting.is_alive)) + crowd.finish()
            finally:
                interrupting.join()
        return Restarted(watch.end(outcomes, crowd), outages)
