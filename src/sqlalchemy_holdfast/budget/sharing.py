"""Who takes a slot, who waits for one, and who gives one back.

The aim: every process gets its share of what the server allows. A busy process may borrow what the others do not use.
A new process gets a connection soon, even when all are taken.

* *Share*: with N live processes (those that hold slots or wait), a process may keep an N-th of the slots, rounded
  down. For what it holds within its share it needs no system call. What it holds above its share is *borrowed*: it
  gives that back when another process waits, or when no slot would be left for a new process.
* *Line*: waiting processes stand in a line and take slots in its order. Those below their share come before those that
  want to borrow. So a process that is rarely busy waits a few milliseconds, and not for every borrower's turn; the
  others, which hold their share already, lose nothing. Nobody overtakes, with one exception. When a slot has been free
  for :data:`STALL` and those in front have not taken it, they cannot: they are stopped by a debugger, get no CPU time,
  or may not take a spare one. Then the next process takes it.
* *Headroom*: the last slots are *spare*. They are left to the account's owner, who may want to look at the server by
  hand. An idle process runs no code and cannot give anything back. So a process that holds nothing may take a spare
  slot after :data:`PATIENCE` in line. A process that holds some and shares with nobody may take one after
  :data:`ALONE`: only the connections that its own threads wait with can be in the way there. Both give it back after
  each use, and wait for a shorter time the next time.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from .. import reporting
from .._registry import Registry
from ..errors import BudgetUnavailable
from ..fork import after_fork, watch
from .exclusion import Exclusion
from .holding import UNPLACED, Holding, Slot
from .slot_file import LINE, MEMBERS, SLOTS, SlotFile, SlotFileError, default_directory

__all__ = ["UNPLACED", "Budget", "Idle", "Snapshot", "User"]


T = TypeVar("T")

PATIENCE = 0.25
"""Seconds in line after which a process that holds nothing may take a spare slot."""
ALONE = 0.5
"""Seconds in line after which a process that holds some may take a spare slot if it shares with nobody."""
NEED = 10.0
"""Seconds for which a process that has had to use a spare slot need not wait for it again."""
LEASE = 0.1
"""Seconds for which a borrowed slot may serve this process's own waiting threads while other processes wait."""
STALL = 0.05
"""Seconds after which a slot that those in front leave free may be taken by who comes next."""
FRESH = 0.05
"""Seconds for which the share is believed before the members are counted again."""
OWED, BORROWING = LINE[: len(LINE) // 2], LINE[len(LINE) // 2 :]
"""The two kinds of places in line: of processes below their share, and behind them of those that want to borrow."""
_SHORTLY, _AT_MOST = 0.05, 1.0
"""Seconds for which a thread waits for another one that is inside the budget: where it comes again, and where not."""


class Idle(Protocol):
    """Something that keeps connections that nobody uses at the moment, such as a pool."""

    def holdfast_idle(self) -> int:
        """Say how many there are."""

    def holdfast_close_one(self, before: Callable[[object], object]) -> bool:
        """Close one of them, if there is one.

        :param before: called with it before it is closed.
        """


class User(Protocol):
    """Something that opens connections for the slots of a budget, such as an engine."""

    pools: Registry[Idle]
    """Where it keeps those that nobody uses at the moment."""


@dataclass(frozen=True)
class Snapshot:
    """A budget as it is at one moment, for people and metrics."""

    limit: int | None
    """How many connections the server allows; ``None`` when that is not known yet."""
    headroom: int
    """How many of them are spare."""
    usable: int | None
    """How many of them are normal."""
    held: int
    """How many slots this process holds."""
    taken: int
    """How many slots all processes hold."""
    processes: int
    """How many processes hold a slot or wait for one."""
    share: int | None
    """How many slots this process keeps without being asked for them."""
    waiting: int
    """How many processes are in line."""


class Budget:
    """The slots that the processes of one user on this machine share. All methods may be called from any thread.

    A fork is noticed: a child starts with nothing. Should the file become unusable later on (its directory removed and
    not to be made again), connections are made without counting them, which is logged once: no request fails for it.

    :param file: the slot file. This process must not have it in another budget: use :meth:`shared`.
    :param clock: a monotonic clock, in seconds.
    :param sleep: waits for a number of seconds.
    :param jitter: returns a number from 0 to 1, by which processes that wait drift apart.
    """

    def __init__(
        self,
        file: SlotFile,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._file = file
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._limit: int | None = None
        self._headroom = 0
        self._usable = len(SLOTS)
        self._blind = False
        self._complaints: deque[BaseException] = deque()
        """What is to be logged, but not in the exclusion."""
        self.users: Registry[User] = Registry(self._tidy)
        """Those that open connections here. Without any, and without a slot that is held, the file is closed."""
        self._was_used = False
        self._reset()
        watch(self)

    _shared: ClassVar[dict[tuple[str, str | None], Budget]] = {}

    @classmethod
    def shared(cls, key: str, directory: str | os.PathLike[str] | None = None) -> Budget:
        """Return this process's one budget for a key and a directory.

        :param key: what is shared, such as server and account: processes with the same key and directory share.
        :param directory: where the slot file lies (setting ``holdfast_budget_directory``); it must belong to this user
            alone, and is made when it is missing. Default: ``/dev/shm/holdfast-<user id>`` on Linux, else the same
            name in the directory for temporary files.
        :raises BudgetUnavailable: when there is no safe place for the file, or the system lacks what is needed.
        """
        place = None if directory is None else os.path.abspath(directory)
        if place is not None:  # one file must not get two budgets by two spellings
            parent, name = os.path.split(place)
            place = os.path.join(os.path.realpath(parent), name)
            if hasattr(os, "geteuid") and place == os.path.realpath(default_directory()):
                place = None
        budget = cls._shared.get((key, place)) or cls._shared.setdefault((key, place), cls(SlotFile(key, place)))
        after_fork()

        def look() -> None:
            budget._attach()
            budget._count_members()

        try:
            budget._inside(look, None, _AT_MOST)
        except SlotFileError as error:
            raise BudgetUnavailable(f"holdfast cannot lock slots in {budget._file.path}: {error}") from error
        return budget

    @classmethod
    def exists(cls, key: str, directory: str | os.PathLike[str] | None = None) -> bool:
        """Say whether a process has made the file for a key, without making it."""
        return SlotFile(key, None if directory is None else os.fspath(directory)).exists()

    def set_limit(self, limit: int, headroom: int = 1) -> None:
        """Say how many connections the server allows.

        :param limit: the number for the account, at least 1.
        :param headroom: how many of them stay spare; fewer when that would leave no normal one.
        :raises ValueError: for a limit below 1 or a headroom below 0.
        """
        if limit < 1 or headroom < 0:
            raise ValueError(f"a limit of {limit} with a headroom of {headroom} is not possible")
        after_fork()
        self._set(min(limit, len(SLOTS)), headroom)

        def write() -> None:
            with contextlib.suppress(*_UNUSABLE):
                self._attach()
                self._file.write_hint(self._limit or limit, headroom)

        self._inside(write, None, _AT_MOST)

    @property
    def limit(self) -> int | None:
        """How many connections the server allows: as was said here, else as another process has written it down."""
        if self._limit is None:
            after_fork()
            self._inside(self._learn, None)
        return self._limit

    def use(self, user: User) -> None:
        """Note that somebody opens connections here, for as long as it exists."""
        self.users.add(user)
        self._was_used = True

    def leave(self, user: User) -> None:
        """Note that somebody will open no more connections here."""
        self.users.discard(user)
        self._tidy()

    def try_take(self, *, last: bool = False) -> Slot | None:
        """Take a slot at once, or none: when none is free, or when others wait for one already.

        Never sleeps for longer than another thread needs that is inside. "Others" are other processes, and threads of
        this one; a thread is one of those that wait while it is inside :meth:`waiting`. While the limit is not known,
        any number of slots is free.

        :param last: the caller will not come again: a longer wait for a thread that is inside is worth it, and it does
            not stand back for threads of this process that will.
        """
        after_fork()
        waiting = list(self._waiters.values())
        if waiting and not last and threading.get_ident() not in waiting:
            return None
        # A signal's handler, or a destructor, that came while this thread was inside does not stand in line: what it
        # would change there is just being changed.
        take = self._take_free if self._exclusion.entered else self._take_in_turn
        return self._take(take, _AT_MOST if last else _SHORTLY)

    def take(self, deadline: float) -> Slot | None:
        """Take a slot, waiting in line for it until the deadline on the budget's clock; ``None`` when time is up."""
        slot = self.try_take()
        began = now = self._clock()
        if slot is not None or now >= deadline:
            return slot
        with self.waiting():
            while True:
                slot = self.try_take()
                now = self._clock()
                if slot is not None or now >= deadline:
                    return slot
                # A tenth of the time that was waited already: soon enough for who comes soon, cheap for who waits long.
                pause = min(max((now - began) / 10, 0.001), 0.01) * (0.5 + self._jitter())
                self._sleep(min(pause, deadline - now))

    def adopt(self) -> Slot:
        """Take a slot for a connection that is open already: a free one without regard to the line, or an unplaced."""
        after_fork()
        slot = self._take(lambda taken: self._take_below(self._limit or len(SLOTS), taken))
        return slot or self._hold(Slot(self._holding, UNPLACED, self._clock()))

    def second(self, slot: Slot) -> Slot | None:
        """Return another right to the same slot, for the connection that will take the place of the one that has it.

        Both have to be released. ``None`` for a slot that is given up already.
        """
        other = Slot(self._holding, slot.index, slot.place.since)
        try:
            self._hold(other)
            if slot.place in self._holding.places:
                return other
        except BaseException:
            other.give_back()
            raise
        other.give_back()
        return None

    def waiting(self) -> AbstractContextManager[None]:
        """Keep this process's place in line, for a thread that calls :meth:`try_take` again and again.

        A process has one place, however many of its threads wait, and goes to the end after each slot that it gets.
        """
        return _Waiting(self)

    def keeps(self, slot: Slot, *, own_waiting: bool) -> bool:
        """Whether a connection that was returned may stay open. If not, close it and :meth:`release` its slot.

        :param own_waiting: whether threads wait that could use this connection. Others of this process that are in
            :meth:`waiting` cannot: it is given up for them.
        """
        # No check for a fork here: it costs a system call, and what a child asks of its parent's slot is harmless.
        if (
            len(self._holding.places) <= self._share
            and slot.place.index < self._usable
            and (own_waiting or not self._waiters)
            and self._clock() < self._stale
        ):
            return True
        after_fork()
        if self._waiters and not own_waiting:
            return False
        return self._inside(lambda: self._reconsider(slot, own_waiting), True)

    def holds_its_share(self) -> bool:
        """Say whether this process holds what it may keep, by the last count of processes. Makes no system call."""
        return 0 < self._share <= len(self._holding.places)

    def release(self, slot: Slot) -> None:
        """Give a slot back. Harmless when that was done before, or in a process that does not own it.

        Never waits: while another thread is inside the budget, that one gives it back.
        """
        after_fork()
        slot.give_back()

    def start_anew(self) -> None:
        """Hold nothing, as a forked child does."""
        self._reset()

    def leave_to_parent(self) -> None:
        """Forget what is the parent's, before anything in a child can release it."""
        self._reset()

    def snapshot(self) -> Snapshot:
        """Look at the whole budget, by counting locks: some system calls for each process and slot."""
        after_fork()
        others, waiting = self._inside(self._count_others, (0, 0), _AT_MOST)
        known, held = self._limit is not None, len(self._holding.places)
        return Snapshot(
            limit=self._limit,
            headroom=self._headroom,
            usable=self._usable if known else None,
            held=held,
            taken=others + held,
            processes=self._processes,
            share=self._share if known else None,
            waiting=waiting + (self._position is not None),
        )

    # -- inside and outside ------------------------------------------------------------------------------------

    def _inside(self, do: Callable[[], T], otherwise: T, seconds: float = _SHORTLY) -> T:
        """Call something in the exclusion; on the way out, do what was left to who is inside."""
        try:
            result = self._exclusion.run(do, otherwise, seconds)
        finally:
            if self._untidy:
                self._tidy()
        if self._complaints and not self._exclusion.entered:
            complaints, self._complaints = self._complaints, deque()
            for error in complaints:
                reporting.not_counting(error)
        return result

    def _take(self, take: Callable[[list[Slot]], Slot | None], seconds: float = _SHORTLY) -> Slot | None:
        """Take a slot; give it back should an exception from outside come, at whatever line."""
        taken: list[Slot] = []
        try:
            return self._inside(lambda: self._counted(take, taken), None, seconds)
        except BaseException:
            for slot in taken:
                self.release(slot)
            raise

    def _hold(self, slot: Slot) -> Slot:
        self._holding.places.add(slot.place)
        return slot

    def _tidy(self) -> None:
        """Give up, in the file, what is given up here. Called at any place, in any thread; never waits.

        Who cannot get in leaves it to who is inside. That one looks after it has come out, so none is forgotten.
        """
        self._untidy = True
        while self._untidy and not self._exclusion.entered and self._exclusion.run(self._tidied, False, 0):
            pass

    def _reset(self) -> None:
        self._exclusion = Exclusion()
        self._untidy = False
        self._holding = Holding(self._file, self._exclusion, self._tidy)
        """What this process holds. A child's slots and its parent's have different ones."""
        self._whole = False
        """In the file that is open, everything is locked that is held."""
        self._member: int | None = None
        self._position: int | None = None
        self._in_line = False
        """There may be something locked in the line."""
        self._waiters: dict[object, int] = {}
        """Who waits, and in which thread."""
        self._in_line_since = 0.0
        self._in_need_until = 0.0
        self._left: tuple[int, int] | None = None
        """Who was seen in front, and which slot was seen free meanwhile."""
        self._left_since = 0.0
        self._processes = 0
        self._share = 0
        self._stale = 0.0

    def _set(self, limit: int, headroom: int) -> None:
        headroom = min(headroom, limit - 1)
        self._limit, self._headroom, self._usable, self._stale = limit, headroom, limit - headroom, 0.0

    # -- everything below is called in the exclusion -----------------------------------------------------------
    #
    # An exception may come from outside at any line, and so may a handler or a destructor that comes in here, too.
    # So whatever is locked is written down before, and what is written down may be wrong in one direction only.

    def _tidied(self) -> bool:
        self._untidy = False
        try:
            self._holding.unlock_surplus()
            if not self._waiters and self._in_line:
                self._leave_line()
            if self._takes_no_part() and self._member is not None:
                self._leave_members()
            if self._takes_no_part() and self._was_used and not self.users.known:
                self._whole = False
                self._file.close()
                self._was_used = not self._takes_no_part()  # since a moment ago, in a signal's handler
                if self._was_used:
                    self._attach()
        except BaseException:
            self._untidy = True
            raise
        return True

    def _takes_no_part(self) -> bool:
        return not self._holding.places and not self._waiters

    def _learn(self) -> None:
        hint = self._file.read_hint() if self._limit is None else None
        if hint is not None and 1 <= hint[0] <= len(SLOTS):
            self._set(*hint)

    def _attach(self) -> None:
        """Open the file if it was not, or was replaced, and take there what is held."""
        if self._exclusion.nested or (self._whole and self._file.intact()):
            return
        self._whole = False
        if not self._file.intact():
            self._file.open()
        self._holding.lock_again(self._usable)
        self._position = None  # who waits joins the new line with the next try
        if self._member is not None:
            self._member = None
            self._join_members()
        self._holding.unlock_surplus()
        if self._limit is not None:
            self._file.write_hint(self._limit, self._headroom)
        self._whole = True

    def _counted(self, take: Callable[[list[Slot]], Slot | None], taken: list[Slot]) -> Slot | None:
        """Take a slot; an unplaced one where the file cannot be used."""
        try:
            self._attach()
            slot = take(taken)
        except _UNUSABLE as error:
            if not self._blind:
                self._blind = True
                self._complaints.append(error)
            for slot in taken:
                self._holding.places.discard(slot.place)
            taken.append(Slot(self._holding, UNPLACED, self._clock()))
            return self._hold(taken[-1])
        self._blind = False
        return slot

    def _take_below(self, stop: int, taken: list[Slot]) -> Slot | None:
        # First it is somebody's, then it is held, then it is locked: nothing is ever locked that nobody gives up.
        taken.append(Slot(self._holding, UNPLACED, self._clock()))
        slot = self._hold(taken[-1])
        if not self._holding.lock_first_free(slot.place, stop):
            self._holding.places.discard(slot.place)
            return None
        self._join_members()
        return slot

    def _take_free(self, taken: list[Slot]) -> Slot | None:
        return self._take_below(self._may_take_below(self._clock()), taken)

    def _take_in_turn(self, taken: list[Slot]) -> Slot | None:
        self._learn()
        if self._waiters and self._position is None:
            self._join_line()
        now = self._clock()
        stop = self._may_take_below(now)
        if self._position is None:
            if self._others_wait():
                return None
        elif not self._is_our_turn(stop, now):
            return None
        slot = self._take_below(stop, taken)
        if slot is not None:
            self._in_need_until = now + NEED if slot.index >= self._usable else 0.0
        if slot is not None and len(self._waiters) > 1:
            self._join_line()
        return slot

    def _may_take_below(self, now: float) -> int:
        """Say whether it may be a normal slot only, or a spare one: the index of the first that it may not be."""
        holds_some = bool(self._holding.places)
        waited = now - self._in_line_since if self._position is not None else 0.0
        if waited < (ALONE if holds_some else PATIENCE) and now >= self._in_need_until:
            return self._usable
        if holds_some and self._file.find(MEMBERS) is not None:
            return self._usable
        return self._limit or self._usable

    def _is_our_turn(self, stop: int, now: float) -> bool:
        in_front = self._file.find(range(LINE.start, self._position or LINE.start))
        if in_front is None:
            return True
        free = self._holding.first_free(stop)
        left = None if free is None else (in_front.start, free)
        if left is None or left != self._left:
            self._left, self._left_since = left, now
            return False
        return now - self._left_since >= STALL

    def _others_wait(self) -> bool:
        return self._file.find(LINE) is not None

    def _join_line(self) -> None:
        """Take the last place of those of our kind, and give up the one that was held before."""
        self._join_members()
        self._count_members()
        kind = OWED if len(self._holding.places) < self._share else BORROWING
        before = self._position
        self._in_line = True
        while True:
            position = kind.start
            while (other := self._file.find(range(position, kind.stop))) is not None:
                position = other.stop
            if self._file.lock(position):
                break
        if before is not None and before != position:
            self._file.unlock(range(before, before + 1))
        self._position, self._in_line_since, self._left = position, self._clock(), None

    def _leave_line(self) -> None:
        # All of it: an exception from outside may have come between locking a place and writing that down.
        self._file.unlock(LINE)
        self._position, self._in_line = None, False

    def _join_members(self) -> None:
        if self._member is not None:
            return
        byte = MEMBERS.start + os.getpid() % len(MEMBERS)
        while True:
            self._member, self._stale = byte, 0.0
            if self._file.lock(byte):
                return
            # Another process has this id, in another namespace of process ids.
            byte = MEMBERS.start + (byte + 1 - MEMBERS.start) % len(MEMBERS)

    def _leave_members(self) -> None:
        self._file.unlock(MEMBERS)
        self._member = None
        if not self._takes_no_part():  # since a moment ago, in a signal's handler
            self._join_members()

    def _count_members(self) -> None:
        self._processes = self._file.count(MEMBERS) + (self._member is not None)
        self._share = self._usable // max(self._processes, 1)
        self._stale = self._clock() + FRESH

    def _count_others(self) -> tuple[int, int]:
        """Count the slots that other processes hold, and those in line."""
        with contextlib.suppress(*_UNUSABLE):
            self._attach()
            self._learn()
            self._holding.unlock_surplus()
            self._count_members()
            return self._file.count(SLOTS), self._file.count(LINE)
        return 0, 0

    def _reconsider(self, slot: Slot, own_waiting: bool) -> bool:
        now = self._clock()
        try:
            self._holding.unlock_surplus()
            if now >= self._stale:
                self._attach()
                self._learn()
                self._count_members()
            if slot.index >= self._usable:
                if not own_waiting or self._others_wait():
                    return False
                self._holding.move(slot, self._usable)
                return True
            if len(self._holding.places) <= self._share:
                return True
            if self._others_wait():
                return own_waiting and now - slot.place.since < LEASE
            return own_waiting or self._holding.first_free(self._usable) is not None
        except _UNUSABLE:
            return True

    def _line_up(self) -> None:
        with contextlib.suppress(*_UNUSABLE):
            self._attach()
            if self._position is None:
                self._join_line()


class _Waiting:
    """What :meth:`Budget.waiting` returns. Not a generator: one that is collected runs its end at any place."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._waiters = budget._waiters
        self._token = object()
        self._over = False

    def __enter__(self) -> None:
        after_fork()
        budget = self._budget
        self._waiters = budget._waiters
        try:
            self._waiters[self._token] = threading.get_ident()
            if not budget._exclusion.entered:
                budget._inside(budget._line_up, None)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        if not self._over:
            self._waiters.pop(self._token, None)
            self._budget._tidy()
            self._over = True

    def __del__(self) -> None:
        """Leave the line, should an exception from outside have come in the place of :meth:`__exit__`."""
        if not getattr(self, "_over", True):
            self.__exit__()


_UNUSABLE = (BudgetUnavailable, SlotFileError)
"""What the file raises when it cannot be used."""
