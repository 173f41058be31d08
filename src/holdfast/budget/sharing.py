"""Who takes a slot, who waits for one, and who gives one back.

The aim: every process gets its share of what the server allows, a busy one may borrow what the others leave, and a
newcomer is served soon even when the others sit on everything.

* A process with N live fellows (those that hold slots or wait) has a *share*: an N-th of the slots, rounded down. What
  it holds within its share it keeps, and finds that out without a system call. What it holds above is *borrowed*: it
  goes back when another process waits, and when keeping it would leave no slot free for a newcomer.
* Waiting processes stand in a line and take slots in its order, those below their share before those that want to
  borrow: a process that is rarely busy then waits a few milliseconds where it waited for every borrower's turn before,
  at no cost to the others, who hold their share already. Nobody overtakes, with one exception: when a slot has been
  free for :data:`STALL` and those in front have not taken it, they cannot (stopped by a debugger, without CPU time,
  not entitled to a spare one), and the next one does.
* The last slots, the *headroom*, are *spare*: left to the account's owner, who may want to look at the server by hand.
  An idle process runs no code and cannot give anything back, so a process that holds nothing may take a spare slot
  after :data:`PATIENCE` in line. It gives that back after each use, and need not be as patient the next time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from ..errors import BudgetUnavailable
from ..fork import after_fork, watch
from .slots import LINE, MEMBERS, SLOTS, SlotFile, default_directory

__all__ = ["Budget", "Slot", "Snapshot"]

logger = logging.getLogger("holdfast")

PATIENCE = 0.25
"""Seconds in line after which a process that holds nothing may take a spare slot."""
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
UNPLACED = len(SLOTS)
"""The index of a slot that has no byte in the file: its connection was there before there was a free slot for it."""


class Slot:
    """The right to have one connection open. Made by :class:`Budget` alone.

    One that is dropped without having been released (by an exception that came from outside, as a task's time limit
    does) is given back when it is collected.
    """

    __slots__ = ("__weakref__", "home", "index", "since")

    def __init__(self, index: int, since: float, home: deque[int]) -> None:
        self.index = index
        """Which of the slots; :data:`UNPLACED` for none."""
        self.since = since
        """When it was taken, on the budget's clock."""
        self.home: deque[int] | None = home
        """Where to leave the index of a slot that is collected; ``None`` once it was released."""

    def __del__(self) -> None:
        if self.home is not None:
            self.home.append(self.index)  # no more: this may run while the budget's lock is held

    def __repr__(self) -> str:
        return f"<Slot {'unplaced' if self.index == UNPLACED else self.index}>"


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
        with budget._lock:
            try:
                budget._attach()
                budget._count_members()
            except OSError as error:
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
        with self._lock:
            self._set(min(limit, len(SLOTS)), headroom)
            with contextlib.suppress(*_UNUSABLE):
                self._attach()
                self._file.write_hint(self._limit or limit, headroom)

    @property
    def limit(self) -> int | None:
        """How many connections the server allows: as was said here, else as another process has written it down."""
        if self._limit is None:
            after_fork()
            with self._lock:
                self._learn()
        return self._limit

    def try_take(self) -> Slot | None:
        """Take a slot at once, or none: when none is free, or when others wait for one already.

        Never sleeps. "Others" are other processes, and threads of this one; a thread is one of those that wait while
        it is inside :meth:`waiting`. While the limit is not known, any number of slots is free.
        """
        after_fork()
        with self._lock:
            if self._waiters and threading.get_ident() not in self._waiters:
                return None
            return self._counted(self._take_in_turn)

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
        with self._lock:
            return self._counted(lambda: self._take_free(self._limit or len(SLOTS))) or self._new(UNPLACED)

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
            self._count <= self._share
            and slot.index < self._usable
            and (own_waiting or not self._waiters)
            and self._clock() < self._stale
        ):
            return True
        return self._reconsider(slot, own_waiting)

    def holds_its_share(self) -> bool:
        """Say whether this process holds what it may keep, by the last count of processes. Makes no system call."""
        return 0 < self._share <= self._count

    def release(self, slot: Slot) -> None:
        """Give a slot back. Harmless when that was done before, or in a process that does not own it."""
        after_fork()
        with self._lock:
            if slot.home is self._home:
                self._forget(slot)
                self._leave_members()

    def start_anew(self) -> None:
        """Hold nothing, as a forked child does."""
        self._reset()

    def leave_to_parent(self) -> None:
        """Forget what is the parent's, before anything in a child can release it."""
        self._reset()

    def snapshot(self) -> Snapshot:
        """Look at the whole budget, by counting locks: some system calls for each process and slot."""
        after_fork()
        with self._lock:
            taken = waiting = 0
            with contextlib.suppress(*_UNUSABLE):
                self._attach()
                self._learn()
                self._collect()
                self._count_members()
                taken, waiting = self._file.count(SLOTS), self._file.count(LINE)
            known = self._limit is not None
            return Snapshot(
                limit=self._limit,
                headroom=self._headroom,
                usable=self._usable if known else None,
                held=self._count,
                taken=taken + self._count,
                processes=self._processes,
                share=self._share if known else None,
                waiting=waiting + (self._position is not None),
            )

    # Everything below is called with the lock held.

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a destructor or a signal's handler may use the database inside
        self._home: deque[int] = deque()
        """What slots that were collected leave behind. It also tells this process's slots from its parent's."""
        self._slots: weakref.WeakSet[Slot] = weakref.WeakSet()
        self._count = 0
        """How many slots are held."""
        self._bytes: set[int] = set()
        """The bytes of :data:`SLOTS` that are locked for them."""
        self._member: int | None = None
        self._position: int | None = None
        self._waiters: dict[int, int] = {}
        """How often each thread is waiting."""
        self._in_line_since = 0.0
        self._in_need_until = 0.0
        self._left: tuple[int, int] | None = None
        """Who was seen in front, and which slot was seen free meanwhile."""
        self._left_since = 0.0
        self._processes = 0
        self._share = 0
        self._stale = 0.0

    def _set(self, limit: int, headroom: int) -> None:
        self._limit = limit
        self._headroom = min(headroom, limit - 1)
        self._usable = limit - self._headroom
        self._stale = 0.0

    def _learn(self) -> None:
        hint = self._file.read_hint() if self._limit is None else None
        if hint is not None and 1 <= hint[0] <= len(SLOTS):
            self._set(*hint)

    def _attach(self) -> None:
        """Open the file if it was not, or was replaced."""
        if not self._file.intact():
            self._open()

    def _open(self) -> None:
        """Open the file, and take there what is held."""
        self._file.open()
        self._bytes.clear()
        self._collect()
        slots = list(self._slots)
        for slot in slots:
            if slot.index != UNPLACED and not self._lock_slot(slot.index):
                slot.index = UNPLACED
        for slot in slots:
            if slot.index == UNPLACED:
                slot.index = self._lock_first_free(self._usable)
        if self._member is not None:
            self._member = None
            self._join_members()
        self._position = None  # who waits joins the new line with the next try
        for slot in slots:
            if slot.home is None:  # it was released while we were at it
                self._unlock_slot(slot.index)
        if self._limit is not None:
            self._file.write_hint(self._limit, self._headroom)

    def _counted(self, take: Callable[[], Slot | None]) -> Slot | None:
        """Take a slot; an unplaced one where the file cannot be used."""
        try:
            self._attach()
            slot = take()
        except _UNUSABLE as error:
            blind, self._blind = self._blind, True
            if not blind:
                logger.warning("holdfast: connections are opened without counting them. %s", error)
            return self._new(UNPLACED)
        self._blind = False
        return slot

    def _lock_slot(self, index: int) -> bool:
        byte = SLOTS.start + index
        if byte in self._bytes or not self._file.lock(byte):
            return False
        self._bytes.add(byte)
        return True

    def _lock_first_free(self, stop: int) -> int:
        """Lock the first free slot below an index and return its index, or :data:`UNPLACED`."""
        while True:
            byte = self._file.first_free(SLOTS[:stop], self._bytes)
            if byte is None:
                return UNPLACED
            if self._lock_slot(byte - SLOTS.start):
                return byte - SLOTS.start

    def _new(self, index: int) -> Slot:
        slot = Slot(index, self._clock(), self._home)
        self._slots.add(slot)
        self._count += 1
        return slot

    def _take_free(self, stop: int) -> Slot | None:
        self._collect()
        slot = self._new(UNPLACED)  # first, so that an exception from outside leaves behind what is collected
        slot.index = self._lock_first_free(stop)
        if slot.index == UNPLACED:
            self._forget(slot)
            return None
        self._join_members()
        return slot

    def _free(self, index: int) -> None:
        self._count -= 1
        self._unlock_slot(index)

    def _forget(self, slot: Slot) -> None:
        slot.home = None
        self._free(slot.index)

    def _unlock_slot(self, index: int) -> None:
        byte = SLOTS.start + index
        if byte in self._bytes:
            self._bytes.remove(byte)
            self._file.unlock(range(byte, byte + 1))

    def _collect(self) -> None:
        """Free the slots that were dropped without a release."""
        while self._home:
            self._free(self._home.popleft())

    def _take_in_turn(self) -> Slot | None:
        self._learn()
        if self._waiters and self._position is None:
            self._join_line()
        stop, now = self._usable, self._clock()
        out_of_patience = self._position is not None and now - self._in_line_since >= PATIENCE
        if not self._count and (out_of_patience or now < self._in_need_until):
            stop = self._limit or stop
        if self._position is None:
            if self._others_wait():
                return None
        elif not self._is_our_turn(stop, now):
            return None
        slot = self._take_free(stop)
        if slot is not None:
            self._in_need_until = now + NEED if slot.index >= self._usable else 0.0
        if slot is not None and sum(self._waiters.values()) > 1:
            self._join_line()
        return slot

    def _is_our_turn(self, stop: int, now: float) -> bool:
        in_front = self._file.find(range(LINE.start, self._position or LINE.start))
        if in_front is None:
            return True
        free = self._file.first_free(SLOTS[:stop], self._bytes)
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
        kind = OWED if self._count < self._share else BORROWING
        before = self._position
        while True:
            position = kind.start
            while (other := self._file.find(range(position, kind.stop))) is not None:
                position = other.stop
            if self._file.lock(position):
                break
        if before not in (None, position):
            self._file.unlock(range(before, before + 1))
        self._position, self._in_line_since, self._left = position, self._clock(), None

    def _leave_line(self) -> None:
        # All of it: an exception from outside may have come between locking a place and writing that down.
        self._file.unlock(LINE)
        self._position = None

    def _join_members(self) -> None:
        if self._member is not None:
            return
        byte = MEMBERS.start + os.getpid() % len(MEMBERS)
        while not self._file.lock(byte):  # another process has this id, in another namespace of process ids
            byte = MEMBERS.start + (byte + 1 - MEMBERS.start) % len(MEMBERS)
        self._member, self._stale = byte, 0.0

    def _leave_members(self) -> None:
        if self._member is not None and not self._count and not self._waiters:
            self._file.unlock(MEMBERS)
            self._file.unlock(SLOTS)  # all of it, for the same reason as in _leave_line()
            self._bytes.clear()
            self._member = None

    def _count_members(self) -> None:
        self._processes = self._file.count(MEMBERS) + (self._member is not None)
        self._share = self._usable // max(self._processes, 1)
        self._stale = self._clock() + FRESH

    def _move(self, slot: Slot) -> None:
        """Move a spare or unplaced slot to a normal one, if one has become free."""
        index = self._lock_first_free(self._usable)
        if index != UNPLACED:
            self._unlock_slot(slot.index)
            slot.index = index

    def _reconsider(self, slot: Slot, own_waiting: bool) -> bool:
        after_fork()
        with self._lock:
            now = self._clock()
            try:
                self._collect()
                if self._waiters and not own_waiting:
                    return False
                if now >= self._stale:
                    self._attach()
                    self._learn()
                    self._count_members()
                if slot.index >= self._usable:
                    if not own_waiting or self._others_wait():
                        return False
                    self._move(slot)
                    return True
                if self._count <= self._share:
                    return True
                if self._others_wait():
                    return own_waiting and now - slot.since < LEASE
                return own_waiting or self._file.first_free(SLOTS[: self._usable], self._bytes) is not None
            except _UNUSABLE:
                return True

    def _start_waiting(self, thread: int) -> None:
        after_fork()
        with self._lock:
            self._waiters[thread] = self._waiters.get(thread, 0) + 1
            with contextlib.suppress(*_UNUSABLE):
                self._attach()
                if self._position is None:
                    self._join_line()

    def _stop_waiting(self, thread: int) -> None:
        after_fork()
        with self._lock:
            left = self._waiters.pop(thread, 0) - 1
            if left > 0:
                self._waiters[thread] = left
            if not self._waiters:
                self._leave_line()
                self._leave_members()


class _Waiting:
    """What :meth:`Budget.waiting` returns. Not a generator: one that is collected runs its end at any place."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._thread = 0

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        try:
            self._budget._start_waiting(self._thread)
        except BaseException:
            self._budget._stop_waiting(self._thread)
            raise

    def __exit__(self, *exception: object) -> None:
        self._budget._stop_waiting(self._thread)


_UNUSABLE = (BudgetUnavailable, OSError)
"""What the file raises when it cannot be used."""
