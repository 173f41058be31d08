"""Sequences at random: the same seed gives the same one."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from .grammar import DRESSES, STATEMENTS, names
from .listeners import LISTENERS
from .script import Script, Step, parse
from .side import VISITORS
from .themes import THEMES, Theme

__all__ = ["LAZY", "OPENING", "choices", "sequence"]

LAZY = (
    *("result", "scalars", "mappings", "list", "tuple", "dict", "generator", "generators", "iterator", "map", "zip"),
    "partitions",
)
_TARGETS = ("engine", "engine", "maker", "maker", "scoped", "publisher", "other", "other_maker", "twophase")
OPENING = frozenset({"connect", "session", "scoped", "raw", "twophase"})
_VISITORS_OWN = frozenset(
    {"do", "add", "stream", "callproc", "commit", "rollback", "close", "invalidate", "detach", "savepoint", "release"}
    | {"rollback_to", "driver_autocommit", "share", "kill", "lock_row", "deadlock"}
)
"""Steps that somebody does who holds something."""
_DEPTH = 3


@functools.cache
def choices(words: str) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """Return the steps of a theme's words, and their weights."""
    steps, weights = [], []
    for word in words.split():
        text, _, weight = word.partition("*")
        steps.append(parse(text)[0])
        weights.append(int(weight or 1))
    return tuple(steps), tuple(weights)


class _Generator:
    def __init__(self, rng: random.Random, theme: Theme, flavour: str) -> None:
        self.rng = rng
        self.theme = theme
        self.flavour = flavour
        self.open: set[str] = set()

    def sequence(self) -> Script:
        rng, theme = self.rng, self.theme
        env = [self.pick(theme.env) for _ in range(rng.randint(*theme.envs))]
        steps = list(dict.fromkeys(env))
        for _ in range(rng.randint(*theme.length)):
            steps += self.visit(0)
        return tuple(steps)

    def pick(self, words: str) -> Step:
        steps, weights = choices(words)
        return self.rng.choices(steps, weights)[0]

    def visit(self, depth: int) -> list[Step]:
        """Return a step of a visitor's, behind what opens a connection where there is none."""
        step = self.pick(self.theme.visit)
        count = self.theme.visitors
        who = self.rng.choices(VISITORS[:count], (4, 2, 1)[:count])[0]
        steps = []
        for part in step.body if step.name == "then" else (step,):
            if part.name not in _VISITORS_OWN:
                steps.append(self.filled(part, depth))
                continue
            if who not in self.open:
                self.open.add(who)
                steps.append(replace(self.filled(self.pick(self.theme.opens), depth), who=who))
            if part.name == "close":
                self.open.discard(who)
            steps.append(replace(self.filled(part, depth), who=who))
        return steps

    def filled(self, step: Step, depth: int) -> Step:
        """Fill in what a step of a theme leaves open."""
        args = tuple(self.argument(arg) if arg.startswith("@") else arg for arg in step.args)
        body: list[Step] = []
        for inner in step.body:
            body += self.expanded(inner, depth + 1)
        return replace(step, args=args, body=tuple(body))

    def expanded(self, step: Step, depth: int) -> list[Step]:
        if not step.name.startswith("@"):
            return [self.filled(step, depth)]
        kind = step.name[1:]
        if kind == "visit":
            return self.visit(depth) if depth < _DEPTH else []
        words = self.theme.unit if kind == "unit" else self.theme.behind
        steps: list[Step] = []
        for _ in range(self.rng.randint(1, 4 if depth < 2 else 2)):
            found = self.pick(words)
            if found.body and depth >= _DEPTH:
                continue
            steps.append(self.filled(found, depth))
        return steps

    def argument(self, name: str) -> str:
        rng = self.rng
        if name == "@target":
            return rng.choice(_TARGETS)
        if name == "@dress":
            return rng.choice(tuple(DRESSES))
        if name == "@listener":
            return rng.choice(LISTENERS)
        if name == "@where":
            return rng.choice(("thread", "greenlet", "context"))
        if name == "@kind":
            return rng.choice(("soft", "hard", "timeout"))
        if name == "@lines":
            return str(int(rng.expovariate(1 / 60)))
        if name == "@size":
            return str(rng.randrange(60))
        if name == "@lazy":
            return rng.choice(LAZY)
        if name == "@any":
            found = [s for s in STATEMENTS.values() if s.only in ("", self.flavour)]
            return rng.choice(found).name
        return rng.choice(names(name[1:], flavour=self.flavour))


def sequence(seed: str, theme: str, flavour: str) -> Script:
    """Return the sequence of a seed.

    :param theme: one of :data:`~tests.attack.themes.THEMES`, or ``everything``: one of them by chance.
    """
    rng = random.Random(seed)
    chosen = rng.choice(list(THEMES)) if theme == "everything" else theme
    return _Generator(rng, THEMES[chosen], flavour).sequence()
