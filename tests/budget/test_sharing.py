"""The budget's rules, seen from one process that has the clock in its hands."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlalchemy_holdfast.budget import Budget, Slot
from sqlalchemy_holdfast.budget.sharing import FRESH, LEASE, PATIENCE, UNPLACED
from sqlalchemy_holdfast.budget.slot_file import SlotFile
from tests.budget.workers import KEY, Workers


class Clock:
    """Time passes when the test says so, or in a sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.while_asleep: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.while_asleep()


class Counted(SlotFile):
    """Counts the calls that reach the kernel."""

    calls = 0

    def _counting(name: str) -> Callable[..., object]:  # type: ignore[misc]
        def call(self: Counted, *arguments: object) -> object:
            self.calls += 1
            return getattr(SlotFile, name)(self, *arguments)

        return call

    intact, lock, unlock, find, read_hint = map(_counting, ("intact", "lock", "unlock", "find", "read_hint"))  # type: ignore[assignment]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(directory: Path) -> Counted:
    return Counted(KEY, str(directory))


@pytest.fixture
def budget(file: Counted, clock: Clock) -> Budget:
    budget = Budget(file, clock=clock, sleep=clock.sleep, jitter=lambda: 0.5)
    budget.set_limit(5)
    return budget


def taken(budget: Budget) -> Slot:
    slot = budget.try_take()
    assert slot is not None
    return slot


def until_one_waits(budget: Budget, besides: int = 0) -> None:
    """Return when another process is in line."""
    end = time.monotonic() + 60
    while budget.snapshot().waiting != besides + 1:
        assert time.monotonic() < end


def test_one_budget_for_a_process_however_the_directory_is_written(directory: Path) -> None:
    (directory / "slots").mkdir(0o700)
    (directory / "link").symlink_to(directory)
    one = Budget.shared(KEY, directory / "slots")
    assert Budget.shared(KEY, f"{directory}/./slots/") is one
    assert Budget.shared(KEY, directory / "link" / "slots") is one
    assert Budget.shared("another", directory / "slots") is not one


@pytest.mark.parametrize(
    ("limit", "headroom", "usable", "kept"),
    [(10, 1, 9, 1), (10, 3, 7, 3), (2, 1, 1, 1), (1, 1, 1, 0), (3, 9, 1, 2), (5, 0, 5, 0)],
)
def test_at_least_one_slot_is_normal(budget: Budget, limit: int, headroom: int, usable: int, kept: int) -> None:
    budget.set_limit(limit, headroom)
    seen = budget.snapshot()
    assert (seen.limit, seen.usable, seen.headroom) == (limit, usable, kept)


@pytest.mark.parametrize(("limit", "headroom"), [(0, 1), (-3, 0), (3, -1)])
def test_impossible_limits_are_refused(budget: Budget, limit: int, headroom: int) -> None:
    with pytest.raises(ValueError, match="not possible"):
        budget.set_limit(limit, headroom)


def test_a_release_counts_once(budget: Budget) -> None:
    one, two = taken(budget), taken(budget)
    budget.release(one)
    budget.release(one)
    assert budget.snapshot().held == 1
    assert (taken(budget).index, two.index) == (0, 1)


def test_a_slot_that_is_lost_is_given_back(budget: Budget) -> None:
    slots = [budget.try_take() for _ in range(4)]
    assert budget.try_take() is None
    del slots[2]
    gc.collect()
    assert taken(budget).index == 2


def test_keeping_within_the_share_asks_the_kernel_nothing(budget: Budget, file: Counted, clock: Clock) -> None:
    slot = taken(budget)
    assert budget.keeps(slot, own_waiting=False)
    file.calls = 0
    for _ in range(1000):
        assert budget.keeps(slot, own_waiting=False)
    assert file.calls == 0
    clock.now += FRESH
    assert budget.keeps(slot, own_waiting=False)
    assert 0 < file.calls <= 4


def test_alone_a_process_leaves_one_slot_free_for_a_newcomer(budget: Budget, workers: Workers) -> None:
    other = workers(5)
    assert other.do("try_take") == 0
    slots = [taken(budget) for _ in range(3)]
    kept = [budget.keeps(slot, own_waiting=False) for slot in slots]
    assert kept == [False] * 3, "the share is two, three are held, and none is free"
    assert all(budget.keeps(slot, own_waiting=True) for slot in slots), "but its own threads come first"
    budget.release(slots[0])
    assert budget.keeps(slots[1], own_waiting=False)


def test_a_borrowed_slot_serves_own_threads_for_the_lease_while_others_wait(
    budget: Budget, workers: Workers, clock: Clock
) -> None:
    slots = [taken(budget) for _ in range(4)]
    last = slots[-1]
    workers(5).start("take", 60)
    until_one_waits(budget)
    clock.now += FRESH
    assert budget.keeps(last, own_waiting=True)
    assert not budget.keeps(last, own_waiting=False)
    clock.now += LEASE
    assert not budget.keeps(last, own_waiting=True)


def test_taking_waits_a_tenth_of_what_it_waited(budget: Budget, clock: Clock, workers: Workers) -> None:
    other = workers(5)
    for _ in range(4):
        other.do("try_take")
    mine = budget.adopt()
    assert mine.index == 4, "a connection that is open already counts where it can"
    assert budget.take(clock.now + 1) is None
    assert 0.0009 < clock.slept[0] < 0.0011
    assert max(clock.slept) <= 0.0101
    assert 100 < len(clock.slept) < 160
    assert budget.snapshot().waiting == 0


def test_a_deadline_that_has_passed_gets_one_try(budget: Budget, clock: Clock) -> None:
    assert budget.take(clock.now - 1) is not None
    assert clock.slept == []


def test_a_spare_slot_needs_patience_and_empty_hands(budget: Budget, clock: Clock, workers: Workers) -> None:
    budget.set_limit(6, headroom=2)
    other = workers(6, headroom=2)
    for _ in range(4):
        other.do("try_take")
    began = clock.now
    slot = budget.take(clock.now + 5)
    assert slot is not None
    assert slot.index == 4
    assert PATIENCE <= clock.now - began < PATIENCE + 0.03
    assert budget.take(clock.now + 1) is None, "another is spare, but it holds one now"


def test_an_unplaced_slot_is_placed_when_there_is_room(budget: Budget, workers: Workers) -> None:
    other = workers(5)
    for _ in range(4):
        other.do("try_take")
    assert other.do("adopt") == 4
    slot = budget.adopt()
    assert slot.index == UNPLACED
    assert not budget.keeps(slot, own_waiting=False)
    assert budget.keeps(slot, own_waiting=True)
    other.do("release", 0)
    assert budget.keeps(slot, own_waiting=True)
    assert slot.index == 0


def test_a_thread_that_comes_later_does_not_overtake_one_that_waits(budget: Budget) -> None:
    slots = [taken(budget) for _ in range(4)]
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with budget.waiting():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=wait)
    thread.start()
    inside.wait(60)
    budget.release(slots.pop())
    assert budget.try_take() is None
    with budget.waiting():
        assert budget.try_take() is not None
    leave.set()
    thread.join()
    assert budget.snapshot().waiting == 0


def test_a_process_goes_to_the_end_of_the_line_after_each_slot(budget: Budget, workers: Workers) -> None:
    holder, other = workers(5), workers(5)
    for _ in range(4):
        holder.do("try_take")
    with budget.waiting(), budget.waiting():
        other.start("take", 60)
        until_one_waits(budget, besides=1)
        holder.do("release")
        slot = taken(budget)
        assert slot.index == 3
        holder.do("release")
        assert budget.try_take() is None
        assert other.result() == 2


def test_a_process_that_waits_goes_on_waiting_in_a_new_file(budget: Budget, workers: Workers) -> None:
    holder = workers(5)
    for _ in range(4):
        holder.do("try_take")
    with budget.waiting():
        workers.file.unlink()
        holder.do("snapshot")
        assert budget.try_take() is None
        assert holder.do("snapshot").waiting == 1
    assert holder.do("snapshot").waiting == 0


def test_slots_of_one_neighbour_are_passed_over_in_one_step(budget: Budget, file: Counted, workers: Workers) -> None:
    budget.set_limit(100)
    other = workers(100)
    for _ in range(98):
        other.do("try_take")
    file.calls = 0
    assert taken(budget).index == 98
    assert file.calls < 12


def test_a_child_starts_with_nothing_even_while_another_thread_holds_the_lock(budget: Budget) -> None:
    slot = taken(budget)
    held, leave = threading.Event(), threading.Event()

    def inside() -> bool:
        held.set()
        return leave.wait(10)

    def hold() -> None:
        budget._exclusion.run(inside, False, 1)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(60)
        status = 1
        try:
            budget.release(slot)
            own = taken(budget)
            assert (own.index, budget.snapshot().held) == (1, 1)
            status = 0
        finally:
            os._exit(status)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert budget.snapshot().held == 1


def test_a_destructor_inside_may_release(budget: Budget, file: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken(budget)

    class Dropped:
        def __del__(self) -> None:
            budget.release(first)

    dropped = [Dropped()]
    find: Callable[[range], range | None] = file.find  # type: ignore[assignment]

    def collects(area: range) -> range | None:
        dropped.clear()
        return find(area)

    monkeypatch.setattr(file, "find", collects)
    second = taken(budget)
    assert (second.index, budget.snapshot().held) == (0, 1)


def test_an_exception_from_outside_costs_no_place_in_line(budget: Budget, workers: Workers, clock: Clock) -> None:
    other = workers(5)
    for _ in range(4):
        other.do("try_take")

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.while_asleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        budget.take(clock.now + 5)
    assert other.do("snapshot").waiting == 0
    assert other.do("snapshot").processes == 1


def test_importing_starts_no_thread_and_opens_no_file() -> None:
    code = (
        "import ctypes, os, sqlalchemy, threading; "  # libffi 3.5 keeps itself open
        "before = os.listdir('/proc/self/fd'); import sqlalchemy_holdfast.budget; "
        "assert threading.active_count() == 1 and os.listdir('/proc/self/fd') == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
