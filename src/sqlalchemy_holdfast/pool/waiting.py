"""How a thread gets a connection: it may wait for a slot, for the server, or until a time limit.

A checkout that finds no idle connection needs a new one. It may have to wait:

* for a slot, when other processes have them all;
* for the server, when that is full or is being restarted;
* for a connection of its own process to be returned.

Whichever comes first will do. ``pool_timeout`` limits all of it, ``holdfast_wait_for_server`` the wait for a server
that is away (:mod:`~.outage`).

There is no lock here. An exception from outside may come at any line, and a signal's handler may use the engine in the
middle of a checkout of its own thread. A lock would stay taken, or its own thread would wait for it. What threads tell
each other changes in single steps of the interpreter. It belongs to the :class:`Wait` that wrote it and goes with it.
What only keeps an order (whose turn it is) is believed for a second and no longer.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from .. import fork
from .._application import thread_name
from .._pages import page
from .._registry import Registry
from ..budget import Slot
from ..drivers import ConnectionState, from_outside, state_of, unwrap
from ..errors import CheckoutTimeout, TooManyWaiting
from ..reporting import Reporter
from ..server.connect_texts import WHO_HAS_THEM
from ..server.error_table import Refusal
from ..server.faults import error_number, judge
from ..settings import Settings
from .connection_limit import ConnectionLimit
from .outage import Asker, Outages

__all__ = ["Backoff", "Connector", "Kept", "Wait", "seconds"]

T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0
"""Seconds that a checkout may wait where the pool has no ``pool_timeout``; SQLAlchemy's own default."""

_WORTH_SAYING = 0.1
"""Seconds without an answer after which an error says so: before that, it is an ordinary attempt to connect."""
_BEHIND = 0.03
"""Seconds after which a thread looks whether it is the one to stand in line now."""
_HUNG_UP = frozenset({2006, 2013, 2055})
"""Errors of a server, or of something else, that accepted a connection and then hung up."""
_WHO_SECONDS = 2.0
"""How long it may take to find out which."""
_ONLY_RETURNS = 0.5
"""Seconds after which a full pool is looked at again, should nothing have been returned."""
_KEPT = "_holdfast_kept"
"""The attribute of a driver's connection that has its slot between its being opened and its being held."""
_TURN = 1.0
"""Seconds after which nobody waits any longer for a thread whose turn it is: it may be in a connect that nothing
answers, in a signal's handler, or gone."""

_IS_IT_THERE = (
    "Is the server there, and can it be reached from here? The driver's connect_timeout limits one attempt to connect, "
    "holdfast_wait_for_server limits how long holdfast tries again, and pool_timeout limits how long a checkout waits"
)
"""What to do when the server gave no connection and is not full."""


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

    def __init__(self, *, spare: bool) -> None:
        self.slot: Slot | None = None
        self.spare = spare
        """The next connection that this thread opens may have it. If not, it is that of one that is open already."""

    def give_back(self) -> None:
        """Release it. Harmless when somebody has taken it."""
        slot = self.slot
        if slot is not None:
            slot.give_back()
        self.slot = None


class Backoff:
    """Growing pauses with jitter, so that many processes that were refused together do not come back together."""

    def __init__(self, first: float = 0.005, longest: float = 0.25) -> None:
        self._next = first
        self._longest = longest

    def pause(self) -> float:
        """Return the next pause in seconds: between half of it and all of it."""
        span = self._next
        self._next = min(span * 2, self._longest)
        return span * random.uniform(0.5, 1.0)


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


class Connector:
    """How one engine's threads get connections: what they share on their way."""

    def __init__(
        self, settings: Settings, reporter: Reporter, limit: ConnectionLimit, clock: Callable[[], float]
    ) -> None:
        self.where = reporter.where
        self.engine_key = uuid.uuid4().hex
        """Names the engine in a :class:`~sqlalchemy_holdfast.errors.CheckoutTimeout`."""
        self.settings = settings
        self.reporter = reporter
        self.limit = limit
        self.clock = clock
        self.sleep = _sleep
        self.aside = False
        """The engine's connections are not held after all."""
        self.outages = Outages(settings, reporter, clock)
        self._last_answer: tuple[float, Refusal | None, str] = -math.inf, None, ""
        """When connecting failed last, what that means, and what was said."""
        self.holders: Callable[[], str] = str
        """Says who holds this process's connections, in words."""
        self.who_answers: Callable[[], str] = str
        """Says what speaks at the server's address, when that is no MySQL server."""
        self.start_anew()

    def start_anew(self) -> None:
        """Forget, in a forked child, what was the parent's."""
        self.outages.start_anew()
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

    def retrying_connect(self, connect: Callable[..., Any], timeout: Callable[[], float]) -> Callable[..., Any]:
        """Make the dialect's ``connect`` wait for a slot and for the server.

        :param timeout: says how long, in seconds, where it is not called by a pool that waits itself.
        """

        def connect_with_retries(*args: Any, **kwargs: Any) -> Any:
            wait = self._threads.wait.get(threading.get_ident())
            if wait is not None and wait.granted:
                return self._open(wait, connect, args, kwargs)
            return self.accompany(Wait(self, timeout()), lambda wait: self._try(wait, connect, args, kwargs))

        return connect_with_retries

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
        wait.asker.since = self.clock()
        try:
            connection = connect(*args, **kwargs)
        except BaseException:
            wait.granted = True
            raise
        finally:
            wait.asker.since = None
        self.outages.connected()
        return connection

    def asking(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver's ``connect`` note since when the server is asked: what comes before it, such as asking for
        the password, may take long and says nothing of the server."""

        def connect_and_note(*args: Any, **kwargs: Any) -> Any:
            wait = self._threads.wait.get(threading.get_ident())
            if wait is None:
                return connect(*args, **kwargs)
            wait.asker.sent = self.clock()
            try:
                return connect(*args, **kwargs)
            finally:
                wait.asker.sent = None

        return connect_and_note

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

    def assign_slot(self, state: ConnectionState, connection: Any) -> None:
        """Give a connection that has just been opened by this thread the slot that was taken for it.

        :param connection: the driver's own object.
        """
        wait = self._threads.wait.get(threading.get_ident())
        kept = getattr(connection, "__dict__", {}).pop(_KEPT, None) or wait
        if kept is not None:
            state.slot, kept.slot = kept.slot, None
        if wait is not None:
            wait.opened = state

    def give_up(self, connection: Any) -> None:
        """Give back the slot of a connection that the pool will close, because it was not made ready.

        :param connection: the driver's own object.
        """
        self.give_up_kept_slot()
        state = state_of(connection)
        if state is not None and state.slot is not None:
            state.slot.give_back()

    def reserve_slot_for_replacement(self, state: ConnectionState) -> Kept:
        """Keep the slot of a connection that is about to be replaced, for the one that this thread opens next.

        :return: what keeps it, for as long as it exists.
        """
        budget, slot, kept = self.limit.budget, state.slot, Kept(spare=True)
        self._threads.kept[threading.get_ident()] = kept
        kept.slot = budget.second(slot) if budget is not None and slot is not None else None
        return kept

    def give_up_kept_slot(self) -> None:
        """Note that this thread does not replace, or has not got, a connection after all."""
        kept = self._threads.kept.get(threading.get_ident())
        if kept is not None:
            kept.give_back()

    def heard(self) -> None:
        """Note that a connection was returned, and is sound: the server is there."""
        self.outages.last_heard = self.clock()

    def probing(self, probe: Callable[[float], T], timeout: float) -> T:
        """Have a connection of the pool probed, when no more threads than may are asking the server for something.

        :raises ServerAway: when they are, and get no answer.
        """
        wait = Wait(self, DEFAULT_TIMEOUT)
        if wait.asker.limit is None:
            return probe(timeout)
        return self.accompany(wait, lambda wait: wait.ask(probe, timeout))

    def pausing(self, pause: Callable[[], bool]) -> bool:
        """Pause before a whole unit of work is begun again, as one of the threads that wait for the server.

        :return: what ``pause`` returns, or false, at once, when as many threads as may wait for it already.
        """
        wait = Wait(self, 0.0)
        if wait.asker.limit is None:
            return pause()

        def unless_enough_wait(wait: Wait) -> bool:
            return self.outages.turns_away(wait.asker, self.others(wait), None) is None and pause()

        return self.accompany(wait, unless_enough_wait)

    def is_nested(self) -> bool:
        """Say whether this thread is on its way to two connections: in a listener, a destructor or a handler."""
        wait = self._threads.wait.get(threading.get_ident())
        return wait is not None and wait.outer() is not None

    # -- messages ----------------------------------------------------------------------------------------------

    def others(self, own: Wait) -> list[Asker]:
        """Return the other threads that are on their way to a connection, and what this one does besides."""
        return [wait.asker for wait in self._waits if wait is not own]

    def timed_out(self, wait: Wait, pool_limit_text: str) -> CheckoutTimeout:
        """Make the error for a checkout that waited in vain.

        :param pool_limit_text: the pool's own limit, in words, when that was reached.
        """
        within = f"within {wait.timeout:g} s (pool_timeout)"
        holders = self.holders()
        own = f"This process holds:{holders}" if holders else "This process holds none."
        account_full = False
        if pool_limit_text or self.limit.budget is None:
            text = f"{pool_limit_text or 'No connection could be opened'}; none became free {within}. {own}"
            advice = "Return connections sooner (end the session before slow work), or raise pool_size or max_overflow"
        else:
            account_full = True
            share = self.limit.budget.snapshot()
            reason = self.limit.limits.reason if self.limit.limits is not None else "the limit"
            if isinstance(self.settings.budget, int):
                reason = "holdfast_budget"
            taken = f"{share.taken} {'is' if share.taken == 1 else 'are'} taken by"
            sharing = f"{share.processes} processes of this machine that share them"
            if share.processes == 1:
                sharing = "this process, the only one of this machine that uses holdfast for this account"
            text = (
                f"{reason} allows {share.limit} connection{'s' * (share.limit != 1)}. {taken} {sharing}, and none "
                f"became free {within}. {own}"
            )
            advice = "Return connections sooner (end the session before slow work), or use fewer processes or threads"
        asked = self._asked_the_server(wait)
        if asked:
            full = self._last_answer[1] is Refusal.FULL
            account_full = account_full or full
            text += f"\n{asked}"
            advice = WHO_HAS_THEM.rstrip(".") if full else _IS_IT_THERE
        error = CheckoutTimeout(f"{text}\n{advice}.\n{page('errors/checkout-timeout')}".rstrip())
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

    def __init__(self, connector: Connector, timeout: float, *, pool: object = None) -> None:
        self.connector = connector
        self.pool = pool
        self.timeout = timeout
        self.thread = threading.get_ident()
        self.number = next(connector._numbers)
        self.began = connector.clock()
        self.deadline = self.began + timeout
        self.slot: Slot | None = None
        """What was taken for the connection, until it has one."""
        self.opened: ConnectionState | None = None
        """The connection, until the thread has got it."""
        self.granted = False
        """The next connect of this thread is the one that was waited for."""
        self.refused: BaseException | None = None
        self.asker = connector.outages.asker(self.number)
        """What other threads are told of it, should the server be away."""
        self.asking_since: float | None = None
        """When the server was asked for a connection that it has not given yet."""
        self.asked = self.began
        """When this thread, whose turn it was, asked last."""
        self.waits = False
        """It has begun to wait."""
        self.outer: Callable[[], Wait | None] = _nobody
        """What this thread was doing before: this is a signal's handler, a destructor or a listener."""
        self._tried_last = False
        self._stands_back = False
        self._polling = Backoff(0.002, 0.02)
        self._backoff: Backoff | None = None
        self._line: Any = None
        self._own = weakref.ref(self)

    def begin(self) -> None:
        """Be what the thread is doing."""
        threads = self.connector._threads
        outer = threads.wait.get(self.thread)
        if outer is not None:
            self.outer = outer._own
        threads.wait[self.thread] = self
        self.connector._waits.add(self)
        kept = threads.kept.get(self.thread)
        if kept is not None and kept.spare:
            self.slot, kept.slot = kept.slot, None

    def may_connect(self) -> bool:
        """Say whether a connection may be opened now. Its slot, if it needs one, is then taken.

        One thread of a process asks at a time, so that they are served in order. The last try of a thread, when its
        time is over, does not depend on that.
        """
        now = self.connector.clock()
        self._tried_last = now >= self.deadline
        if self.stands_back(now):
            return False
        if self.slot is None and not self._may_ask_the_server(now):
            return False
        if self.asking_since is None:
            self.asking_since = now
        self.granted = True
        return True

    def stands_back(self, now: float) -> bool:
        """Say whether as many threads as may are in the middle of asking the server for something."""
        connector = self.connector
        self._stands_back = self.asker.limit is not None and connector.outages.stands_back(
            self.asker, connector.others(self), now, last=self._tried_last
        )
        return self._stands_back

    def _may_ask_the_server(self, now: float) -> bool:
        fork.after_fork()
        limit = self.connector.limit
        budget = limit.open_budget()
        if budget is None:
            # The first connection tells the limit, and the others wait for it.
            return not limit.learns_first() or self._is_its_turn(now) or self._goes_by_itself(now)
        last = now >= self.deadline
        if not self._is_its_turn(now) and not last:
            return False
        self.slot = budget.try_take(last=last)

        def take_second(slot: Slot) -> None:
            self.slot = budget.second(slot)

        if self.slot is None and limit.close_an_idle_one(budget, self.pool, take_second) and self.slot is None:
            self.slot = budget.try_take()
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
        first = self.connector._turn.get(None, _nobody)()
        return now < self.began + _TURN or first is None or first.opened is not None

    def _is_its_turn(self, now: float) -> bool:
        """Take the turn, if it is nobody's. A thread that has it and asks again, in a handler, goes first."""
        turn, before, self.asked = self.connector._turn, self.asked, now
        other = turn.setdefault(None, self._own)()
        if other is None or now - other.asked >= _TURN:
            turn[None] = self._own
        elif other is not self and other.thread != self.thread:
            self.asked = before
            return False
        return True

    def is_worth_another_try(self, error: BaseException) -> bool:
        """Say whether connecting, which has failed, is to be tried again after :meth:`pause`."""
        connector = self.connector
        # SQLAlchemy has wrapped what happened while it asked an engine's first connection for the server's version.
        answer = getattr(error, "orig", None) or error
        refusal = judge(answer, connected=False).refusal
        if (
            refusal is None or from_outside(answer) is not None
        ):  # a time limit of the program's own, in a driver's words
            return False
        now = connector.clock()
        connector._last_answer = now, refusal, str(answer)  # what a refusal says has no value of a statement
        until = (
            self.deadline
            if refusal is Refusal.FULL
            else min(self.deadline, connector.outages.gives_up_at(now, self.asker))
        )
        if now >= until:
            if refusal is Refusal.AWAY:
                connector.outages.given_up()
            if now >= self.deadline:
                connector.reporter.checkout_timed_out()
            return False
        if error_number(answer) in _HUNG_UP and until - now > _WHO_SECONDS and connector.who_answers():
            return False  # it will not become a MySQL server
        if refusal is Refusal.FULL:
            connector.reporter.refused()
            connector.limit.stale = True
        else:
            connector.outages.not_answered(self.asker, answer)
        self.refused = error
        self._backoff = self._backoff or Backoff()
        return True

    def pause(self, pool_limit_text: str = "") -> float:
        """Return how many seconds to wait before the next try.

        :param pool_limit_text: the pool's own limit, in words, when nothing helps but a connection returned to it.
        :raises TooManyWaiting: at the first call, when too many threads wait already.
        :raises ServerAway: when nothing answers, and too many threads wait for that.
        :raises CheckoutTimeout: when the time is up; the driver's error when the last try was refused.
        """
        connector = self.connector
        left = self.deadline - connector.clock()
        if left <= 0 and not (self._tried_last or pool_limit_text or self.refused):
            return 0.0  # asking has taken all the time there was: it is asked once more, without standing back
        if left <= 0:
            connector.reporter.checkout_timed_out()
            raise self.refused or connector.timed_out(self, pool_limit_text)
        if self.asker.limit is not None:
            away = connector.outages.turns_away(
                self.asker, connector.others(self), getattr(self.refused, "orig", None) or self.refused
            )
            if away is not None:
                raise away from self.refused
        if self._stands_back and not self.waits:  # for some milliseconds: it does not count as waiting
            if self.pool is not None:
                connector.in_pool.add(self)
            return min(left, self._polling.pause())
        if not self.waits:
            self._begin_to_wait()
        if self._backoff is not None:
            return min(left, self._backoff.pause())
        if pool_limit_text:
            return min(left, _ONLY_RETURNS)
        other = connector._turn.get(None, _nobody)()
        if other is not None and other is not self and other._line is not None:
            return min(left, _BEHIND)
        return min(left, self._polling.pause())

    def ask(self, probe: Callable[[float], T], timeout: float) -> T:
        """Probe a connection, and be seen to wait for that."""
        while self.stands_back(self.connector.clock()):
            self.connector.sleep(self.pause())
        self.asker.since = self.asker.sent = self.connector.clock()
        try:
            return probe(timeout)
        finally:
            self.asker.since = self.asker.sent = None

    def close_what_was_opened(self) -> None:
        """Close the connection that this thread was opening when an exception came from outside.

        Not left to the collector of garbage: drivers' connections refer to themselves.
        """
        state, self.opened = self.opened, None
        connection = state.connection() if state is not None and state.connection is not None else None
        if state is None or connection is None or state.unusable_because is not None:
            return
        try:
            connection.close()
        except Exception:  # the exception that came first is the one to be told of
            pass

    def _begin_to_wait(self) -> None:
        connector = self.connector
        limit = connector.settings.max_waiting
        if limit is not None and self._rank() >= limit:
            connector.reporter.rejected()
            error = TooManyWaiting(
                f"{limit} threads of this process are waiting for a connection already, as many as "
                f"holdfast_max_waiting={limit} allows. This process holds:{connector.holders()}\n"
                f"{page('errors/checkout-timeout')}".rstrip()
            )
            error.engine_key = connector.engine_key
            raise error
        self.waits = True
        connector.reporter.waited()
        if self.pool is not None:
            connector.in_pool.add(self)

    def _rank(self) -> int:
        """Join the queue, and say how many were there before."""
        queue = self.connector._queue
        queue[self.number] = None
        there = {wait.number for wait in self.connector._waits}
        return [number for number in list(queue) if number in there].index(self.number)

    def _leave_line(self) -> None:
        if self._line is not None:
            self._line.__exit__(None, None, None)
            self._line = None
        turn = self.connector._turn
        if turn.get(None) is self._own:
            turn.pop(None, None)

    def end(self) -> None:
        """Leave everything as it was, but for what was opened. Harmless when that is so already."""
        connector = self.connector
        waits, outer = connector._threads.wait, self.outer()
        if waits.get(self.thread) is self:
            if outer is None:
                waits.pop(self.thread, None)
            else:
                waits[self.thread] = outer
        self.granted = self.waits = False
        connector._queue.pop(self.number, None)
        connector.in_pool.discard(self)
        connector._waits.discard(self)
        self.refused = None  # its traceback leads back here
        self._leave_line()
        if self.slot is not None:
            self.slot.give_back()
            self.slot = None
