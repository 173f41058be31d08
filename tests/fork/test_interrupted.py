"""An exception from outside while a child leaves everything to its parent: it is done all the same, and once more."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any

import pytest
from sqlalchemy import event, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import fork
from sqlalchemy_holdfast.lab import Server
from tests._long import LONG
from tests.conftest import EngineFactory, read
from tests.pool.waiting.moments import PARTS, Break, Interrupted, Moment

IN_A_CHILD = (*PARTS, "drivers/state.py", "drivers/connection.py")


def lines_in_a_child() -> int:
    """Count the lines that run at a fork, in the parent and in the child."""
    gc.collect()  # of engines that are gone, nothing is left to be done
    most = 10**9
    moment = Moment(most, lambda: None, IN_A_CHILD)
    reading, writing = os.pipe()
    with moment:
        child = os.fork()
    if not child:
        os.write(writing, str(most - moment.left).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as pipe:
        return int(pipe.read())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [Interrupted, Break])
def test_an_exception_at_any_line_after_a_fork_does_not_reach_the_parents_sessions(
    server: Server, driver: str, held: EngineFactory, kind: type[BaseException], table: str
) -> None:
    engine = held(server.url(driver))
    connection = engine.connect()
    idle = engine.connect()
    ids = [one.execute(text("SELECT CONNECTION_ID()")).scalar() for one in (connection, idle)]
    idle.close()
    connection.rollback()
    parent = os.getpid()

    def then() -> None:
        if os.getpid() != parent:
            raise kind("from outside")

    lines = lines_in_a_child()
    assert lines > 50
    numbers = range(0, lines + 20, 1 if LONG else lines // 12)
    for number in numbers:
        connection.execute(text(f"INSERT INTO {table} VALUES ({number}, 1)"))
        moment = Moment(number, then, IN_A_CHILD)
        with moment:
            child = os.fork()
        if not child:
            status = 1
            try:
                sys.unraisablehook = lambda *arguments: None
                gc.disable()
                status = 2 if read(engine, 5) != 5 else 3
                del connection, idle
                engine.dispose()
                gc.collect()
                if read(engine, 6) == 6:
                    status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"{number}: the child ended with {status}"
        assert connection.execute(text("SELECT CONNECTION_ID()")).scalar() == ids[0], f"line {number}"
        connection.commit()
        with engine.connect() as other:
            assert other.execute(text("SELECT CONNECTION_ID()")).scalar() == ids[1], f"line {number}"
    assert server.execute(f"SELECT COUNT(*) FROM {table}", database="test") == [(len(numbers),)]
    connection.close()


class Watched:
    """Something that is told of a fork, and raises."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.left = self.began = 0

    def leave_to_parent(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.left += 1

    def start_anew(self) -> None:
        self.began += 1


def as_in_a_child(monkeypatch: pytest.MonkeyPatch, *watched: Watched) -> None:
    registry: Any = type(fork._watched)()
    for one in watched:
        registry.add(one)
    monkeypatch.setattr(fork, "_watched", registry)
    monkeypatch.setattr(fork, "_process", -1)


def test_what_was_interrupted_is_done_again_and_the_exception_is_not_swallowed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = Watched(Interrupted("a task's time limit")), Watched()
    as_in_a_child(monkeypatch, one, other)
    with pytest.raises(Interrupted, match="a task's time limit"):
        fork.after_fork()
    assert [(watched.left, watched.began) for watched in (one, other)] == [(1, 1), (1, 1)]
    fork.after_fork()
    assert one.began == 1, "all has been done"


def test_a_thread_that_notices_while_another_sees_to_it_waits_and_one_that_is_called_meanwhile_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, leave, order = threading.Event(), threading.Event(), []

    class Slow(Watched):
        def leave_to_parent(self) -> None:
            fork.after_fork()  # as a destructor does: it does not wait for itself
            inside.set()
            leave.wait(10)
            order.append("left")

    slow = Slow()
    as_in_a_child(monkeypatch, slow)
    first = threading.Thread(target=fork.after_fork)
    first.start()
    inside.wait(10)

    def second() -> None:
        fork.after_fork()
        order.append("went on")

    other = threading.Thread(target=second)
    other.start()
    other.join(0.1)
    leave.set()
    first.join()
    other.join()
    assert order == ["left", "went on"]


def test_a_listener_may_use_the_engine_in_the_child_itself_or_in_a_thread(server: Server, held: EngineFactory) -> None:
    """It is called when all is done: nothing waits for it."""
    engine = held(server.url("pymysql"))
    read(engine)
    parent = os.getpid()

    @event.listens_for(engine, "engine_disposed")
    def disposed(engine: Any) -> None:
        if os.getpid() != parent:
            thread = threading.Thread(target=read, args=(engine,))
            thread.start()
            thread.join(20)
            if thread.is_alive():
                os._exit(7)
            assert holdfast.status(engine).counters.connects == 1

    child = os.fork()
    if not child:
        os._exit(0 if read(engine, 5) == 5 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holdfast.status(engine).counters.connects == 1
