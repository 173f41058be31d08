"""How the threads of one engine come by a connection: a slot of the budget, patience, and an end to it.

A checkout that finds no idle connection needs a new one. It may have to wait: for a slot when other processes have
them all, for a server that is full or is being restarted, or for a connection of its own process to be returned,
whichever comes first. All of it is bounded by ``pool_timeout``; waiting for a server by ``holdfast_wait_for_server``.

There is no lock here. An exception from outside may come at any line, and a signal's handler may use the engine in the
middle of a checkout of its own thread: a lock would be left taken, or waited for by the thread that has it. What
threads tell each other changes in single steps of the interpreter's, belongs to the :class:`Wait` that wrote it and
goes with it, and what only keeps an order (whose turn it is) is believed for a second and no longer.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from .. import fork
from .._registry import Registry
from ..budget import Budget, Idle, Slot
from ..counters import Counters
from ..drivers import Wire, from_outside, unwrap, wire_of
from ..errors import BudgetUnavailable, CheckoutTimeout, TooManyWaiting
from ..server import refusals
from ..server.faults import said
from ..server.limits import Limits
from ..server.refusals import Backoff, Refusal
from ..settings import Settings
from .holders import thread_name

__all__ = ["Connecting", "Kept", "Wait", "seconds"]

logger = logging.getLogger("holdfast")

T = TypeVar("T")

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
_KEPT = "_holdfast_kept"
"""The attribute of a driver's connection that has its slot between its being opened and its being held."""
_TURN = 1.0
"""Seconds after which nobody waits any longer for a thread whose turn it is: it may be in a connect that nothing
answers, in a signal's handler, or gone."""


def seconds(timeout: Any) -> float:
    """Return a ``pool_timeout`` in seconds. ``None`` is for ever, as in SQLAlchemy."""
    try:
        return math.inf if timeout is None else float(timeout)
    except OverflowError:  # a whole number that no float can hold
        return math.inf


class Kept:
    """A slot on its way from one connection to another, or to the one that it was taken for. It is kept for as long as
    this object exists, or until somebody takes it."""

    __slots__ = ("__weakref__", "slot", "spare")

    def __init__(self, slot: Slot | None = None, *, spare: bool) -> None:
        self.slot = slot
        self.spare = spare
        """The next connection that this thread opens may have it. If not, it is that of one that is open already."""

    def give_back(self) -> None:
        """Release it. Harmless when somebody has taken it."""
        slot = self.slot
        if slot is not None:
            slot.give_back()
        self.slot = None


class _Outage:
    """A time in which nothing answers at the server's address."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.unsaid = [True]
        """Empty once somebody has taken it upon itself to say so in the log."""


def _nobody() -> Any:
    return None


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # looked up each time: gevent and eventlet may take its place after an engine was made


class _Threads:
    """What belongs to a thread; to a greenlet where Python was patched, be it after this module was imported, of which
    a ``threading.local`` would not learn."""

    def __init__(self) -> None:
        self.wait: weakref.WeakValueDictionary[int, Wait] = weakref.WeakValueDictionary()
        """What the thread is doing."""
        self.kept: weakref.WeakValueDictionary[int, Kept] = weakref.WeakValueDictionary()


class Connecting:
    """What one engine's checkouts share."""

    def __init__(self, where: str, settings: Settings, counters: Counters, clock: Callable[[], float]) -> None:
        self.where = where
        self.engine_key = uuid.uuid4().hex
        """Names the engine in a :class:`~sqlalchemy_holdfast.errors.CheckoutTimeout`."""
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
        self.budget: Budget | None = None
        self.key: str | None = None
        """What the processes that share have in common: server and account. ``None``: nothing is shared."""
        self.pools: Registry[Idle] = Registry()
        """The engine's pools, also those that it has no longer: what they keep takes up slots."""
        self._asked_budget = False
        self._last_unanswered = 0.0
        self._last_answer: tuple[float, Refusal | None, str] = -math.inf, None, ""
        """When connecting failed last, what that means, and what was said."""
        self.holders: Callable[[], str] = str
        """Says who holds this process's connections, in words."""
        self._unsaid: deque[Any] = deque()
        self.start_anew(counters)

    def start_anew(self, counters: Counters) -> None:
        """Forget, in a forked child, what was the parent's."""
        self.counters = counters
        self._outages: dict[None, _Outage] = {}
        """At most one."""
        self._waits: Registry[Wait] = Registry()
        """The threads that are on their way to a connection."""
        self.in_pool: Registry[Wait] = Registry()
        """Those of them that wait, and for which a connection that is returned to the pool will do."""
        self._turn: dict[None, weakref.ref[Wait]] = {}
        """Who of them asks for a slot, or for the limit, at the moment: one, so that they are served in order."""
        self._numbers = itertools.count()
        self._queue: dict[int, None] = {}
        """Who has begun to wait, in this order: where holdfast_max_waiting is set."""
        self._threads = _Threads()

    # -- opening a connection ----------------------------------------------------------------------------------

    def accompany(self, wait: Wait, do: Callable[[Wait], T]) -> T:
        """Do something that is one thread's way to a connection.

        Whatever comes from outside, and at whatever line: what the thread has taken on its way is given back.
        """
        try:
            try:
                wait.begin()
                return do(wait)
            finally:
                wait.end()
        finally:
            wait.end()  # again: an exception from outside may have come just before

    def patient(self, connect: Callable[..., Any], timeout: Callable[[], float]) -> Callable[..., Any]:
        """Make the dialect's ``connect`` wait for a slot and for the server.

        :param timeout: says how long, in seconds, where it is not called by a pool that waits itself.
        """

        def connect_patiently(*args: Any, **kwargs: Any) -> Any:
            wait = self._threads.wait.get(threading.get_ident())
            if wait is not None and wait.granted:
                return self._open(wait, connect, args, kwargs)
            return self.accompany(Wait(self, timeout()), lambda wait: self._try(wait, connect, args, kwargs))

        return connect_patiently

    def _try(self, wait: Wait, connect: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        while True:
            if wait.may_connect():
                try:
                    return self._give(wait, self._open(wait, connect, args, kwargs))
                except Exception as error:
                    if not wait.is_worth_another_try(error):
                        raise
            self.sleep(wait.pause())

    def _open(self, wait: Wait, connect: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        wait.granted = False  # not for whoever else may connect meanwhile, as in a signal's handler
        try:
            connection = connect(*args, **kwargs)
        except BaseException:
            wait.granted = True
            raise
        outage = self._outages.pop(None, None) if self._outages else None
        if outage is not None and not outage.unsaid:
            logger.warning("%s: the server answers again, after %.1f s.", self.where, self.clock() - outage.since)
        return connection

    def _give(self, wait: Wait, connection: Any) -> Any:
        """Let a connection have the slot that was taken for it, until it is claimed: it goes with the connection.

        For pools that do not wait themselves: the thread's way is over before they listen to the connection being made.
        """
        kept = Kept(spare=False)
        try:
            setattr(unwrap(connection), _KEPT, kept)
            self._threads.kept[threading.get_ident()] = kept
            kept.slot, wait.slot = wait.slot, None
            return connection
        except AttributeError:  # not a driver's that holdfast knows
            return connection
        except BaseException:
            kept.give_back()
            raise

    def claim(self, wire: Wire, connection: Any) -> None:
        """Give a connection that has just been opened by this thread the slot that was taken for it.

        :param connection: the driver's own object.
        """
        wait = self._threads.wait.get(threading.get_ident())
        kept = getattr(connection, "__dict__", {}).pop(_KEPT, None) or wait
        if kept is not None:
            wire.slot, kept.slot = kept.slot, None
        if wait is not None:
            wait.opened = wire

    def give_up(self, connection: Any) -> None:
        """Give back the slot of a connection that the pool will close, because it was not made ready.

        :param connection: the driver's own object.
        """
        self.give_up_kept_slot()
        wire = wire_of(connection)
        if wire is not None and wire.slot is not None:
            wire.slot.give_back()

    def keep_slot(self, wire: Wire) -> Kept:
        """Keep the slot of a connection that is about to be replaced, for the one that this thread opens next.

        :return: what keeps it, for as long as it exists.
        """
        budget, slot, kept = self.budget, wire.slot, Kept(spare=True)
        self._threads.kept[threading.get_ident()] = kept
        kept.slot = budget.second(slot) if budget is not None and slot is not None else None
        return kept

    def give_up_kept_slot(self) -> None:
        """Note that this thread does not replace, or has not got, a connection after all."""
        kept = self._threads.kept.get(threading.get_ident())
        if kept is not None:
            kept.give_back()

    def is_nested(self) -> bool:
        """Say whether this thread is on its way to two connections: in a listener, a destructor or a handler."""
        wait = self._threads.wait.get(threading.get_ident())
        return wait is not None and wait.outer() is not None

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
            # Not when it was refused: then the next checkout is, too. And not before the limit is known: another
            # engine, or another process, may have learned it while this one is refused a connection.
            self._asked_budget = not self.learns_first()
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
                budget, self.budget = self.budget, None
                if budget is not None:
                    budget.leave(self)
        self._asked_budget = True  # what a file says is no news any more: a smaller server's, at the same address
        self.limits, self.stale = limits, False

    def _use_budget(self, number: int | None) -> None:
        budget = self.budget
        if budget is None and self.key is not None:
            budget = self._found(Budget.shared)
        if budget is None or (number is None and budget.limit is None):
            return
        if number is not None:
            budget.set_limit(number, self.settings.headroom)
        budget.use(self)
        self.budget = budget

    def _found(self, look: Callable[[str, str | None], Any]) -> Any:
        assert self.key is not None
        try:
            return look(self.key, self.settings.budget_directory)
        except BudgetUnavailable as error:
            if self.settings.budget_directory is not None or self.settings.budget != "learned":
                raise  # it was asked for
            self.key = None
            self.say(logging.WARNING, "%s: connections are not shared out between the processes. %s", self.where, error)
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
        slot = wire.slot
        if slot is not None:
            slot.give_back()
            wire.slot = None  # not before: an exception from outside may come in between, and then this is done again

    def of_an_idle_one(self, budget: Budget, wait: Wait) -> Slot | None:
        """Close a connection that another pool of this process keeps idle, and return its slot.

        Connections of another engine, or of a pool that was disposed of, are idle for as long as nobody asks for them:
        to wait for one of them is to wait for ever. The longest row of them is shortened.

        :return: ``None`` when there is none, or when its slot is another process's by right.
        """

        def before(connection: object) -> None:
            wire = wire_of(connection)
            if wire is not None and wire.slot is not None and budget.keeps(wire.slot, own_waiting=True):
                wait.slot = budget.second(wire.slot)

        pools = [pool for user in budget.users for pool in user.pools if pool is not wait.pool]
        idle = sorted((pool.holdfast_idle(), number) for number, pool in enumerate(pools))
        for connections, number in reversed(idle):
            if connections and pools[number].holdfast_close_one(before):
                return wait.slot or budget.try_take()
        return None

    def say(self, level: int, message: str, *arguments: object) -> None:
        """Write something into the log once a connection is made (:meth:`say_now`). SQLAlchemy holds a lock while it is
        made ready, and a logging handler may need a connection, too."""
        self._unsaid.append((level, message, *arguments))

    def say_now(self) -> None:
        """Write what is to be said."""
        while self._unsaid:
            try:
                said = self._unsaid.popleft()
            except IndexError:  # another thread was faster
                return
            logger.log(*said)

    # -- messages ----------------------------------------------------------------------------------------------

    def note_refusal(self, refusal: Refusal, error: BaseException) -> None:
        """Count a refusal, and say the first one of a row in the log."""
        if refusal is Refusal.FULL:
            self.counters.refused += 1
            self.stale = True
            return
        self.counters.unanswered += 1
        self._last_unanswered = now = self.clock()
        outage = self._outages.setdefault(None, _Outage(now))
        if now - outage.since < _WORTH_SAYING:
            return
        try:
            outage.unsaid.pop()  # of several threads that notice at once, one says so
        except IndexError:
            return
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
        if now - self._last_unanswered > _ANOTHER_OUTAGE:
            self._outages.pop(None, None)
        outage = self._outages.get(None)
        return (now if outage is None else outage.since) + (self.settings.wait_for_server or 0)

    def timed_out(self, wait: Wait, pool_is_full: str) -> CheckoutTimeout:
        """Make the error for a checkout that waited in vain.

        :param pool_is_full: the pool's own limit, in words, when that was reached.
        """
        within = f"within {wait.timeout:g} s (pool_timeout)"
        holders = self.holders()
        own = f"This process holds:{holders}" if holders else "This process holds none."
        account_full = False
        if pool_is_full or self.budget is None:
            text = f"{pool_is_full or 'No connection could be opened'}; none became free {within}. {own}"
            advice = "Return connections sooner (end the session before slow work), or raise pool_size or max_overflow"
        else:
            account_full = True
            share = self.budget.snapshot()
            reason = self.limits.reason if self.limits is not None else "the limit"
            if isinstance(self.settings.budget, int):
                reason = "holdfast_budget"
            text = (
                f"{reason} allows {share.limit} connections. {share.taken} are taken by {share.processes} processes "
                f"of this machine that share them, and none became free {within}. {own}"
            )
            advice = "Return connections sooner (end the session before slow work), or use fewer processes or threads"
        asked = self._asked_the_server(wait)
        if asked:
            account_full = account_full or self._last_answer[1] is Refusal.FULL
            text += f"\n{asked}"
            advice = (
                "Is the server there, and can it be reached from here? How long one attempt to connect may take is "
                "the driver's connect_timeout; for how long it is tried again, holdfast_wait_for_server; how long a "
                "checkout waits, pool_timeout"
            )
        error = CheckoutTimeout(f"{text}\n{advice}.")
        error.engine_key, error.account_full = self.engine_key, account_full
        return error

    def _asked_the_server(self, own: Wait) -> str:
        """Say in words what other threads have asked the server for meanwhile, and in vain; else nothing."""
        now, (answered, _, answer) = self.clock(), self._last_answer
        waits = [(wait.asking_since, wait.number, wait) for wait in self._waits if wait is not own]
        asking = [(since, number, wait) for since, number, wait in waits if since is not None]
        since, _, first = min(asking, default=(now, 0, None))
        if first is not None and now - since >= _WORTH_SAYING:
            text = f"{self.where} was asked for a connection {now - since:.1f} s ago by {thread_name(first.thread)}"
            return f"{text}, and has not answered." if answered < since else f"{text}; its last answer was: {answer}"
        return f"{self.where} gave other threads none; its last answer was: {answer}" if answered >= own.began else ""


class Wait:
    """One thread's way to a connection.

    :param timeout: in seconds.
    :param pool: the pool, where a connection that is returned to it will do as well.
    """

    def __init__(self, connecting: Connecting, timeout: float, *, pool: object = None) -> None:
        self.connecting = connecting
        self.pool = pool
        self.timeout = timeout
        self.thread = threading.get_ident()
        self.number = next(connecting._numbers)
        self.began = connecting.clock()
        self.deadline = self.began + timeout
        self.slot: Slot | None = None
        """What was taken for the connection, until it has one."""
        self.opened: Wire | None = None
        """The connection, until the thread has got it."""
        self.granted = False
        """The next connect of this thread is the one that was waited for."""
        self.refused: BaseException | None = None
        self.asking_since: float | None = None
        """When the server was asked for a connection that it has not given yet."""
        self.asked = self.began
        """When this thread, whose turn it was, asked last."""
        self.waits = False
        """It has begun to wait."""
        self.outer: Callable[[], Wait | None] = _nobody
        """What this thread was doing before: this is a signal's handler, a destructor or a listener."""
        self._tried_last = False
        self._polling = Backoff(0.002, 0.02)
        self._backoff: Backoff | None = None
        self._line: Any = None
        self._own = weakref.ref(self)

    def begin(self) -> None:
        """Be what the thread is doing."""
        threads = self.connecting._threads
        outer = threads.wait.get(self.thread)
        if outer is not None:
            self.outer = outer._own
        threads.wait[self.thread] = self
        self.connecting._waits.add(self)
        kept = threads.kept.get(self.thread)
        if kept is not None and kept.spare:
            self.slot, kept.slot = kept.slot, None

    def may_connect(self) -> bool:
        """Say whether a connection may be opened now. Its slot, if it needs one, is then taken.

        One thread of a process asks at a time, so that they are served in order. The last try of a thread, when its
        time is over, does not depend on that.
        """
        now = self.connecting.clock()
        self._tried_last = now >= self.deadline
        if self.slot is None and not self._may_ask_the_server(now):
            return False
        if self.asking_since is None:
            self.asking_since = now
        self.granted = True
        return True

    def _may_ask_the_server(self, now: float) -> bool:
        connecting = self.connecting
        fork.after_fork()
        budget = connecting.open_budget()
        if budget is None:
            # The first connection tells the limit, and the others wait for it.
            return not connecting.learns_first() or self._is_its_turn(now) or self._goes_by_itself(now)
        last = now >= self.deadline
        if not self._is_its_turn(now) and not last:
            return False
        self.slot = budget.try_take(last=last) or connecting.of_an_idle_one(budget, self)
        if self.slot is None:
            if self._line is None and not last:
                self._line = budget.waiting()
                self._line.__enter__()
            return False
        self._leave_line()
        return True

    def _goes_by_itself(self, now: float) -> bool:
        """Say whether to connect at the end of this thread's time, while another thread is making the first connection:
        when that had no time yet to be answered, or was answered and is not ready."""
        if now < self.deadline:
            return False
        first = self.connecting._turn.get(None, _nobody)()
        return now < self.began + _TURN or first is None or first.opened is not None

    def _is_its_turn(self, now: float) -> bool:
        """Take the turn, if it is nobody's. A thread that has it and asks again, in a handler, goes first."""
        turn, before, self.asked = self.connecting._turn, self.asked, now
        other = turn.setdefault(None, self._own)()
        if other is None or now - other.asked >= _TURN:
            turn[None] = self._own
        elif other is not self and other.thread != self.thread:
            self.asked = before
            return False
        return True

    def is_worth_another_try(self, error: BaseException) -> bool:
        """Say whether connecting, which has failed, is to be tried again after :meth:`pause`."""
        connecting = self.connecting
        # SQLAlchemy has wrapped what happened while it asked an engine's first connection for the server's version.
        answer = getattr(error, "orig", None) or error
        refusal = refusals.classify(answer)
        if (
            refusal is None or from_outside(answer) is not None
        ):  # a time limit of the program's own, in a driver's words
            return False
        now = connecting.clock()
        connecting._last_answer = now, refusal, str(answer)  # what a refusal says has no value of a statement
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
        if left <= 0 and not (self._tried_last or pool_is_full or self.refused):
            return 0.0  # asking has taken all the time there was: it is asked once more, without standing back
        if left <= 0:
            connecting.counters.checkout_timeouts += 1
            raise self.refused or connecting.timed_out(self, pool_is_full)
        if not self.waits:
            self._begin_to_wait()
        if self._backoff is not None:
            return min(left, self._backoff.pause())
        if pool_is_full:
            return min(left, _ONLY_RETURNS)
        other = connecting._turn.get(None, _nobody)()
        if other is not None and other is not self and other._line is not None:
            return min(left, _BEHIND)
        return min(left, self._polling.pause())

    def close_what_was_opened(self) -> None:
        """Close the connection that this thread was opening when an exception came from outside.

        Not left to the collector of garbage: drivers' connections refer to themselves.
        """
        wire, self.opened = self.opened, None
        connection = wire.connection() if wire is not None and wire.connection is not None else None
        if wire is None or connection is None or wire.fault is not None:
            return
        try:
            connection.close()
        except Exception:  # the exception that came first is the one to be told of
            pass

    def _begin_to_wait(self) -> None:
        connecting = self.connecting
        limit = connecting.settings.max_waiting
        if limit is not None and self._rank() >= limit:
            connecting.counters.turned_away += 1
            error = TooManyWaiting(
                f"{limit} threads of this process are waiting for a connection already, as many as "
                f"holdfast_max_waiting={limit} allows. This process holds:{connecting.holders()}"
            )
            error.engine_key = connecting.engine_key
            raise error
        self.waits = True
        connecting.counters.waits += 1
        if self.pool is not None:
            connecting.in_pool.add(self)

    def _rank(self) -> int:
        """Join the queue, and say how many were there before."""
        queue = self.connecting._queue
        queue[self.number] = None
        there = {wait.number for wait in self.connecting._waits}
        return [number for number in list(queue) if number in there].index(self.number)

    def _leave_line(self) -> None:
        if self._line is not None:
            self._line.__exit__(None, None, None)
            self._line = None
        turn = self.connecting._turn
        if turn.get(None) is self._own:
            turn.pop(None, None)

    def end(self) -> None:
        """Leave everything as it was, but for what was opened. Harmless when that is so already."""
        connecting = self.connecting
        waits, outer = connecting._threads.wait, self.outer()
        if waits.get(self.thread) is self:
            if outer is None:
                waits.pop(self.thread, None)
            else:
                waits[self.thread] = outer
        self.granted = self.waits = False
        connecting._queue.pop(self.number, None)
        connecting.in_pool.discard(self)
        connecting._waits.discard(self)
        self.refused = None  # its traceback leads back here
        self._leave_line()
        if self.slot is not None:
            self.slot.give_back()
            self.slot = None
