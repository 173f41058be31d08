"""Who holds the connections of an engine, and who has forgotten to return one.

A connection that is out for longer than ``holdfast_leak_warning`` is named in the log: while it is out, which is
noticed at another checkout of the engine, and when it comes back. So is one that the garbage collector had to return,
once for each place in the application.
"""

from __future__ import annotations

from collections.abc import Callable

from .._clock import monotonic_also_asleep
from .._registry import Registry
from ..drivers import ConnectionState
from ..reporting import Reporter
from ..settings import Settings
from . import holders
from .holders import Holder

__all__ = ["Leaks"]


class Leaks:
    """The checkouts of one engine.

    :param states: its connections.
    """

    def __init__(
        self,
        settings: Settings,
        reporter: Reporter,
        states: Registry[ConnectionState],
        clock: Callable[[], float] = monotonic_also_asleep,
    ) -> None:
        self._reporter = reporter
        self._threshold = settings.leak_warning
        self._states = states
        self._clock = clock
        self._next_look = 0.0
        self._forgetful: dict[object, object] = {}

    def begin(self, state: ConnectionState, now: float) -> None:
        """Note that a connection is handed out.

        :param now: monotonic time in seconds.
        """
        state.statement = None
        state.holder = Holder(now)
        threshold = self._threshold
        if threshold is not None and now >= self._next_look:
            self._next_look = now + min(1.0, threshold / 4)
            self._look(now, threshold)

    def end(self, state: ConnectionState, now: float) -> None:
        """Note that a connection is returned, by who held it or by the garbage collector."""
        holder, state.holder = state.holder, None
        threshold = self._threshold
        if threshold is not None and holder is not None and holder.overdue(now, threshold):
            self._came_back(holder, now, state)
        if state.checkout is not None and state.checkout() is None:
            self._was_collected(holder, now, state)

    def holders(self) -> str:
        """Say who holds this process's connections, longest first, a line each."""
        now = self._clock()
        held = [(state.holder, state.statement) for state in self._states if state.unusable_because is None]
        found = [(holder, statement) for holder, statement in held if holder is not None]
        found.sort(key=lambda pair: pair[0].since)
        return holders.listed(holder.described(now, statement) for holder, statement in found)

    def _look(self, now: float, threshold: float) -> None:
        for state in self._states:
            holder = state.holder
            if holder is not None and not holder.named and holder.overdue(now, threshold):
                self._warn("is out of the pool", holder, now, state)

    def _warn(self, what: str, holder: Holder, now: float, state: ConnectionState) -> None:
        holder.named = True
        self._reporter.out_too_long(what, holder.described(now, state.statement), self._threshold or 0)

    def _came_back(self, holder: Holder, now: float, state: ConnectionState) -> None:
        if not holder.named:
            self._warn("was out of the pool", holder, now, state)
        else:
            self._reporter.came_back(holder.described(now, None))

    def _was_collected(self, holder: Holder | None, now: float, state: ConnectionState) -> None:
        place = None if holder is None else (holder.code, holder.line)
        mine = object()
        who = None
        # A place that forgets one connection forgets them all.
        if self._threshold is not None and self._forgetful.setdefault(place, mine) is mine:
            who = "by nobody known" if holder is None else holder.described(now, state.statement)
        self._reporter.not_returned(who)
