"""Where something is done: in another thread, greenlet, context or process. Each has ended when its step has."""

from __future__ import annotations

import contextvars
import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable

import greenlet

from .ledger import OUTSIDE, Fate
from .registry import Skip, action
from .script import Step
from .side import Side, Violation

__all__: list[str] = []

_CHILD_SECONDS = 20.0


@action
def try_(side: Side, step: Step) -> None:
    """Do something, and go on when it raises."""
    try:
        side.run_body(step.body)
    except OUTSIDE:
        raise
    except Exception:
        return


@action
def fails(side: Side, step: Step) -> None:
    """Raise an error of the application's own."""
    raise ValueError("the application's own")


@action
def in_(side: Side, step: Step) -> None:
    """Do something in a copy of this context: in this thread, another one, or a greenlet."""
    _enter(step.args[0], contextvars.copy_context(), lambda: side.run_body(step.body))


@action
def keep_context(side: Side, step: Step) -> None:
    """Copy the context, for later."""
    side.contexts["kept"] = contextvars.copy_context()


@action
def later(side: Side, step: Step) -> None:
    """Do something in the context that was copied."""
    context = side.contexts.get("kept")
    if context is None:
        raise Skip
    _enter(step.args[0], context.copy(), lambda: side.run_body(step.body))


def _enter(where: str, context: contextvars.Context, call: Callable[[], object]) -> None:
    raised: list[BaseException] = []

    def caught() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    if where == "thread":
        thread = threading.Thread(target=context.run, args=(caught,))
        thread.start()
        thread.join()
    elif where == "greenlet":
        other = greenlet.greenlet(caught)
        other.gr_context = context
        other.switch()
    else:
        context.run(caught)
    if raised:
        raise raised.pop()


@action
def fork(side: Side, step: Step) -> None:
    """Do something in a child process.

    Without holdfast a child may not touch what it inherited: there it is not done at all.
    """
    if not side.held or side.in_child or threading.active_count() > 8:
        raise Skip
    side.faults.broken = True  # the other side has not done it
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _be_child(side, step, writing)
        finally:
            os._exit(0)
    os.close(writing)
    _take_over(side, _read_all(reading, child))


def _be_child(side: Side, step: Step, writing: int) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    side.new_process()
    before = dict(side.ledger.fates)
    side.violations = []
    for inner in step.body:
        try:
            side.perform(inner)
        except BaseException:
            continue
    changed = {n: fate for n, fate in side.ledger.fates.items() if before.get(n) != fate and n not in before}
    os.write(writing, pickle.dumps((changed, [(v.rule, v.text) for v in side.violations])))


def _read_all(reading: int, child: int) -> bytes:
    deadline, data = time.monotonic() + _CHILD_SECONDS, b""
    while True:
        ready = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]
        part = os.read(reading, 1 << 16) if ready else b""
        if not part:
            break
        data += part
    os.close(reading)
    if not data:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return data


def _take_over(side: Side, data: bytes) -> None:
    if not data:
        side.violate("child stands still", f"it has not ended after {_CHILD_SECONDS:g} s, or was ended by a signal")
        return
    fates, violations = pickle.loads(data)
    # What a child has not committed when it ends is gone: its connections are closed with it.
    for number, (fate, why) in fates.items():
        open_still = fate is Fate.MAYBE and "has not ended" in why
        side.ledger.settle([number], Fate.ABSENT if open_still else fate, f"in a child: {why}")
    side.violations += [Violation(f"{rule} (in a child)", text) for rule, text in violations]
