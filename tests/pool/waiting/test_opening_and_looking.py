"""Threads that open, close and look at once: nobody goes through a row that another thread is changing.

A request must not end in "RuntimeError: Set changed size during iteration", nor in "deque mutated during iteration".
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast._registry import Registry
from sqlalchemy_holdfast.counters import Counters
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read

SECONDS = 1.5


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*what: Callable[[], object], seconds: float = SECONDS) -> None:
    """Do some things again and again, each in a thread of its own; raise what one of them raises."""
    end = time.monotonic() + seconds
    errors: list[Exception] = []

    def again_and_again(do: Callable[[], object]) -> None:
        try:
            while time.monotonic() < end and not errors:
                do()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=again_and_again, args=(do,)) for do in what]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_registry_can_be_looked_at_while_it_changes() -> None:
    class Known:
        pass

    registry: Registry[Known] = Registry()

    def come_and_go() -> None:
        known = [Known() for _ in range(50)]
        for one in known:
            registry.add(one)
        for one in known[::2]:
            registry.discard(one)

    at_once(*[come_and_go] * 3, *[lambda: list(registry)] * 2, seconds=0.5)
    assert list(registry) == []


def test_a_registry_forgets_what_is_gone_and_tells_it() -> None:
    class Known:
        pass

    told: list[int] = []
    registry: Registry[Known] = Registry(lambda: told.append(len(registry.known)))
    one, other = Known(), Known()
    registry.add(one)
    registry.add(one)
    registry.add(other)
    assert set(registry) == {one, other}
    del one
    assert told == [1]
    registry.discard(other)
    assert not registry.known
    del other
    assert told == [1], "it had been forgotten"


def test_threads_can_open_connections_while_others_ask_who_has_them(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("pymysql"), poolclass=NullPool, holdfast_leak_warning=0.1)
    hold: Any = holdfast.status(engine)
    at_once(
        *[lambda: read(engine)] * 3, *[hold._listeners.leaks.holders, lambda: hold._listeners.leaks._look(0, 1e9)] * 2
    )


def test_counters_can_be_read_while_new_causes_are_counted(server: Server, held: EngineFactory) -> None:
    hold: Any = holdfast.status(held(server.url()))

    def count() -> None:
        hold._reporter.counters.replaced.clear()
        for number in range(200):
            hold._reporter.counters.count_replaced(str(number))
            hold._reporter.counters.count_repeated(str(number))

    at_once(*[count] * 2, lambda: repr(hold), lambda: hold.counters, hold._reporter.counters.as_dict, seconds=0.7)
    assert isinstance(hold.counters, Counters)


def test_engines_can_be_made_while_a_child_is_told_of_all(server: Server, held: EngineFactory) -> None:
    from sqlalchemy_holdfast import fork

    url = server.url("pymysql")
    at_once(*[lambda: held(url)] * 3, *[lambda: list(fork._watched)] * 2, seconds=1)


def test_an_error_can_be_handled_while_another_thread_begins_its_first_unit_of_work(
    server: Server, held: EngineFactory
) -> None:
    def fail(engine: Engine) -> None:
        with pytest.raises(DBAPIError), engine.connect() as connection:
            connection.execute(text("SELECT nonsense"))

    for _ in range(12):
        engine = held(server.url("pymysql"))
        event.listen(engine, "handle_error", lambda context: time.sleep(0.001))  # as one that writes it down
        read(engine)
        units = iter([lambda connection: connection.execute(text("SELECT 1")).scalar()] * 3)

        def unit(engine: Engine = engine, units: Iterator[Any] = units) -> None:
            work = next(units, None)
            if work is None:
                time.sleep(0.01)
            else:
                assert holdfast.run(engine, work) == 1

        at_once(*[lambda engine=engine: fail(engine)] * 3, unit, seconds=0.15)
        engine.dispose()
