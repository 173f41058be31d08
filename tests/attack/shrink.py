"""A failing sequence, made as short as it can be: steps are taken out while the same thing is still wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .script import Script, Step

__all__ = ["shrunk"]


def shrunk(steps: Script, fails: Callable[[Script], bool], *, tries: int = 150) -> Script:
    """Return a part of a sequence that still fails.

    :param fails: says whether a sequence fails in the same way.
    :param tries: how often it is asked at the most.
    """
    left = tries

    def still(candidate: Script) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    size = max(1, len(steps) // 2)
    while size >= 1 and left > 0:  # delta debugging on the outer steps
        at, smaller = 0, False
        while at < len(steps) and left > 0:
            candidate = steps[:at] + steps[at + size :]
            if candidate and still(candidate):
                steps, smaller = candidate, True
            else:
                at += size
        size = size if smaller and size > 1 else size // 2
    again = True
    while again and left > 0:  # then one change anywhere inside
        again = False
        for candidate in _smaller(steps):
            if left <= 0:
                break
            if still(candidate):
                steps, again = candidate, True
                break
    return steps


def _smaller(steps: Script) -> Iterator[Script]:
    """Yield sequences that are one step, one level or one argument smaller."""
    for at, step in enumerate(steps):
        before, after = steps[:at], steps[at + 1 :]
        if len(steps) > 1:
            yield before + after
        if step.body and step.name != "run":
            yield before + step.body + after
        for body in _smaller(step.body):
            yield (*before, replace(step, body=body), *after)
        for simpler in _plainer(step):
            yield (*before, simpler, *after)


def _plainer(step: Step) -> Iterator[Step]:
    if step.name == "do" and len(step.args) > 1:
        yield replace(step, args=step.args[:1])
    if step.name == "run" and len(step.args) > 1:
        yield replace(step, args=step.args[:1])
    if step.name == "do" and step.args[0] != "insert":
        yield replace(step, args=("insert",))
    if step.name in ("add", "callproc"):
        yield Step("do", step.who, ("insert",))
    if step.name == "run" and step.args[0] != "engine":
        yield replace(step, args=("engine", *step.args[1:]))
    if step.name in ("session", "scoped", "raw", "twophase") or (step.name == "connect" and step.args):
        yield Step("connect", step.who)
