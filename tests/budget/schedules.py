"""Every order in which the kernel calls of a few processes can follow each other, with a crash possible at each.

A process's next call depends on nothing but the answers to those before. So a state of the whole is the history of
each process with the table of locks, and all states are found by running each process alone, against a kernel that
answers from its history, until it asks something new. Histories that leave a waiting process in the same state count
as one, which makes the states finite although waiting is not.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from sqlalchemy_holdfast.budget import Budget, Slot
from sqlalchemy_holdfast.budget.sharing import BORROWING, LEASE, OWED, PATIENCE, STALL
from sqlalchemy_holdfast.budget.slot_file import LINE, SLOTS, SlotFile

LONG = 10.0
"""What passes when time passes: more than any of the budget's times."""

Call = tuple[Any, ...]
"""What a process asks the kernel: a name and its arguments. ``("pause",)`` asks how much time has passed."""
History = tuple[Any, ...]
"""The answers that a process has had."""


class _Asks(BaseException):
    """Ends a run: the process has asked something that its history has no answer to."""

    def __init__(self, call: Call) -> None:
        self.call = call


class _Same(BaseException):
    """Ends a run: another history led to the same state."""

    def __init__(self, history: History) -> None:
        self.history = history


class _Kernel(SlotFile):
    """A slot file whose few system calls are answered from a history."""

    def __init__(self, history: History) -> None:
        super().__init__("key", "nowhere")
        self._answers = iter(history)
        self.now = 0.0
        self.answered = 0
        self.over: BaseException | None = None
        self.gone = False
        """Nobody looks any more: the run is over, and the slots of its process are dropped."""

    def ask(self, *call: Any) -> Any:
        if self.gone:
            return None
        if self.over is None:
            for answer in self._answers:
                self.answered += 1
                return answer
            self.over = _Asks(call)
        raise self.over  # again for every ``finally`` on the way out: it is the first that counts

    def pause(self, seconds: float) -> None:
        self.now += self.ask("pause")

    def intact(self) -> bool:
        return True

    def lock(self, byte: int) -> bool:
        return bool(self.ask("lock", byte))

    def unlock(self, area: range) -> None:
        self.ask("unlock", area)

    def find(self, area: range) -> range | None:
        if not area:
            return None
        byte = self.ask("find", area)
        return None if byte is None else range(byte, byte + 1)

    def read_hint(self) -> None:
        return None

    def write_hint(self, limit: int, headroom: int) -> None:
        pass


class Process:
    """What a program may do: the budget, and the histories that lead to the same state."""

    def __init__(self, number: int, history: History, limit: int, headroom: int, known: dict[str, History]) -> None:
        self.history = history
        self.known = known
        """The history that stands for all that lead to a state."""
        self.kernel = _Kernel(history)
        self.budget = Budget(self.kernel, clock=lambda: self.kernel.now, sleep=self.kernel.pause, jitter=lambda: 0.5)
        self.budget._set(limit, headroom)
        self.number = number
        self.held: list[Slot] = []
        self.taken = 0

    def remember(self, place: str) -> None:
        """Go on with the history that led to the same state first, if this is another one."""
        budget, now = self.budget, self.kernel.now
        state = (
            place,
            self.taken,
            budget._position,
            budget._member,
            sorted((place.index, now - place.since >= LEASE) for place in budget._holding.places),
            budget._position is not None and now - budget._in_line_since >= PATIENCE,
            budget._position is not None and budget._left and (budget._left, now - budget._left_since >= STALL),
            budget._share,
            now >= budget._stale,
        )
        answered = self.kernel.answered
        shorter = self.known.setdefault(repr(state), self.history[:answered])
        if shorter != self.history[:answered]:
            self.kernel.over = _Same((*shorter, *self.history[answered:]))
            raise self.kernel.over

    def take(self) -> None:
        """Take a slot, waiting for ever."""
        self.remember("before")
        slot = self.budget.try_take()
        if slot is None:
            with self.budget.waiting():
                while (slot := self.budget.try_take()) is None:
                    self.remember("in line")
                    self.kernel.pause(0)
        self.taken += 1
        self.held.append(slot)
        self.kernel.ask("work")

    def give_back(self) -> None:
        """Release the slot that was taken last."""
        self.budget.release(self.held.pop())

    def hand_back(self) -> None:
        """Release it, unless it may be kept."""
        if not self.budget.keeps(self.held[-1], own_waiting=False):
            self.give_back()


Program = Callable[[Process], None]


@dataclass(frozen=True)
class State:
    """All processes, and the kernel's table of locks."""

    histories: tuple[History | None, ...]
    """``None`` for a process that has died."""
    locks: frozenset[tuple[int, int]]
    """Byte and process."""
    ahead: tuple[frozenset[int], ...]
    """For each process: who was in line when it came, and has been since."""


@dataclass
class Explored:
    """What was found."""

    states: int
    steps: int
    schedules: int
    """How many different orders lead from the beginning to an end, those counted once that wait in circles."""
    problems: list[str]


class World:
    """Some processes, each with a program, sharing a number of slots."""

    def __init__(
        self,
        *programs: Program,
        limit: int,
        headroom: int,
        crashes: int = 0,
        time_passes: bool = False,
        head_start: bool = False,
    ) -> None:
        self.programs = programs
        self.limit, self.headroom, self.crashes, self.time_passes = limit, headroom, crashes, time_passes
        self.head_start = head_start
        """Whether the first process has a slot before the others begin."""
        self.overtaken: set[str] = set()
        self.running = 0
        self.known: list[dict[str, History]] = [{} for _ in programs]
        self.next = functools.cache(self._next)

    def _next(self, number: int, history: History) -> tuple[History, Call, tuple[int, ...]]:
        """Return the process's history, shortened if it can be, what it asks next, and the slots it believes it has."""
        while True:
            self.running = number
            process = Process(number, history, self.limit, self.headroom, self.known[number])
            try:
                self.programs[number](process)
                process.remember("end")
                call: Call = ("ended",)
                process.kernel.gone = True
            except _Asks as asks:
                process.kernel.gone, call = True, asks.call
            except _Same as same:
                process.kernel.gone, history = True, same.history
                continue
            held = tuple(slot.index for slot in process.held)
            return history, call, held

    def answers(self, state: State, number: int, call: Call) -> Iterator[tuple[Any, frozenset[tuple[int, int]]]]:
        """Every answer that the kernel may give, with the locks afterwards."""
        name, locks = call[0], state.locks
        if name == "pause":
            yield 0.0, locks
            if self.time_passes:
                yield LONG, locks
        elif name == "lock":
            if any(byte == call[1] and owner != number for byte, owner in locks):
                yield False, locks
            else:
                yield True, locks | {(call[1], number)}
        elif name == "work":
            yield None, locks
        elif name == "unlock":
            yield None, frozenset(lock for lock in locks if not (lock[1] == number and lock[0] in call[1]))
        elif name == "find":
            found = sorted(byte for byte, owner in locks if owner != number and byte in call[1])
            if not found:
                yield None, locks
            for byte in {found[0], found[-1]} if found else ():  # the kernel names any of them
                yield byte, locks

    def steps(self, state: State) -> Iterator[State]:
        """Every state that can be next."""
        for number, history in enumerate(state.histories):
            if history is None:
                continue
            _, call, _ = self.next(number, history)
            for answer, locks in self.answers(state, number, call):
                later, _, _ = self.next(number, (*history, answer))
                yield self._state(state, number, later, locks, call)
            if call[0] != "ended" and sum(one is None for one in state.histories) < self.crashes:
                yield self._state(state, number, None, frozenset(lock for lock in state.locks if lock[1] != number))

    def _state(
        self,
        state: State,
        number: int,
        history: History | None,
        locks: frozenset[tuple[int, int]],
        call: Call = ("killed",),
    ) -> State:
        histories = (*state.histories[:number], history, *state.histories[number + 1 :])
        place = {owner: byte for byte, owner in sorted(locks) if byte in LINE}
        ahead = [frozenset(others & place.keys()) for others in state.ahead]
        if call == ("find", LINE):
            ahead[number] = frozenset(place)
        elif call in (("unlock", LINE), ("killed",)):
            ahead[number] = frozenset()
        if call[0] == "lock" and call[1] in LINE:  # the process itself is at the end now
            ahead = [others - {number} for others in ahead]
        got = locks - state.locks
        if number in place and any(byte in SLOTS for byte, _ in got) and not self.time_passes:
            borrows = place[number] in BORROWING
            before = [one for one in ahead[number] if borrows or place[one] in OWED]
            if before:
                self.overtaken.add(f"process {number} overtook {before}")
        return State(histories, locks, tuple(ahead))

    def problem(self, state: State) -> str | None:
        """What is wrong with a state."""
        placed = [byte - SLOTS.start for byte, _ in state.locks if byte in SLOTS]
        if len(set(placed)) != len(placed) or any(index >= self.limit for index in placed):
            return f"slots {placed} of {self.limit}"
        for number, history in enumerate(state.histories):
            locked = {byte - SLOTS.start for byte, owner in state.locks if owner == number and byte in SLOTS}
            if history is None:
                if any(owner == number for _, owner in state.locks):
                    return f"process {number} is dead and has locks"
                continue
            _, call, held = self.next(number, history)
            if not set(held) <= locked:
                return f"process {number} believes it has {held} and has {locked}"
            if call == ("ended",) and (locked != set(held) or any(o == number and b in LINE for b, o in state.locks)):
                return f"process {number} has ended with {held} and left {locked} behind"
        return None

    def explore(self) -> Explored:
        """Visit every state; each must be sound, and from each all processes that live must be able to end."""
        sharing = "sqlalchemy_holdfast.budget.sharing"
        with (
            mock.patch.multiple(sharing, after_fork=lambda: None, watch=lambda something: None),
            mock.patch(f"{sharing}.os.getpid", side_effect=lambda: 1000 + self.running),
        ):
            return self._explore()

    def _explore(self) -> Explored:
        nobody: frozenset[int] = frozenset()
        first = State(
            tuple(self.next(number, ())[0] for number in range(len(self.programs))),
            frozenset(),
            tuple(nobody for _ in self.programs),
        )
        while self.head_start and self.next(0, first.histories[0] or ())[1] != ("work",):
            first = next(self.steps(first))
        after: dict[State, list[State]] = {}
        queue = deque([first])
        problems: list[str] = []
        while queue:
            state = queue.popleft()
            if state in after:
                continue
            wrong = self.problem(state)
            if wrong is not None or self.overtaken:
                return Explored(len(after), 0, 0, [*self.overtaken, *([wrong] if wrong else [])])
            after[state] = list(self.steps(state))
            queue.extend(after[state])
        before: dict[State, list[State]] = {state: [] for state in after}
        for state, following in after.items():
            for later in following:
                before[later].append(state)
        ends = [state for state in after if self._ended(state)]
        can_end, queue = set(ends), deque(ends)
        while queue:
            for earlier in before[queue.popleft()]:
                if earlier not in can_end:
                    can_end.add(earlier)
                    queue.append(earlier)
        stuck = after.keys() - can_end
        if stuck or not ends:
            problems.append(f"{len(stuck)} states from which some process can never go on")
        steps = sum(len(following) for following in after.values())
        return Explored(len(after), steps, _paths(first, after), problems)

    def _ended(self, state: State) -> bool:
        return all(
            history is None or self.next(number, history)[1] == ("ended",)
            for number, history in enumerate(state.histories)
        )


def _paths(first: State, after: dict[State, list[State]]) -> int:
    """Count the ways from the first state to an end, without those that go in circles."""
    ways: dict[State, int] = {}
    open_: set[State] = set()
    stack = [(first, iter(after[first]))]
    total = {first: 0}
    open_.add(first)
    while stack:
        state, following = stack[-1]
        for later in following:
            if later in ways:
                total[state] += ways[later]
            elif later not in open_:
                open_.add(later)
                total[later] = 0
                stack.append((later, iter(after[later])))
                break
        else:
            stack.pop()
            open_.discard(state)
            ways[state] = total[state] or int(not after[state])
            if stack:
                total[stack[-1][0]] += ways[state]
    return ways[first]
