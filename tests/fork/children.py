"""A child of this process: with a limit in time, and its answer or its traceback."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ChildFailed(AssertionError):
    """The function raised in the child; the text is the child's traceback."""


def in_child(
    function: Callable[[], T],
    seconds: float = 60.0,
    *,
    ending: Callable[[], object] | None = None,
    destructors_may_fail: bool = False,
) -> T:
    """Fork, run a function in the child, and return what it returned.

    :param seconds: after that the child is killed, and the test fails.
    :param ending: how the child ends, instead of ``os._exit``; may be no way of ending at all.
    :param destructors_may_fail: an exception in a destructor, which nobody can catch, is no failure.
    :raises ChildFailed: the function, or a destructor, raised.
    """
    end, start = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end)
            _report(start, function, destructors_may_fail)
            if ending is not None:
                ending()
        finally:
            os._exit(0)
    os.close(start)
    deadline = time.monotonic() + seconds
    try:
        answer = _read_all(end, deadline)
        status = wait(pid, deadline)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"the child hung: it was killed after {seconds:g} s") from None
    finally:
        os.close(end)
    if not answer:
        raise ChildFailed(f"the child ended without an answer (wait status {status})")
    good, value = pickle.loads(answer)
    if not good:
        raise ChildFailed(f"in the child:\n{value}")
    return value  # type: ignore[no-any-return]


def _report(pipe: int, function: Callable[[], object], destructors_may_fail: bool) -> None:
    unraisable: list[str] = []
    sys.unraisablehook = lambda u: unraisable.append(f"{u.err_msg or 'in'} {u.object!r}: {u.exc_value!r}")
    try:
        value = function()
        result = (
            (True, value)
            if destructors_may_fail or not unraisable
            else (False, "ignored by the interpreter:\n" + "\n".join(unraisable))
        )
    except BaseException:  # also pytest.fail and sys.exit: nothing may go on with the tests in the child
        result = (False, traceback.format_exc())
    with os.fdopen(pipe, "wb") as stream:
        stream.write(pickle.dumps(result))


def _read_all(pipe: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def wait(pid: int, deadline: float) -> int:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.001)
