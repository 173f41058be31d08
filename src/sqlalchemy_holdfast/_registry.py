"""Objects that are known for as long as they exist, by any number of threads.

A :class:`weakref.WeakSet` is looked at step by step, and another thread that adds to it meanwhile makes that a
``RuntimeError``. Here nothing is looked at but a copy, and the copy is made in one step of the interpreter's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Remembers objects without keeping them alive. Everything may be called by any thread, and by a destructor.

    :param gone: called after one of them has ceased to exist: in a destructor, so at any place and in any thread.
    """

    __slots__ = ("__weakref__", "_forget", "known")

    def __init__(self, gone: Callable[[], object] | None = None) -> None:
        known: set[weakref.ref[T]] = set()
        self.known = known
        """Weak references to them. For asking whether there are any, where that has to be quick."""
        self._forget: Callable[[weakref.ref[T]], object] = known.discard  # C code: nothing can interrupt it
        if gone is not None:

            def forget(ref: weakref.ref[T]) -> None:
                known.discard(ref)
                gone()

            self._forget = forget

    def add(self, one: T) -> None:
        """Remember an object. Harmless when it is known already."""
        self.known.add(weakref.ref(one, self._forget))

    def discard(self, one: T) -> None:
        """Forget an object. Harmless when it is not known."""
        self.known.discard(weakref.ref(one))

    def __iter__(self) -> Iterator[T]:
        """Look at those that exist now, in no order."""
        found = (ref() for ref in list(self.known))
        return iter([one for one in found if one is not None])
