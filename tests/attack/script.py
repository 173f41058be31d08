"""A sequence of steps as data, and as a line of text that anybody can run again.

``a.connect; a.do(insert); run(engine){do(insert); commit}; a.commit`` are four steps. Who does it stands before the
dot: one of the visitors a, b, c, or nobody, which is inside a unit the unit's own connection or session.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

__all__ = ["Script", "Step", "format_steps", "numbered", "parse", "walk"]

_TOKEN = re.compile(r"\s*(?:([\w@-]+)|([.;(){},]))")
_WORD = re.compile(r"[\w@-]+\Z")


@dataclass(frozen=True)
class Step:
    """One thing that a user or an attacker does."""

    name: str
    who: str = ""
    args: tuple[str, ...] = ()
    body: tuple[Step, ...] = ()
    number: int = 0
    """The number of its first row. Given by :func:`numbered`, by its place: no part of the text."""

    def __str__(self) -> str:
        who = f"{self.who}." if self.who else ""
        args = f"({','.join(self.args)})" if self.args else ""
        body = f"{{{format_steps(self.body)}}}" if self.body else ""
        return f"{who}{self.name}{args}{body}"

    def has(self, arg: str) -> bool:
        """Say whether an argument is among its own."""
        return arg in self.args


Script = tuple[Step, ...]


def format_steps(steps: Iterable[Step]) -> str:
    """Return the text of steps."""
    return "; ".join(map(str, steps))


def walk(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield each step, and what is inside it behind it."""
    for step in steps:
        yield step
        yield from walk(step.body)


def numbered(steps: Iterable[Step]) -> Script:
    """Give each step two numbers of its own, which are what it may write."""
    count = itertools.count(2, 2)

    def number(steps: Iterable[Step]) -> Script:
        return tuple(replace(step, number=next(count), body=number(step.body)) for step in steps)

    return number(steps)


def parse(text: str) -> Script:
    """Read the text of steps.

    :raises ValueError: for what is none.
    """
    tokens = _tokens(text)
    steps, at = _steps(tokens, 0)
    if at < len(tokens):
        raise ValueError(f"{tokens[at]!r} is not expected there: {text}")
    return steps


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"not a step: {text[at:]!r}")
        tokens.append(found[1] or found[2])
        at = found.end()
    return tokens


def _steps(tokens: list[str], at: int) -> tuple[Script, int]:
    steps = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at] == ";":
            at += 1
            continue
        step, at = _step(tokens, at)
        steps.append(step)
        if at < len(tokens) and tokens[at] not in ";}":
            raise ValueError(f"a ; is missing before {tokens[at]!r}")
    return tuple(steps), at


def _step(tokens: list[str], at: int) -> tuple[Step, int]:
    def peek(offset: int = 0) -> str:
        return tokens[at + offset] if at + offset < len(tokens) else ""

    def word() -> str:
        nonlocal at
        if not _WORD.match(peek()):
            raise ValueError(f"a name is expected, not {peek()!r}")
        at += 1
        return tokens[at - 1]

    who, name, args, body = "", word(), [], Script()
    if peek() == ".":
        at += 1
        who, name = name, word()
    if peek() == "(":
        at += 1
        while peek() != ")":
            args.append(word())
            if peek() == ",":
                at += 1
        at += 1
    if peek() == "{":
        body, at = _steps(tokens, at + 1)
        if peek() != "}":
            raise ValueError("a } is missing")
        at += 1
    return Step(name, who, tuple(args), body), at
