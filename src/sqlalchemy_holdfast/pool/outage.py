"""A server that is away: since when, for how long it is waited for, and by how many threads of a process.

A thread that waits for the database answers no other request. While nothing answers at the server's address, only so
many threads as ``holdfast_max_waiting_for_server`` says wait for it: the ones that came first. Another one asks the
server once, as it may be back, and then fails at once.

An attempt to connect that nothing answers, as behind a firewall that swallows packets, holds its thread for as long as
the driver's ``connect_timeout``, and nothing can interrupt it. So at any time, also while the server is there, no more
than so many threads are in the middle of an attempt. The others wait until one of these is through, which takes some
milliseconds; or they fail, once an attempt has had no answer for a second.

There is no lock here, as in :mod:`~.waiting`: what a thread tells others belongs to its :class:`Asker`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from .._pages import page
from ..errors import ServerAway
from ..reporting import Reporter
from ..server.faults import said
from ..settings import Settings
from .web_threads import web_threads

__all__ = ["Asker", "Outages"]

_ANOTHER_OUTAGE = 60.0
"""Seconds after the last attempt that nothing answered, from which on a further one begins a new outage."""
_WORTH_SAYING = 0.1
"""Seconds without an answer after which the log says so: a connect that was cut off by itself is not an outage."""
_SILENT = 1.0
"""Seconds without an answer to an attempt to connect after which the server is taken to be away, if no other attempt
was answered meanwhile. A new connection takes some milliseconds; on another continent, with TLS, half a second."""
_FRESH = 1.0
"""Seconds after a refusal for which it tells that the server is away. Who waits asks it four times a second."""
_KEPT_FREE = 4
"""One of so many threads of a web server does not wait."""
_ALONE = 3.0
"""Seconds that the only thread of a process waits at the most: as long as a usual restart takes."""


class Asker:
    """A thread on its way to a connection, for as long as it is."""

    __slots__ = ("limit", "number", "patience", "refused", "sent", "since", "thread")

    def __init__(self, number: int, limit: int | None, patience: float) -> None:
        self.number = number
        """Smaller than that of one who came later."""
        self.limit = limit
        """How many threads may wait, or ``None`` where every thread may: those do not count, either."""
        self.patience = patience
        """Seconds for which the server is waited for."""
        self.thread = threading.get_ident()
        self.since: float | None = None
        """When the attempt to connect began in the middle of which this thread is."""
        self.sent: float | None = None
        """When the server itself was asked in that attempt. Before that, the password may have to be asked for."""
        self.refused = False
        """It has asked, and nothing has answered."""


class _Outage:
    """A time in which nothing answers at the server's address."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.unsaid = [True]
        """Empty once somebody has taken it upon itself to say so in the log."""


class Outages:
    """What one engine's threads know of the server's being away.

    :param clock: monotonic time.
    """

    def __init__(self, settings: Settings, reporter: Reporter, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._reporter = reporter
        self._clock = clock
        self._last_unanswered = 0.0
        self._last_answer = ""
        self.last_heard = 0.0
        """When a connection was made or returned last: the server was there."""
        self.start_anew()

    def start_anew(self) -> None:
        """Forget, in a forked child, what was the parent's."""
        self._outages: dict[None, _Outage] = {}
        """At most one."""

    def asker(self, number: int) -> Asker:
        """Return what stands for this thread on its way to a connection."""
        limit, patience = self._settings.max_waiting_for_server, self._settings.wait_for_server or 0.0
        if isinstance(limit, str):
            threads = web_threads()
            limit = None if threads is None else max(1, threads - max(1, threads // _KEPT_FREE))
            patience = min(patience, _ALONE) if threads == 1 else patience
        return Asker(number, limit, patience)

    # -- what happens ------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Note that the server has answered."""
        self.last_heard = self._clock()
        outage = self._outages.pop(None, None) if self._outages else None
        if outage is not None and not outage.unsaid:
            self._reporter.server_back(self._clock() - outage.since)

    def not_answered(self, asker: Asker, error: BaseException) -> None:
        """Note that nothing has answered, and that it is tried again; say so in the log, once in an outage."""
        self._reporter.unanswered()
        asker.refused = True
        now = self._clock()
        self._last_unanswered, self._last_answer = now, str(error)
        outage = self._outages.setdefault(None, _Outage(now))
        if now - outage.since >= _WORTH_SAYING:
            self._say(outage, said(error), asker)

    def _say(self, outage: _Outage, why: str, asker: Asker) -> None:
        try:
            outage.unsaid.pop()  # of several threads that notice at once, one says so
        except IndexError:
            return
        self._reporter.server_away(why, asker.patience)

    def given_up(self) -> None:
        """Note that nothing has answered once more, and that it is not tried again: it has been waited for."""
        if self._outages:
            self._last_unanswered = self._clock()

    def gives_up_at(self, now: float, asker: Asker) -> float:
        """Return the monotonic time until which a thread waits for a server that is away.

        Counted from when it went away, so that a site whose database is down for long fails quickly.
        """
        if now - self._last_unanswered > _ANOTHER_OUTAGE:
            self._outages.pop(None, None)
        outage = self._outages.get(None)
        return (now if outage is None else outage.since) + asker.patience

    # -- who may wait ------------------------------------------------------------------------------------------

    def stands_back(self, own: Asker, others: Iterable[Asker], now: float, *, last: bool) -> bool:
        """Say whether a thread may not begin to connect now: as many as may are in the middle of it, or another one
        asks for all that wait.

        :param others: all that are on their way to a connection, in any order.
        :param last: it is the thread's last try, as its time is over.
        """
        if own.limit is None:
            return False
        others = list(others)
        asking = [other for other in others if other.since is not None]
        if any(other.thread == own.thread for other in asking):
            return False  # in the middle of an attempt this thread needs another connection: a listener, a handler
        if not last and self._another_asks(own, others, now):
            return True
        threads = {other.thread for other in asking if other.limit is not None}
        return len(threads) >= own.limit and not (last and self._away_since(asking, now) is None)

    def _another_asks(self, own: Asker, others: Iterable[Asker], now: float) -> bool:
        """Say whether the first of those that wait asks the server for all of them. Thirty threads that each ask four
        times a second would leave little of the interpreter for anything else."""
        outage = self._outages.get(None)
        if outage is None or not own.refused or now - self._last_unanswered >= _FRESH:
            return False
        before = any(other.refused and other.limit is not None and other.number < own.number for other in others)
        return before and now < outage.since + own.patience

    def turns_away(self, own: Asker, others: Iterable[Asker], error: BaseException | None) -> ServerAway | None:
        """Return the error for a thread that is not to wait, or ``None`` when it may.

        :param others: as for :meth:`stands_back`.
        :param error: the answer that this thread got itself, if it has asked.
        """
        if own.limit is None:
            return None
        now, others = self._clock(), [other for other in others if other.limit is not None]
        since = self._away_since(others, now)
        if since is None:
            return None
        before = {other.thread for other in others if other.number < own.number} - {own.thread}
        if len(before) < own.limit:
            return None
        return self._turned_away(own, now, since, error)

    def _away_since(self, others: Iterable[Asker], now: float) -> float | None:
        """Return when the server went away, as far as it is known, or ``None`` when it is there."""
        outage = self._outages.get(None)
        if outage is not None and now - self._last_unanswered < _FRESH:
            return outage.since
        silent = [other.sent for other in others if other.sent is not None and other.sent > self.last_heard]
        oldest = min(silent, default=now)
        return oldest if now - oldest >= _SILENT else None

    def _turned_away(self, own: Asker, now: float, since: float, error: BaseException | None) -> ServerAway:
        outage = self._outages.setdefault(None, _Outage(since))
        fresh = now - self._last_unanswered < _FRESH
        self._last_unanswered = now
        said_last = str(error) if error is not None else self._last_answer if fresh else ""
        why = said(error) if error is not None else said_last
        self._say(outage, why or "an attempt to connect gets no answer", own)
        self._reporter.turned_away()
        away = now - outage.since
        answer = f"The last error was: {said_last}" if said_last else "It does not answer attempts to connect"
        since_when = f"has been away for {away:.1f} s" if away >= _WORTH_SAYING else "is away"
        limit = own.limit or 0
        threads = f"{limit} thread{'s' * (limit > 1)} of this process"
        return ServerAway(
            f"{self._reporter.where} {since_when}. {answer}.\n"
            f"{threads} wait{'s' * (limit == 1)} for it already, and no more may "
            f"(holdfast_max_waiting_for_server={self._settings.max_waiting_for_server}), so that the others can answer "
            "requests that need no database.\n"
            "Is the database server running, and can it be reached from here? Nothing needs to be restarted here: "
            "holdfast goes on as soon as the server answers. How long a thread waits for it is "
            f"holdfast_wait_for_server. {page('errors/server-away')}".rstrip(),
            error if error is not None else ConnectionError(said_last or "no answer to an attempt to connect"),
            away,
        )
