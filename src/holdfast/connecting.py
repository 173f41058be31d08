"""How the threads of one engine come by a connection: a slot of the budget, patience, and an end to it.

A checkout that finds no idle connection needs a new one. It may have to wait: for a slot when other processes have
them all, for a server that is full or is being restarted, or for a connection of its own process to be returned,
whichever comes first. All of it is bounded by ``pool_timeout``; waiting for a server by ``holdfast_wait_for_server``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from . import fork, refusals
from .budget import Budget, Slot
from .counters import Counters
from .drivers import Wire
from .errors import BudgetUnavailable, CheckoutTimeout, TooManyWaiting
from .faults import said
from .limits import Limits
from .refusals import Backoff, Refusal
from .settings import Settings

__all__ = ["Connecting", "Wait"]

logger = logging.getLogger("holdfast")

_V = TypeVar("_V")

DEFAULT_TIMEOUT = 30.0
"""Seconds that a checkout may wait where the pool has no ``pool_timeout``; SQLAlchemy's own default."""

_SMALL = 200
"""A learned limit above this is not shared out. 151 is both servers' default for max_connections."""
_ANOTHER_OUTAGE = 60.0
"""Seconds after the last attempt that nothing answered, from which on a further one begins a new outage."""
_WORTH_SAYING = 0.1
"""Seconds without an answer after which the log says so: a connect that was cut off by itself is not an outage."""
_BEHIND = 0.03
"""Seconds after which a thread looks whether it is the one to stand in line now."""
_ONLY_RETURNS = 0.5
"""Seconds after which a full pool is looked at again, should nothing have been returned."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # looked up each time: gevent and eventlet may take its place after an engine was made


class _Thread:
    """What belongs to a thread; to a greenlet where Python was patched, be it after this module was imported, of which
    a ``threading.local`` would not learn."""

    def __init__(self) -> None:
        self._waits: dict[int, Wait] = {}
        self._slots: dict[int, Slot] = {}

    @property
    def wait(self) -> Wait | None:
        return self._waits.get(threading.get_ident())

    @wait.setter
    def wait(self, value: Wait | None) -> None:
        _put(self._waits, value)

    @property
    def slot(self) -> Slot | None:
        return self._slots.get(threading.get_ident())

    @slot.setter
    def slot(self, value: Slot | None) -> None:
        _put(self._slots, value)


def _put(values: dict[int, _V], value: _V | None) -> None:
    own = threading.get_ident()
    if value is None:
        values.pop(own, None)
    else:
        values[own] = value


class Connecting:
    """What one engine's checkouts share."""

    def __init__(self, where: str, settings: Settings, counters: Counters, clock: Callable[[], float]) -> None:
        self.where = where
        self.settings = settings
        self.counters = counters
        self.clock = clock
        self.sleep = _sleep
        self.limits: Limits | None = None
        self.stale = False
        """The server has contradicted what is known of its limits."""
        self.unknown = False
        """The server would not say what its limits are."""
        self.aside = False
        """The engine's connections are not held after all."""
        self.waiting = 0
        """Threads that wait for a connection."""
        self.waiting_in_pool = 0
        """Those of them for which one that is returned to the pool will do."""
        self.budget: Budget | None = None
        self.key: str | None = None
        """What the processes that share have in common: server and account. ``None``: nothing is shared."""
        self._asked_budget = False
        self._away_since: float | None = None
        self._away_said = False
        self._last_unanswered = 0.0
        self.holders: Callable[[], str] = str
        """Says who holds this process's connections, in words."""
        self.in_line = False
        """A thread of this engine stands in line for a slot, for all of them."""
        self._asking = threading.Lock()
        self._count = threading.Lock()
        self._thread = _Thread()

    def start_anew(self, counters: Counters) -> None:
        """Forget, in a forked child, what was the parent's."""
        self.counters = counters
        self.waiting = self.waiting_in_pool = 0
        self.in_line = False
        self._asking, self._count = threading.Lock(), threading.Lock()
        self._thread = _Thread()

    # -- opening a connection ----------------------------------------------------------------------------------

    @contextmanager
    def wait(self, timeout: float, *, in_pool: bool = False) -> Iterator[Wait]:
        """Begin one thread's way to a connection, for the length of a block.

        :param timeout: in seconds.
        :param in_pool: a connection that is returned to the pool will do as well.
        """
        outer, wait = self._thread.wait, Wait(self, timeout, in_pool=in_pool)
        self._thread.wait = wait
        try:
            yield wait
        finally:
            self._thread.wait = outer
            wait.end()

    def patient(self, connect: Callable[..., Any], timeout: Callable[[], float]) -> Callable[..., Any]:
        """Make the dialect's ``connect`` wait for a slot and for the server.

        :param timeout: says how long, in seconds, where it is not called by a pool that waits itself.
        """

        def connect_patiently(*args: Any, **kwargs: Any) -> Any:
            if self._thread.wait is not None:
                return self._open(self._thread.wait, connect, args, kwargs)
            with self.wait(timeout()) as wait:
                while True:
                    if wait.may_connect():
                        try:
                            return self._open(wait, connect, args, kwargs)
                        except Exception as error:
                            if not wait.is_worth_another_try(error):
                                raise
                    self.sleep(wait.pause())

        return connect_patiently

    def _open(self, wait: Wait, connect: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        self._thread.slot, wait.slot = wait.slot, None
        if self._away_since is not None:
            with self._count:
                since, self._away_since = self._away_since, None
                said, self._away_said = self._away_said, False
            if since is not None and said:
                logger.warning("%s: the server answers again, after %.1f s.", self.where, self.clock() - since)
        return connection

    def claim(self, wire: Wire) -> None:
        """Give a connection that has just been opened by this thread the slot that was taken for it."""
        wait, self._thread.slot, slot = self._thread.wait, None, self._thread.slot
        if slot is None and wait is not None:  # opened by a creator
            slot, wait.slot = wait.slot, None
        wire.slot = slot

    def keep_slot(self, wire: Wire) -> None:
        """Keep the slot of a connection that is about to be replaced, for the one that this thread opens next."""
        if self._thread.slot is None:
            self._thread.slot, wire.slot = wire.slot, None

    def take_kept_slot(self) -> Slot | None:
        """Return the slot that :meth:`keep_slot` kept."""
        slot, self._thread.slot = self._thread.slot, None
        return slot

    # -- the budget --------------------------------------------------------------------------------------------

    def share(self, url: URL) -> None:
        """Share with the other processes of this machine that use the same server and account."""
        if self.settings.budget is None or not url.username:
            return
        host = (url.host or "localhost").lower()
        if host in ("127.0.0.1", "::1"):
            host = "localhost"
        self.key = f"{url.username}@{url.query.get('unix_socket') or f'{host}:{url.port or 3306}'}"

    def open_budget(self) -> Budget | None:
        """Return the budget, if there is one: a number of the owner's, or the one that other processes have learned."""
        if not self._asked_budget:
            number = self.settings.budget
            if isinstance(number, int):
                self._use_budget(number)
            elif self.key is not None and self._found(Budget.exists):
                self._use_budget(None)
            self._asked_budget = True  # not when it was refused: then the next checkout is, too
        return self.budget

    def learns_first(self) -> bool:
        """Say whether one connection is to be opened before any other, because it will tell how many there may be."""
        return self.key is not None and self.settings.budget == "learned" and self.limits is None and not self.unknown

    def learned(self, limits: Limits) -> None:
        """Note what the server allows."""
        if self.settings.budget == "learned":
            if limits.connections <= _SMALL:
                self._use_budget(limits.connections)
            else:
                self.budget = None
        self.limits, self.stale = limits, False

    def _use_budget(self, number: int | None) -> None:
        budget = self.budget
        if budget is None and self.key is not None:
            budget = self._found(Budget.shared)
        if budget is None or (number is None and budget.limit is None):
            return
        if number is not None:
            budget.set_limit(number, self.settings.headroom)
        self.budget = budget

    def _found(self, look: Callable[[str, str | None], Any]) -> Any:
        assert self.key is not None
        try:
            return look(self.key, self.settings.budget_directory)
        except BudgetUnavailable as error:
            if self.settings.budget_directory is not None or self.settings.budget != "learned":
                raise  # it was asked for
            self.key = None
            logger.warning("%s: connections are not shared out between the processes. %s", self.where, error)
            return None

    def has_its_share(self) -> bool:
        """Say whether this process has as many connections as it may keep, so that its own do before it borrows."""
        return self.budget is not None and self.budget.holds_its_share()

    def adopt(self, wire: Wire) -> None:
        """Give a slot to a connection that was open before there was a budget."""
        if self.budget is not None and wire.slot is None:
            wire.slot = self.budget.adopt()

    def ended(self, wire: Wire) -> None:
        """Note that a connection is closed."""
        slot, wire.slot = wire.slot, None
        if slot is not None and self.budget is not None:
            self.budget.release(slot)

    # -- messages ----------------------------------------------------------------------------------------------

    def note_refusal(self, refusal: Refusal, error: BaseException) -> None:
        """Count a refusal, and say the first one of a row in the log."""
        if refusal is Refusal.FULL:
            self.counters.refused += 1
            self.stale = True
            return
        with self._count:  # of several threads that notice at once, one says so
            self.counters.unanswered += 1
            self._last_unanswered = now = self.clock()
            if self._away_since is None:
                self._away_since = now
            if self._away_said or now - self._away_since < _WORTH_SAYING:
                return
            self._away_said = True
        logger.warning(
            "%s: the server does not answer (%s); trying again for %g s (holdfast_wait_for_server).",
            self.where,
            said(error),
            self.settings.wait_for_server or 0,
        )

    def gives_up_at(self, now: float) -> float:
        """Return the monotonic time until which a server that is away is waited for.

        Counted from when it went away, so that a site whose database is down for long fails quickly.
        """
        if self._away_since is not None and now - self._last_unanswered > _ANOTHER_OUTAGE:
            self._away_since, self._away_said = None, False
        return (now if self._away_since is None else self._away_since) + (self.settings.wait_for_server or 0)

    def timed_out(self, wait: Wait, pool_is_full: str) -> CheckoutTimeout:
        """Make the error for a checkout that waited in vain.

        :param pool_is_full: the pool's own limit, in words, when that was reached.
        """
        seconds = f"within {wait.timeout:g} s (pool_timeout)"
        holders = self.holders()
        own = f"This process holds:{holders}" if holders else "This process holds none."
        if pool_is_full or self.budget is None:
            text = f"{pool_is_full or 'No connection could be opened'}; none became free {seconds}. {own}"
            advice = "Return connections sooner (end the session before slow work), or raise pool_size or max_overflow"
        else:
            share = self.budget.snapshot()
            reason = self.limits.reason if self.limits is not None else "the limit"
            if isinstance(self.settings.budget, int):
                reason = "holdfast_budget"
            text = (
                f"{reason} allows {share.limit} connections. {share.taken} are taken by {share.processes} processes "
                f"of this machine that share them, and none became free {seconds}. {own}"
            )
            advice = "Return connections sooner (end the session before slow work), or use fewer processes or threads"
        error = CheckoutTimeout(f"{text}\n{advice}.")
        error.account_is_full = not pool_is_full and self.budget is not None
        return error


class Wait:
    """One thread's way to a connection."""

    def __init__(self, connecting: Connecting, timeout: float, *, in_pool: bool) -> None:
        self.connecting = connecting
        self.in_pool = in_pool
        self.timeout = timeout
        self.deadline = connecting.clock() + timeout
        self.slot: Slot | None = connecting.take_kept_slot()
        self.refused: BaseException | None = None
        self._polling = Backoff(0.002, 0.02)
        self._backoff: Backoff | None = None
        self._waits = False
        self._asks = False
        self._line: Any = None

    def may_connect(self) -> bool:
        """Say whether a connection may be opened now. Its slot, if it needs one, is then taken.

        One thread of a process asks at a time, so that they are served in order.
        """
        connecting = self.connecting
        if self.slot is not None:
            return True
        fork.after_fork()
        budget = connecting.open_budget()
        if budget is None and not connecting.learns_first():
            return True
        if not self._asks and not connecting._asking.acquire(blocking=False):
            return False
        self._asks = True
        if budget is None:
            return True  # and the others wait until this connection has told the limit
        self.slot = budget.try_take()
        if self.slot is None:
            if self._line is None:
                connecting.in_line = True
                self._line = budget.waiting()
                self._line.__enter__()
            return False
        self._leave_line()
        return True

    def is_worth_another_try(self, error: BaseException) -> bool:
        """Say whether connecting, which has failed, is to be tried again after :meth:`pause`."""
        connecting = self.connecting
        # SQLAlchemy has wrapped what happened while it asked an engine's first connection for the server's version.
        refusal = refusals.classify(getattr(error, "orig", None) or error)
        if refusal is None:
            return False
        now = connecting.clock()
        until = self.deadline if refusal is Refusal.FULL else min(self.deadline, connecting.gives_up_at(now))
        if now >= until:
            connecting.counters.checkout_timeouts += now >= self.deadline
            return False
        connecting.note_refusal(refusal, error)
        self.refused = error
        self._backoff = self._backoff or Backoff()
        return True

    def pause(self, pool_is_full: str = "") -> float:
        """Return how many seconds to wait before the next try.

        :param pool_is_full: the pool's own limit, in words, when nothing helps but a connection returned to it.
        :raises TooManyWaiting: at the first call, when too many threads wait already.
        :raises CheckoutTimeout: when the time is up; the driver's error when the last try was refused.
        """
        connecting = self.connecting
        left = self.deadline - connecting.clock()
        if left <= 0:
            connecting.counters.checkout_timeouts += 1
            raise self.refused or connecting.timed_out(self, pool_is_full)
        if not self._waits:
            self._begin_to_wait()
        if self._backoff is not None:
            return min(left, self._backoff.pause())
        if pool_is_full:
            return min(left, _ONLY_RETURNS)
        if connecting.in_line and not self._asks:
            return min(left, _BEHIND)
        return min(left, self._polling.pause())

    def _begin_to_wait(self) -> None:
        connecting = self.connecting
        limit = connecting.settings.max_waiting
        with connecting._count:
            self._waits = limit is None or connecting.waiting < limit
            if self._waits:
                connecting.waiting += 1
                connecting.waiting_in_pool += self.in_pool
                connecting.counters.waits += 1
        if not self._waits:
            connecting.counters.turned_away += 1
            raise TooManyWaiting(
                f"{limit} threads of this process are waiting for a connection already, as many as "
                f"holdfast_max_waiting={limit} allows. This process holds:{connecting.holders()}"
            )

    def _leave_line(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            line.__exit__(None, None, None)
        if self._asks:
            self._asks = self.connecting.in_line = False
            self.connecting._asking.release()

    def end(self) -> None:
        """Leave everything as it was, but for what was opened."""
        connecting = self.connecting
        self.refused = None  # its traceback leads back here
        self._leave_line()
        if self._waits:
            with connecting._count:
                connecting.waiting -= 1
                connecting.waiting_in_pool -= self.in_pool
        if self.slot is not None and connecting.budget is not None:
            connecting.budget.release(self.slot)
            self.slot = None
