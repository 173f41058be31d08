"""One check of the doctor's: a function that looks at what was gathered, and what is said when it finds something."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from .. import _pages
from .examined import Examined
from .finding import Finding, Severity

__all__ = ["GROUPS", "NEEDS", "Check", "Looks", "Seen", "check", "registered"]

GROUPS = ("connect", "limits", "prefork", "session", "server", "middlebox", "application")
"""The groups, in the order of the first digit of their checks' ids: HF1.. to HF7.."""
NEEDS = frozenset({"url", "server", "application"})
"""What a check may need: a URL or an engine, a server that answered, an application that was watched."""


@dataclass(frozen=True)
class Seen:
    """What a check has seen, where it is not as bad as usual, or has another cure."""

    evidence: str
    """What was seen, with its figures."""
    severity: Severity | None = None
    """How bad it is; ``None`` for the check's own."""
    cure: str | None = None
    """What to do; ``None`` for the check's own."""


Looks = Callable[[Examined], Iterator[str | Seen]]
"""Looks at what was gathered, and yields what it has seen: each makes one finding. Nothing yielded: all is well.

It asks nobody and changes nothing. It raises :class:`~.facts.NotSeen` when it needs something that could not be seen.
"""


@dataclass(frozen=True)
class Check:
    """One check."""

    id: str
    """Stable, such as ``HF401``; also the name of its page in the documentation."""
    group: str
    """Such as ``session``."""
    title: str
    """What is the matter when it finds something, in a few words."""
    severity: Severity
    """How bad that is."""
    needs: frozenset[str]
    """What must be there for it to run: ``url``, ``server``, ``application``."""
    cure: str
    """What to do, in one line."""
    explanation: str
    """Why it matters, in a few plain sentences."""
    function: Looks
    """What looks."""

    @property
    def page(self) -> str:
        """The address of its page in the documentation."""
        return _pages.page(f"doctor/{self.id}")

    def findings(self, examined: Examined) -> list[Finding]:
        """Look, and return what was found.

        :raises NotSeen: when something that it needs could not be seen.
        """
        return [self._finding(seen) for seen in self.function(examined)]

    def _finding(self, seen: str | Seen) -> Finding:
        if isinstance(seen, str):
            seen = Seen(seen)
        return Finding(
            id=self.id,
            group=self.group,
            title=self.title,
            severity=seen.severity or self.severity,
            evidence=seen.evidence,
            cure=seen.cure or self.cure,
            page=self.page,
        )


_registered: dict[str, Check] = {}


def check(
    id: str,
    *,
    group: str,
    title: str,
    severity: Severity,
    needs: Collection[str],
    cure: str,
    explanation: str,
) -> Callable[[Looks], Check]:
    """Register a function as a check; the arguments are the fields of :class:`Check`.

    :raises ValueError: for an id that is taken or does not fit its group, or a need that nobody knows.
    """

    def register(function: Looks) -> Check:
        if not re.fullmatch(r"HF[1-9]\d\d", id) or group not in GROUPS or GROUPS[int(id[2]) - 1] != group:
            raise ValueError(f"{id} is no id for a check of the group {group}")
        if id in _registered:
            raise ValueError(f"there are two checks with the id {id}")
        if not needs or not NEEDS.issuperset(needs):
            raise ValueError(f"{id} needs {sorted(needs)}; what can be needed is {sorted(NEEDS)}")
        made = Check(id, group, title, severity, frozenset(needs), cure, " ".join(explanation.split()), function)
        _registered[id] = made
        return made

    return register


def registered() -> tuple[Check, ...]:
    """Return the checks of all modules that were imported so far, ordered by id."""
    return tuple(_registered[id] for id in sorted(_registered))
