"""Every order of the kernel calls of some processes: slots stay exact, none is lost, and everybody is served."""

from __future__ import annotations

from typing import Any

import pytest

from sqlalchemy_holdfast.budget.holding import Holding
from sqlalchemy_holdfast.budget.sharing import Budget
from tests._long import LONG
from tests.budget.schedules import Process, Program, World


def once(process: Process) -> None:
    process.take()
    process.give_back()


def twice(process: Process) -> None:
    once(process)
    once(process)


def both(process: Process) -> None:
    process.take()
    process.take()
    process.give_back()
    process.give_back()


def keep(process: Process) -> None:
    process.take()
    process.hand_back()


def takes_and_stops(process: Process) -> None:
    """Sits idle on what it has, for ever."""
    process.take()


SHORT: dict[str, tuple[tuple[Program, ...], dict[str, Any]]] = {
    "one slot": ((once, once), {"limit": 1, "headroom": 0}),
    "one slot, one dies": ((once, once), {"limit": 1, "headroom": 0, "crashes": 1}),
    "one slot, all die": ((once, once), {"limit": 1, "headroom": 0, "crashes": 2}),
    "two slots, one dies": ((once, once), {"limit": 2, "headroom": 0, "crashes": 1}),
    "one spare, one dies, time passes": ((once, once), {"limit": 2, "headroom": 1, "crashes": 1, "time_passes": True}),
    "one sits idle, time passes": ((takes_and_stops, once), {"limit": 2, "headroom": 1, "time_passes": True}),
    "one borrows, one dies": ((both, once), {"limit": 2, "headroom": 0, "crashes": 1}),
    "two wait for a third": ((once, once, once), {"limit": 1, "headroom": 0, "head_start": True}),
    "what is returned is kept or not": ((keep, keep), {"limit": 2, "headroom": 1, "crashes": 1, "time_passes": True}),
}
CHAOS: dict[str, tuple[tuple[Program, ...], dict[str, Any]]] = {
    "again and again": ((twice, twice), {"limit": 1, "headroom": 0, "crashes": 1}),
    "three processes": ((once, once, once), {"limit": 1, "headroom": 0}),
    "three processes, two slots": ((once, once, once), {"limit": 2, "headroom": 0}),
    "three processes, one sits idle": (
        (takes_and_stops, once, once),
        {"limit": 2, "headroom": 1, "time_passes": True},
    ),
}
CASES = {**SHORT, **CHAOS} if LONG else SHORT


@pytest.mark.parametrize(("programs", "options"), CASES.values(), ids=CASES)
@pytest.mark.timeout(900)
def test_every_order_is_sound(programs: tuple[Program, ...], options: dict[str, Any]) -> None:
    found = World(*programs, **options).explore()
    print(f"{found.states} states, {found.steps} steps, {found.schedules} orders")
    assert found.problems == []
    assert found.states > 100


def test_a_broken_protocol_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the search can fail: with a process that forgets to leave the line, and with one that locks nothing."""
    monkeypatch.setattr(Budget, "_leave_line", lambda self: None)
    found = World(once, once, limit=1, headroom=0).explore()
    assert any("has ended" in problem for problem in found.problems), found.problems
    monkeypatch.undo()

    def locks_nothing(self: Holding, place: Any, index: int) -> bool:
        place.index = index
        return True

    monkeypatch.setattr(Holding, "_lock", locks_nothing)
    found = World(once, once, limit=1, headroom=0).explore()
    assert any("believes" in problem for problem in found.problems), found.problems
    monkeypatch.undo()
    monkeypatch.setattr(Budget, "_is_our_turn", lambda self, stop, now: True)
    found = World(once, once, once, limit=1, headroom=0, head_start=True).explore()
    assert any("overtook" in problem for problem in found.problems), found.problems
