"""One sequence on both sides in lock step, and what is wrong with it."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from sqlalchemy_holdfast import CommitOutcomeUnknown

from . import actions, ends, faults, flows, listeners, units, web
from .actions import number_of
from .closing import compare, finish
from .lab import SIDES, Lab
from .ledger import OUTSIDE, Fate
from .registry import Skip
from .script import Script, Step, numbered, walk
from .side import Side, Violation

__all__ = ["Finding", "Pair", "environment"]

_MODULES = (actions, ends, faults, flows, listeners, units, web)  # importing them has registered the actions


@dataclass(frozen=True)
class Outcome:
    """What a step did, for its user."""

    kind: str
    """``done``, ``error`` or ``skipped``."""
    value: Any = None
    number: int | None = None

    def __str__(self) -> str:
        number = f" {self.number}" if self.number is not None else ""
        return f"{self.kind} {self.value}{number}" if self.kind == "error" else f"{self.kind} ({self.value})"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a sequence."""

    side: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.side}: {self.rule}: {self.text}"


def environment(steps: Script) -> frozenset[str]:
    """Return the words that say how the engines are to be made."""
    return frozenset(arg for step in walk(steps) if step.name == "env" for arg in step.args)


class Pair:
    """Both sides on one server."""

    def __init__(self, lab: Lab, driver: str) -> None:
        self.lab = lab
        self.driver = driver
        self.stock, self.held = (Side(lab, name, driver) for name in SIDES)
        self.trace = False
        self.outcomes: list[str] = []
        """What the held side's steps of the last sequence came to."""

    def run(self, steps: Script) -> list[Finding]:
        """Run a sequence on both sides; return what is wrong."""
        # A connection that was left alone is rolled back by who collects it. In the thread of a proxy, that would wait
        # for itself.
        gc.disable()
        try:
            return self._run(steps)
        finally:
            gc.collect()
            gc.enable()

    def _run(self, steps: Script) -> list[Finding]:
        steps = numbered(steps)
        env = environment(steps)
        for side in (self.stock, self.held):
            side.begin(env)
        findings, alike = [], True
        self.outcomes = []
        for step in steps:
            if step.name == "env":
                continue
            stock, held = outcome(self.stock, step), outcome(self.held, step)
            self.outcomes.append(str(held) if held.kind == "error" else held.kind)
            if self.trace:
                print(f"  {step}\n      stock: {stock}\n      held:  {held}")
            alike = alike and not any(side.faults.broken or side.faults.results for side in (self.stock, self.held))
            if alike and stock != held and "skipped" not in (stock.kind, held.kind):
                alike = False
                if not _may_differ(step, stock, held):
                    findings.append(Finding("held", "different", f"{step}: stock {stock}, held {held}"))
        last = max((step.number for step in walk(steps)), default=0) + 2
        for side in (self.stock, self.held):
            finish(side, last)
        for side in (self.stock, self.held):
            compare(side)
            findings += [Finding(side.name, v.rule, v.text) for v in side.violations]
        if any(f.side == "stock" for f in findings):  # only where stock is right
            findings = [f for f in findings if f.rule != "different"]
        elif alike and not findings:
            findings += self._differences(last)
        return findings

    def _differences(self, last: int) -> list[Finding]:
        """Compare the rows with numbers below the last, where nothing else has found them wrong."""
        stock, held = ({n: count for n, count in side.rows.items() if n < last} for side in (self.stock, self.held))
        any_number = self.held.ledger.again | {n for n, (fate, _) in self.held.ledger.fates.items() if fate is Fate.ANY}
        numbers = sorted(n for n in stock.keys() | held.keys() if stock.get(n) != held.get(n) and n not in any_number)
        if not numbers:
            return []
        text = ", ".join(f"number {n}: {stock.get(n, 0)} times in stock, {held.get(n, 0)} held" for n in numbers)
        return [Finding("held", "other rows", text)]


def outcome(side: Side, step: Step) -> Outcome:
    """Do a step, whatever comes of it."""
    try:
        value = side.perform(step)
    except Skip:
        return Outcome("skipped")
    except (Exception, *OUTSIDE) as error:
        found = Outcome("error", _class_of(error), number_of(error))
        error.__traceback__ = error.__context__ = error.__cause__ = None  # they keep connections alive
        return found
    return Outcome("done", value)


def _class_of(error: BaseException) -> str:
    """Name an error's class; for those of holdfast's the one of SQLAlchemy's that users catch."""
    if isinstance(error, SQLAlchemyError) and not isinstance(error, CommitOutcomeUnknown):
        return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__.startswith("sqlalchemy."))
    return type(error).__name__


def _may_differ(step: Step, stock: Outcome, held: Outcome) -> bool:
    """Say whether holdfast is allowed to be better, or more careful, than stock."""
    inside = {inner.name for inner in walk((step,))}
    if "get" in inside and stock.kind == "error":
        return True  # it is done once more
    if "run" in inside:
        # It begins again what stock gives up, and refuses what it is not sure of.
        if "try" in inside and held.number in (1020, 1205, 1213):
            return True  # an error that undid the first half was caught: it is raised again rather than half committed
        return stock.kind == "error" or held.value in ("InvalidRequestError", "TypeError", "CommitOutcomeUnknown")
    return False


def violations(findings: list[Finding]) -> list[Violation]:
    """Return those of the held side."""
    return [Violation(f.rule, f.text) for f in findings if f.side == "held"]
