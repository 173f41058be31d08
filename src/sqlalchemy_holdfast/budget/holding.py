"""The slots that this process holds, and the bytes that are locked for them.

An exception from outside may come anywhere. So may a signal's handler or a destructor that takes a slot or gives one
back. So there is one truth, the set of places, and it changes in single steps of the interpreter. A byte is written
down before it is locked. A byte that is locked and belongs to no place is unlocked by the next caller
(:meth:`Holding.unlock_surplus`).
"""

from __future__ import annotations

from collections.abc import Callable

from .exclusion import Exclusion
from .slot_file import SLOTS, SlotFile

__all__ = ["UNPLACED", "Holding", "Slot"]

UNPLACED = len(SLOTS)
"""The index of a slot that has no byte in the file: its connection was there before there was a free slot for it."""


class Place:
    """Where one connection is counted."""

    __slots__ = ("index", "since")

    def __init__(self, index: int, since: float) -> None:
        self.index = index
        """Which of the slots; :data:`UNPLACED` for none."""
        self.since = since
        """When it was taken, on the budget's clock."""


class Slot:
    """The right to have one connection open, once its place is among those that are held.

    Made by :class:`~.budget.Budget` alone. One that is dropped without having been released (by an exception
    that came from outside, as a task's time limit does) is given back when it is collected.
    """

    __slots__ = ("__weakref__", "holding", "place")

    def __init__(self, holding: Holding, index: int, since: float) -> None:
        self.holding = holding
        """What it is one of. In a forked child this is not the child's own."""
        self.place = Place(index, since)

    @property
    def index(self) -> int:
        """Which of the slots; :data:`UNPLACED` for none."""
        return self.place.index

    def give_back(self) -> None:
        """Release it. Harmless when that was done before, or in a process that does not own it."""
        self.holding.let_go(self.place)

    def __del__(self) -> None:
        place = getattr(self, "place", None)
        if place is not None:
            self.holding.let_go(place)

    def __repr__(self) -> str:
        return f"<Slot {'unplaced' if self.index == UNPLACED else self.index}>"


class Holding:
    """All slots of one process.

    :param file: the slot file.
    :param exclusion: the budget's. Who comes in where somebody is already (:attr:`Exclusion.nested`) unlocks nothing,
        and takes nothing that is locked: that one may be about to do so.
    :param surplus: called when something that is locked may not be needed any more: at any place, in any thread.
    """

    def __init__(self, file: SlotFile, exclusion: Exclusion, surplus: Callable[[], object]) -> None:
        self._file = file
        self._exclusion = exclusion
        self._surplus = surplus
        self.places: set[Place] = set()
        """What is held. The budget compares their number with its share at every return of a connection."""
        self._locked: set[int] = set()
        """The bytes that may be locked: those of all places, and some that are given up or being tried."""

    def let_go(self, place: Place) -> None:
        """Hold a place no longer. Harmless when that is so already, or in a process that does not own it."""
        places = self.places
        if place in places:
            places.discard(place)
            self._surplus()

    # What follows is called inside the budget's exclusion.

    def lock_first_free(self, place: Place, stop: int) -> bool:
        """Give a place that has none the first free slot below an index, if there is one.

        :raises SlotFileError: when the file cannot be used.
        """
        while (index := self.first_free(stop)) is not None:
            if self._lock(place, index):
                return True
        return False

    def first_free(self, stop: int) -> int | None:
        """Find the first slot below an index that nobody has.

        :raises SlotFileError: when the file cannot be used.
        """
        area, needed = SLOTS[:stop], self._needed()
        if not self._exclusion.nested:
            surplus = [byte for byte in list(self._locked) if byte in area and byte not in needed]
            if surplus:
                return min(surplus) - SLOTS.start
        byte = self._file.first_free(area, needed | self._locked)
        return None if byte is None else byte - SLOTS.start

    def move(self, slot: Slot, stop: int) -> None:
        """Give a slot the first free place below an index instead of its own, if there is one.

        :raises SlotFileError: when the file cannot be used.
        """
        other = Slot(self, UNPLACED, slot.place.since)
        try:
            self.places.add(other.place)
            if self.lock_first_free(other.place, stop):
                slot.place, other.place = other.place, slot.place
        finally:
            self.let_go(other.place)

    def lock_again(self, stop: int) -> None:
        """Lock everything in a file that was opened anew. What another process has by now gets a slot below an index.

        :raises SlotFileError: when the file cannot be used.
        """
        self._locked.clear()
        places = list(self.places)
        for place in places:
            if place.index != UNPLACED:
                self._lock(place, place.index)
        for place in places:
            if place.index == UNPLACED:
                self.lock_first_free(place, stop)

    def unlock_surplus(self) -> None:
        """Unlock what is locked for no place."""
        if self._exclusion.nested:
            return
        locked = list(self._locked)  # first: what is taken meanwhile is not in it
        needed = self._needed()
        for byte in locked:
            if byte not in needed:
                self._file.unlock(range(byte, byte + 1))
                self._locked.discard(byte)

    def _needed(self) -> set[int]:
        return {SLOTS.start + place.index for place in list(self.places)}

    def _lock(self, place: Place, index: int) -> bool:
        place.index = index  # before it is looked at, so that who comes in meanwhile neither takes it nor unlocks it
        byte = SLOTS.start + index
        if any(other.index == index for other in list(self.places) if other is not place):
            place.index = UNPLACED
            return False
        self._locked.add(byte)
        if self._file.lock(byte):
            return True
        place.index = UNPLACED
        self._locked.discard(byte)
        return False
