"""What becomes of slots that nobody has released, and of the file when nobody needs it."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlalchemy_holdfast._registry import Registry
from sqlalchemy_holdfast.budget import Budget, Slot
from tests.budget.workers import KEY, locks


@pytest.fixture
def budget(directory: Path) -> Iterator[Budget]:
    budget = Budget.shared(KEY, directory)
    budget.set_limit(5, headroom=0)
    yield budget
    Budget._shared.clear()


@pytest.fixture
def file(budget: Budget) -> Path:
    return Path(budget._file.path)


class Connection:
    """Ends by giving back its slot, and is part of a cycle, as the drivers' are."""

    def __init__(self, budget: Budget, slot: Slot | None) -> None:
        self.budget, self.slot, self.itself = budget, slot, self

    def __del__(self) -> None:
        if self.slot is not None:
            self.budget.release(self.slot)


def test_a_slot_that_is_collected_with_its_connection_is_given_back_once(budget: Budget, file: Path) -> None:
    kept: list[Slot | None] = []
    for _ in range(20):
        kept = [budget.try_take(), budget.try_take()]
        # The slot is there first, and so is its destructor called first.
        connection = Connection(budget, budget.try_take())
        assert budget.snapshot().held == 3
        del connection
        gc.collect()
        assert budget.snapshot().held == 2
        assert len(locks(file)) == 2
        another = [budget.try_take() for _ in range(3)]
        assert sorted(slot.index for slot in [*kept, *another] if slot is not None) == [0, 1, 2, 3, 4]
        assert budget.try_take() is None
        for slot in [*kept, *another]:
            assert slot is not None
            budget.release(slot)


def test_a_dropped_slot_is_free_for_other_processes_at_once(budget: Budget, file: Path) -> None:
    slot = budget.try_take()
    assert len(locks(file)) == 1
    del slot
    assert locks(file) == {}


def test_a_place_in_line_is_left_when_it_is_dropped(budget: Budget) -> None:
    waiting = budget.waiting()
    waiting.__enter__()
    assert budget.snapshot().waiting == 1
    del waiting
    assert budget.snapshot().waiting == 0


def test_a_second_right_keeps_the_slot_until_both_are_given_back(budget: Budget, file: Path) -> None:
    slot = budget.try_take()
    assert slot is not None
    other = budget.second(slot)
    assert other is not None
    for one in (slot, other):
        assert len(locks(file)) == 1
        budget.release(one)
    assert locks(file) == {}
    assert budget.second(slot) is None, "it was given up"
    assert budget.snapshot().held == 0


def test_a_release_does_not_wait_for_a_thread_that_is_inside(budget: Budget, file: Path) -> None:
    """It may be in a signal's handler or a destructor, and wait for this very slot."""
    slot = budget.try_take()
    assert slot is not None
    inside, leave = threading.Event(), threading.Event()

    def stay() -> bool:
        inside.set()
        return leave.wait(10)

    thread = threading.Thread(target=lambda: budget._inside(stay, False))
    thread.start()
    inside.wait(10)
    budget.release(slot)
    assert len(budget._holding.places) == 0
    with budget.waiting():
        assert budget.try_take() is None
    leave.set()
    thread.join()
    assert locks(file) == {}, "the one that was inside has seen to it"
    assert budget.snapshot().waiting == 0


def test_who_is_inside_may_come_in_again_and_take_what_is_released_there(budget: Budget, file: Path) -> None:
    slots = [budget.try_take() for _ in range(5)]

    def handler() -> int:
        first = slots.pop()
        assert first is not None
        budget.release(first)
        assert budget.try_take() is None, "another is about to unlock it"
        second = slots.pop()
        assert second is not None
        again = budget.second(second)
        budget.release(second)
        slots.append(again)
        return len(slots)

    assert budget._inside(handler, 0) == 4
    assert len(locks(file)) == 4
    assert budget.try_take() is not None


# -- descriptors ---------------------------------------------------------------------------------------------------


class User:
    def __init__(self) -> None:
        self.pools: Registry[Any] = Registry()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_is_open_for_as_long_as_somebody_uses_it_or_a_slot_is_held(directory: Path) -> None:
    before = descriptors()
    for number in range(30):
        budget = Budget.shared(f"account {number}", directory)
        budget.set_limit(3)
        user, other = User(), User()
        budget.use(user)
        budget.use(other)
        slot = budget.try_take()
        del user
        budget.leave(other)
        assert descriptors() == before + 1, "the slot needs its lock"
        assert slot is not None
        budget.release(slot)
        assert descriptors() == before
    budget = Budget.shared("account 0", directory)
    budget.use(user := User())
    slot = budget.try_take()
    assert len(locks(Path(budget._file.path))) == 1, "it is opened again"
    del slot, user
    assert descriptors() == before


def test_a_file_is_not_closed_while_somebody_waits(directory: Path) -> None:
    before = descriptors()
    budget = Budget.shared("another", directory)
    budget.use(user := User())
    with budget.waiting():
        del user
        assert descriptors() == before + 1
        assert budget.snapshot().waiting == 1
    assert descriptors() == before
