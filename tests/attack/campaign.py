"""Many sequences, one after the other, and what was found in them."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .fuzz import Finding, Pair
from .generate import OPENING, sequence
from .grammar import STATEMENTS
from .known import limit_of, reason_of
from .lab import Lab
from .script import Script, format_steps, walk
from .shrink import shrunk
from .themes import THEMES
from .watch import watched

__all__ = ["Campaign", "Found", "quiet"]

_RANK = ("doubled", "lost", "refused and there", "another tenant's row", "wrong answer")


@contextmanager
def quiet() -> Iterator[None]:
    """Have nobody tell of each connection that was lost, for the length of a block."""
    loggers = [logging.getLogger(name) for name in ("holdfast", "sqlalchemy", "mysql.connector")]
    levels = [logger.level for logger in loggers]
    hook, sys.unraisablehook = sys.unraisablehook, lambda raised: None  # half-made results of connections that are gone
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass
class Found:
    """One thing that was found wrong, as short as it could be made."""

    theme: str
    seed: str
    number: int
    """Which sequence of the seed."""
    finding: Finding
    steps: Script
    times: int = 1
    second: float = 0.0

    def __str__(self) -> str:
        return f"{self.theme}, sequence {self.number}, after {self.second:.0f} s, {self.times} times: {self.finding}"

    def covers(self, finding: Finding, steps: Script) -> bool:
        """Say whether another failure is most likely the same one."""
        same = (finding.side, finding.rule) == (self.finding.side, self.finding.rule)
        return same and not _kinds(self.steps) - _kinds(steps)


def _kinds(steps: Script) -> Counter[str]:
    """Count the steps by what they are, with the family of a statement in its place."""
    kinds = Counter(STATEMENTS[s.args[0]].family if s.name == "do" else s.name for s in walk(steps))
    for opening in OPENING & kinds.keys():
        kinds["open"] += kinds.pop(opening)
    return kinds


@dataclass
class Campaign:
    """Sequences for one driver on one server until the time is up."""

    driver: str
    program: str | None
    """The server's, as for `Server`."""
    seed: str
    themes: tuple[str, ...]
    seconds: float
    stop_at_first: bool = False
    shrink: bool = True
    strict: bool = False
    """Count what the documentation does not promise, too."""
    say: Callable[[str], None] = lambda text: None
    found: list[Found] = field(default_factory=list)
    sequences: int = 0
    steps: int = 0
    stock: Counter[str] = field(default_factory=Counter)
    """What was wrong in stock, by reason."""
    limits: Counter[str] = field(default_factory=Counter)
    """What was wrong on the held side, and is said in the documentation."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """What the held side's steps came to."""
    examples: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Run them."""
        options = {THEMES[theme].rollback_on_timeout for theme in self.themes}
        for rollback_on_timeout in sorted(options):
            themes = [t for t in self.themes if THEMES[t].rollback_on_timeout is rollback_on_timeout]
            with Lab(self.program, rollback_on_timeout=rollback_on_timeout) as lab:
                self._run(lab, themes, self.seconds * len(themes) / len(self.themes))
            if self.found and self.stop_at_first:
                return

    def _run(self, lab: Lab, themes: list[str], seconds: float) -> None:
        pair = Pair(lab, self.driver)
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < seconds:
            theme = themes[number % len(themes)]
            steps = sequence(f"{self.seed}/{theme}/{number}", theme, lab.flavour)
            findings = watched(pair, steps)
            self.sequences += 1
            self.steps += sum(1 for _ in walk(steps))
            self.outcomes.update(pair.outcomes)
            self._note(pair, theme, number, steps, findings, time.monotonic() - began)
            if self.found and self.stop_at_first:
                return
            number += 1

    def _note(
        self, pair: Pair, theme: str, number: int, steps: Script, findings: Iterable[Finding], second: float
    ) -> None:
        mine = []
        for finding in findings:
            if finding.side == "stock":
                reason = reason_of(finding, steps, self.driver) or f"unexplained: {finding.rule}"
                self.stock[reason] += 1
                self.examples.setdefault(reason, format_steps(steps))
                continue
            limit = None if self.strict else limit_of(finding, steps)
            if limit is None:
                mine.append(finding)
            else:
                self.limits[limit] += 1
        known = next((found for found in self.found if any(found.covers(f, steps) for f in mine)), None)
        if known is not None:
            known.times += 1
        elif mine:
            # The others in the same sequence come of the same cause, or come again.
            finding = min(mine, key=lambda f: _RANK.index(f.rule) if f.rule in _RANK else len(_RANK))
            self._new(pair, Found(theme, self.seed, number, finding, steps, second=second))

    def _new(self, pair: Pair, found: Found) -> None:
        rule = (found.finding.side, found.finding.rule)
        if self.shrink:
            found.steps = shrunk(found.steps, lambda steps: any((f.side, f.rule) == rule for f in watched(pair, steps)))
            known = next((other for other in self.found if other.covers(found.finding, found.steps)), None)
            if known is not None:
                known.times += 1
                return
        self.found.append(found)
        self.say(f"{found}\n    --driver {self.driver} --against {pair.lab.flavour} --replay '{self.replay(found)}'")

    def replay(self, found: Found) -> str:
        """Return what ``--replay`` takes."""
        return f"{self.seed}:{format_steps(found.steps)}"
