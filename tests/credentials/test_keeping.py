"""For how long a password is kept, and that many threads which need it at once ask for it once."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Password, PasswordUnavailable
from sqlalchemy_holdfast.credentials import asking
from sqlalchemy_holdfast.credentials.asking import OneAsks
from sqlalchemy_holdfast.credentials.passwords import Passwords
from sqlalchemy_holdfast.reporting import Reporter
from tests.conftest import read
from tests.credentials.conftest import Account, Make


class Asked:
    """A password's source and a clock, and what `connect` was given."""

    def __init__(self, life: float | None, ttl: float | None) -> None:
        self.now = 1000.0
        self.life = life
        self.asked = 0
        passwords = Passwords("holdfast_password", self.ask, ttl, Reporter("nowhere"), lambda: self.now)
        self.connect = passwords.connecting(lambda **arguments: arguments["password"])

    def ask(self) -> Password:
        self.asked += 1
        return Password(f"number {self.asked}", self.life)

    def after(self, seconds: float) -> Any:
        self.now += seconds
        return self.connect()


@pytest.mark.parametrize(
    ("life", "ttl", "kept"),
    [
        (None, None, 0),
        (None, 30, 30),
        (900, None, 890),
        (900, 60, 60),
        (60, 600, 54),
        (20, None, 18),
        (0, None, 0),
        (-5, None, 0),
        (float("inf"), None, 0),
        (float("inf"), 60, 60),
    ],
)
def test_it_is_kept_until_its_end_is_near_or_the_ttl_is_over(
    life: float | None, ttl: float | None, kept: float
) -> None:
    asked = Asked(life, ttl)
    assert asked.connect() == "number 1"
    if kept:
        assert asked.after(kept - 0.5) == "number 1"
        assert asked.after(1) == "number 2"
    else:
        assert asked.connect() == "number 2", "nobody has said for how long"


def test_a_repr_never_shows_it() -> None:
    for life in (None, 900.0):
        assert "zyxwvq" not in f"{Password('zyxwvq', life)!r} {Password('zyxwvq', life)}"
    assert repr(Password("zyxwvq", 900)) == "<Password, valid for 900 s>"


def together(number: int, do: Callable[[], object]) -> list[object]:
    """What that many threads get that begin at once: a value, or the text of an error."""
    found: list[object] = []
    barrier = threading.Barrier(number)

    def run() -> None:
        barrier.wait()
        try:
            found.append(do())
        except PasswordUnavailable as error:
            found.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Is released whenever a thread waits for another one's answer."""
    found = threading.Semaphore(0)
    real = asking.sleep

    def sleep(seconds: float) -> None:
        found.release()
        real(seconds)

    monkeypatch.setattr(asking, "sleep", sleep)
    return found


def test_threads_that_connect_at_once_ask_once(
    driver: str, logs_in: Make, account: Account, waiting: threading.Semaphore
) -> None:
    asked = []

    def slow() -> Password:
        asked.append(1)
        if len(asked) == 2:
            assert waiting.acquire(timeout=30), "the others wait"
        return Password(account.password, 3600)

    engine = logs_in(driver, holdfast_password=slow, pool_size=8)
    read(engine)  # the first connection is one thread's alone
    engine.dispose()
    inner: Any = holdfast.status(engine)
    inner._passwords._kept = None
    assert together(8, lambda: read(engine, 7)) == [7] * 8
    assert len(asked) == 2


def test_threads_that_wait_for_the_answer_get_the_same_error(waiting: threading.Semaphore) -> None:
    asked = []

    def slow() -> Password:
        asked.append(1)
        if len(asked) == 1:  # a thread that comes later asks by itself
            assert waiting.acquire(timeout=30)
        raise RuntimeError("sealed")

    one = OneAsks(lambda: holdfast_error(slow), lambda: 0.0)
    found = together(5, lambda: one.answer(not_before=0.0))
    assert found == ["sealed"] * 5
    assert len(asked) < 5


def holdfast_error(function: Callable[[], Password]) -> Password:
    try:
        return function()
    except RuntimeError as error:
        raise PasswordUnavailable(str(error)) from error


def test_a_function_may_use_the_engine_that_it_is_asked_for(logs_in: Make, account: Account) -> None:
    """By mistake or not: it does not wait for itself."""
    depth = []

    def nested() -> str:
        depth.append(1)
        if len(depth) == 1:
            assert read(engine, 5) == 5
        return account.password

    engine: Engine = logs_in(holdfast_password=nested)
    assert read(engine, 7) == 7


class Outside(Exception):
    """Raised by a signal's handler at any line."""


def test_an_exception_from_outside_leaves_nothing_taken() -> None:
    """At each line of the asking in turn: the next one asks, and waits for nobody."""
    path = asking.__file__
    for at in range(200):
        asked = itertools.count(1)
        one = OneAsks(asked.__next__, lambda: 0.0)
        lines = 0

        def trace(frame: Any, kind: str, argument: object, at: int = at) -> Any:
            nonlocal lines
            if frame.f_code.co_filename != path:
                return None
            if kind == "line":
                lines += 1
                if lines == at + 1:
                    sys.settrace(None)
                    raise Outside
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            one.answer(not_before=0.0)
        except Outside:
            pass
        else:
            assert at > 10, "it did come"
            return
        finally:
            sys.settrace(before)
        assert one._turns == {}, f"after line {at}"
        assert one.answer(not_before=0.0) in (1, 2)
    pytest.fail("it goes on for ever")


def test_a_thread_that_never_came_back_is_not_waited_for_for_ever() -> None:
    now = [0.0]
    one = OneAsks(lambda: "answer", lambda: now[0])
    stale = asking._Turn[str](0.0)
    stale.thread = -1
    one._turns[None] = stale
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "sleep", lambda seconds: now.__setitem__(0, now[0] + 1.0))
        assert one.answer(not_before=0.0) == "answer"
    assert now[0] > asking._PATIENCE


def test_a_forked_child_uses_what_is_kept_and_asks_for_itself(logs_in: Make, account: Account, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_text("")

    def ask() -> Password:
        with asked.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return Password(account.password, 3600)

    engine = logs_in(holdfast_password=ask)
    read(engine)
    inner: Any = holdfast.status(engine)
    # As if another thread of the parent's had been asking at that moment: it is not there in the child.
    inner._passwords._asking._turns[None] = asking._Turn(inner._passwords.clock())
    inner._passwords._asking._turns[None].thread = -1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            first = read(engine, 7)
            inner._passwords._kept = None
            engine.dispose()
            code = 0 if (first, read(engine, 8)) == (7, 8) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    inner._passwords._asking._turns.clear()
    assert os.waitstatus_to_exitcode(status) == 0
    assert asked.read_text().split() == [str(os.getpid()), str(child)]
