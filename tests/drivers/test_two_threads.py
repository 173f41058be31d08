"""A connection in two threads: the second gets an error that names both, and the first goes on as if it were alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Count:
    def __init__(self) -> None:
        self.right = self.wrong = self.refused = self.other = 0
        self.texts: set[str] = set()


def ask(connection: Any, number: int, count: Count) -> None:
    cursor = None
    try:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {number}")
        row = cursor.fetchone()
    except Exception as error:
        if "in the middle of a command" in str(error):
            count.refused += 1
            count.texts.add(str(error))
        else:
            count.other += 1
            count.texts.add(repr(error))
        return
    if row is not None and row[0] == number:
        count.right += 1
    else:
        count.wrong += 1


def test_no_thread_gets_another_ones_answer(server: Server, driver: str, held: EngineFactory, often: None) -> None:
    """Stock drivers get some wrong, one of them hundreds. Errors are another matter: nobody may share a connection."""
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    fairy = engine.raw_connection()
    connection: Any = fairy.driver_connection
    counts = [Count() for _ in range(4)]

    def work(index: int) -> None:
        for number in range(index * 1000, index * 1000 + 300):
            ask(connection, number, counts[index])

    threads = [threading.Thread(target=work, args=(index,), name=f"worker {index}") for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sum(count.wrong for count in counts) == 0, [vars(count) for count in counts]
        assert sum(count.right for count in counts) > 0
    finally:
        fairy.invalidate()
        fairy.close()


class Slow:
    """A statement that is under way in a thread called `first`, until the test has seen what it wants."""

    def __init__(self, server: Server, connection: Connection | Session) -> None:
        self.server = server
        self.result: list[Any] = []
        self.thread = threading.Thread(target=self._work, args=(connection,), name="first")

    def _work(self, connection: Connection | Session) -> None:
        try:
            self.result.append(connection.execute(text("SELECT GET_LOCK('two threads', 60), 'mine'")).one())
        except Exception as error:
            self.result.append(error)

    def __enter__(self) -> Slow:
        self.holder = holdfast.create_engine(self.server.url("pymysql"))
        self.lock = self.holder.connect()
        self.lock.execute(text("SELECT GET_LOCK('two threads', 60)"))
        self.thread.start()
        while not self.server.execute("SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"):
            pass
        return self

    def finish(self) -> Any:
        self.lock.execute(text("SELECT RELEASE_LOCK('two threads')"))
        self.thread.join()
        return self.result[0]

    def __exit__(self, *exception: object) -> None:
        self.lock.close()
        self.thread.join()
        self.holder.dispose()


SECOND: dict[str, Callable[[Connection], object]] = {
    "a statement": lambda connection: connection.execute(text("SELECT 1")),
    "commit": lambda connection: connection.connection.commit(),
    "rollback": lambda connection: connection.connection.rollback(),
    "a raw cursor": lambda connection: connection.connection.cursor().execute("SELECT 1"),
    "ping": lambda connection: connection.connection.driver_connection.ping(),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
def test_the_second_one_is_refused_by_name_and_the_first_gets_its_answer(
    server: Server, driver: str, held: EngineFactory, second: Callable[[Connection], object]
) -> None:
    engine = held(server.url(driver))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        with Slow(server, connection) as slow:
            with pytest.raises(Exception, match="in the middle of a command") as caught:
                second(connection)
            assert f"thread 'first' ({__file__}, line " in str(caught.value)
            assert ", in _work) was in the middle" in str(caught.value)
            assert f"thread {threading.current_thread().name!r} ({__file__}, line " in str(caught.value)
            assert ", in <lambda>) used a connection" in str(caught.value)
            assert "gone away" not in str(caught.value)
            assert tuple(slow.finish()) == (1, "mine")
        assert connection.execute(text("SELECT 2")).scalar() == 2
    assert holdfast.status(engine).counters.replaced == {}


def test_a_session_that_the_second_closes_is_still_the_firsts(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    session = Session(engine)
    connection = session.connection()
    with Slow(server, connection) as slow:
        with pytest.raises(Exception, match="in the middle of a command"):
            session.close()
        assert tuple(slow.finish()) == (1, "mine")
    connection.close()  # the session has let go of it
    with engine.connect() as other:
        assert other.execute(text("SELECT 3")).scalar() == 3


def test_a_session_in_two_threads_names_both_lines(server: Server, driver: str, held: EngineFactory) -> None:
    with Session(held(server.url(driver))) as session:
        session.execute(text("SELECT 1"))
        with Slow(server, session) as slow:
            with pytest.raises(DBAPIError, match="in the middle of a command") as caught:
                session.execute(text("SELECT 2"))
            assert f"({__file__}, line " in str(caught.value)
            assert ", in test_a_session_in_two_threads_names_both_lines) used a connection" in str(caught.value)
            assert "thread 'first' (" in str(caught.value)
            assert not caught.value.connection_invalidated
            assert tuple(slow.finish()) == (1, "mine")
        assert session.execute(text("SELECT 3")).scalar() == 3


def test_a_connection_that_the_second_returns_goes_to_nobody(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    connection = engine.connect()
    fairy: Any = connection.connection
    with Slow(server, connection) as slow:
        fairy.close()
        with engine.connect() as other:
            assert other.execute(text("SELECT 3")).scalar() == 3
        said = str(slow.finish())
    assert isinstance(slow.result[0], DBAPIError), "the session was ended, and its lock with it"
    assert f"({__file__}, line " in said
    assert ") closed a connection, or returned it to the pool, while thread 'first' (" in said
    assert slow.result[0].detail == [], "that says all"
    assert "gone away" not in said


def test_a_connection_that_all_threads_share_serves_one_at_a_time(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("mysqlconnector"), poolclass=StaticPool)
    with engine.connect() as connection, Slow(server, connection) as slow:
        with pytest.raises(DBAPIError, match="in the middle of a command"), engine.connect() as other:
            other.execute(text("SELECT 1"))
        slow.finish()


def test_a_signals_handler_reads_no_reply_of_what_it_interrupted(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    """It uses the connection in the middle of its own thread's command: it gets an error, and nobody a wrong row."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    seen: list[object] = []

    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

        def handler(*args: Any) -> None:
            try:
                seen.append(connection.connection.cursor().execute("SELECT 'handler'"))
            except Exception as error:
                seen.append(error)

        proxy.delay = 0.2
        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                row: Any = connection.execute(text("SELECT 'mine'")).scalar()
            except DBAPIError:
                row = None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            proxy.delay = 0
        assert row in ("mine", None)
        assert len(seen) == 1
        connection.invalidate()


def test_the_engine_goes_on_afterwards(server: Server, driver: str, held: EngineFactory) -> None:
    engine: Engine = held(server.url(driver), pool_size=1, max_overflow=0)
    with engine.connect() as connection, Slow(server, connection) as slow:
        for second in SECOND.values():
            with pytest.raises(Exception, match="in the middle of a command"):
                second(connection)
        slow.finish()
    for number in range(5):
        with engine.connect() as connection:
            assert connection.execute(text(f"SELECT {number}")).scalar() == number
    assert holdfast.status(engine).counters.connects == 1


def test_a_unit_of_work_on_a_shared_connection_knows_what_became_of_its_commit(
    server: Server, proxy: Proxy, table: str, held: EngineFactory
) -> None:
    """Other checkouts of the same connection come and go in the middle of it."""
    engine = held(server.url("pymysql", host=proxy.host, port=proxy.port), poolclass=StaticPool)
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("INSERT INTO ledger VALUES (1, 1)"))
        with engine.connect():
            pass
        connection.execute(text(f"INSERT INTO ledger VALUES ({len(calls) + 1}, 1)"))
        proxy.cut_at("COMMIT", delivered=True)

    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(engine, unit)
    assert calls == [1]
