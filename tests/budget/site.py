"""What the two kinds of site have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tests.budget.request import Outcome


class Site(Protocol):
    """Processes that serve requests. A context manager: entered, they run."""

    counters: dict[int, dict[str, int]]
    """holdfast's, by process, as far as they are known."""

    def __enter__(self) -> Site: ...

    def __exit__(self, *about: object) -> None: ...

    def ask(self, numbers: Iterable[int], /) -> list[Outcome]:
        """Have requests served, and return what came of them."""

    def finish(self) -> list[Outcome]:
        """Let every process end, and return what was answered since."""
