"""`holdfast.run`: what it does, what it refuses, one inside the other, and what its caller and the log get to see."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.transactions import Attempt, Commit, Reason
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, Calls, Entry, Names, fail, kill

# -- what it does ----------------------------------------------------------------------------------------------


def test_it_commits_and_returns_what_the_function_returns(engine: Engine, entries: Names) -> None:
    assert holdfast.run(engine, Calls()) == 1
    assert entries() == ["call 1"]
    assert holdfast.status(engine).counters.units == 1


def test_the_decorator_passes_arguments_and_keeps_the_name(make: sessionmaker[Session], entries: Names) -> None:
    @holdfast.transactional(make)
    def add(session: Session, name: str, *, twice: bool = False) -> int:
        """Add."""
        session.add_all([Entry(name=name) for _ in range(1 + twice)])
        return 7

    assert (add("Ada"), add("Bob", twice=True)) == (7, 7)
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert entries() == ["Ada", "Bob", "Bob"]


def test_an_error_of_the_application_rolls_back_and_is_raised_unchanged(one: Engine, entries: Names) -> None:
    problem = KeyError("x")

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "no"})
        raise problem

    with pytest.raises(KeyError) as caught:
        holdfast.run(one, unit)
    assert caught.value is problem
    assert not hasattr(problem, "holdfast_attempts")
    assert entries() == []
    with one.connect():  # it was returned
        assert one.pool.checkedout() == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sql", "error"),
    [("INSERT INTO entry VALUES (1, 'a'), (1, 'b')", IntegrityError), ("SELECT FROM", ProgrammingError)],
)
def test_an_error_that_would_come_again_is_raised_at_once(engine: Engine, sql: str, error: type[Exception]) -> None:
    calls = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text(sql))

    with pytest.raises(error) as caught:
        holdfast.run(engine, unit)
    assert len(calls) == 1
    assert not hasattr(caught.value, "holdfast_attempts")


# -- limits, history, the hook ---------------------------------------------------------------------------------


def test_the_last_error_has_the_history(server: Server, engine: Engine, entries: Names) -> None:
    seen: list[Attempt] = []
    calls = Calls(fail(1213, "first"), fail(1205, "second"), fail(1213, "third"))
    with pytest.raises(DBAPIError, match="third") as caught:
        holdfast.run(engine, calls, attempts=3, on_retry=seen.append)
    attempts: tuple[Attempt, ...] = caught.value.holdfast_attempts  # type: ignore[attr-defined]
    assert [(a.number, a.reason, a.commit) for a in attempts] == [
        (1, Reason.DEADLOCK, Commit.NOT_SENT),
        (2, Reason.LOCK_TIMEOUT, Commit.NOT_SENT),
        (3, Reason.DEADLOCK, Commit.NOT_SENT),
    ]
    assert attempts[-1].exception is caught.value
    assert list(attempts[:2]) == seen
    assert 0 <= attempts[0].started <= attempts[1].started
    assert "attempt 1" in str(caught.value)
    assert "second" in str(caught.value)
    assert entries() == []


def test_an_error_that_is_not_repeated_has_the_history_when_there_was_one(one: Engine) -> None:
    calls = Calls(fail(1213), fail(1064))
    with pytest.raises(ProgrammingError) as caught:
        holdfast.run(one, calls)
    assert [attempt.reason for attempt in caught.value.holdfast_attempts] == [Reason.DEADLOCK, None]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_no_attempt_is_begun_after_the_deadline(one: Engine) -> None:
    calls = Calls(*[fail(1213)] * 1000)
    with pytest.raises(OperationalError) as caught:
        holdfast.run(one, calls, attempts=1000, deadline=2)
    assert 1 < calls.count < 1000
    assert caught.value.holdfast_attempts[-1].started < 2  # type: ignore[attr-defined]


def test_what_the_hook_raises_is_raised(one: Engine) -> None:
    def stop(attempt: Attempt) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        holdfast.run(one, Calls(fail(1213)), on_retry=stop)


@pytest.mark.parametrize("limits", [{"attempts": 0}, {"deadline": 0}, {"deadline": -1}, {"deadline": float("nan")}])
def test_limits_out_of_range_are_refused(one: Engine, limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        holdfast.run(one, Calls(), **limits)
    with pytest.raises(ValueError, match="deadline"):
        holdfast.run(one, Calls(), deadline=2000, verify=True)


# -- what it refuses -------------------------------------------------------------------------------------------


def test_what_would_be_read_after_the_commit_is_refused(one: Engine, make: sessionmaker[Session]) -> None:
    def generator(connection: Connection) -> Iterator[int]:
        yield 1

    async def coroutine(connection: Connection) -> None: ...

    for function in (generator, coroutine):
        with pytest.raises(TypeError, match=function.__name__):
            holdfast.run(one, function)
        with pytest.raises(TypeError, match=function.__name__):
            holdfast.transactional(one)(function)
    with pytest.raises(TypeError, match="generator"):
        holdfast.run(one, lambda connection: (row for row in [1]))
    with pytest.raises(TypeError, match="rows would be read after the commit"):
        holdfast.run(one, lambda connection: connection.execute(text("SELECT 1")))
    with pytest.raises(TypeError, match="rows would be read after the commit"):
        holdfast.run(make, lambda session: session.scalars(select(Entry)))
    assert holdfast.run(one, lambda connection: connection.execute(WRITE, {"name": "x"})).rowcount == 1


def test_what_is_not_a_target_is_refused(one: Engine, make: sessionmaker[Session]) -> None:
    with make() as session, one.connect() as connection:
        for target in (session, connection, "mysql://", None):
            with pytest.raises(TypeError, match=type(target).__name__):
                holdfast.run(target, lambda subject: None)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match=type(target).__name__):
                holdfast.transactional(target)  # type: ignore[call-overload]


def test_a_function_that_commits_is_refused_before_anything_is_committed(engine: Engine, entries: Names) -> None:
    def core(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "x"})
        connection.commit()

    def orm(session: Session) -> None:
        session.add(Entry(name="x"))
        session.commit()

    def quietly(connection: Connection) -> None:
        try:
            core(connection)
        except InvalidRequestError:
            pass

    with pytest.raises(InvalidRequestError, match="must not"):
        holdfast.run(engine, core)
    with pytest.raises(InvalidRequestError, match="must not"):
        holdfast.run(engine, quietly)
    with pytest.raises(InvalidRequestError, match="must not"):
        holdfast.run(sessionmaker(engine), orm)
    assert entries() == []


def test_a_function_may_roll_back_and_use_savepoints(engine: Engine, entries: Names) -> None:
    def core(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "no"})
        connection.rollback()
        connection.execute(WRITE, {"name": "core"})
        with connection.begin_nested():
            connection.execute(WRITE, {"name": "savepoint"})

    def orm(session: Session) -> None:
        session.add(Entry(name="no"))
        session.flush()
        session.rollback()
        with session.begin_nested():
            session.add(Entry(name="orm"))

    holdfast.run(engine, core)
    holdfast.run(sessionmaker(engine), orm)
    assert entries() == ["core", "savepoint", "orm"]


@pytest.mark.parametrize("how", ["isolation level", "argument"])
def test_autocommit_is_refused(server: Server, driver: str, held: EngineFactory, how: str, entries: Names) -> None:
    if how == "argument":
        if driver == "mysqlconnector":
            pytest.skip("it does not tell without asking the server")
        engine = held(server.url(driver), connect_args={"autocommit": True})
    else:
        engine = held(server.url(driver), isolation_level="AUTOCOMMIT")
    with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
        holdfast.run(engine, Calls())
    assert entries() == []


def test_after_a_statement_that_commits_by_itself_nothing_is_begun_again(
    server: Server, engine: Engine, entries: Names
) -> None:
    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "committed by the ALTER"})
        connection.execute(text("ALTER TABLE entry COMMENT 'x'"))
        kill(server)(connection)
        connection.execute(WRITE, {"name": "lost"})

    with pytest.raises(OperationalError):
        holdfast.run(engine, unit)
    assert entries() == ["committed by the ALTER"]


# -- one inside the other ----------------------------------------------------------------------------------------


def test_a_run_inside_a_run_takes_part_in_it(server: Server, engine: Engine, entries: Names) -> None:
    make = sessionmaker(engine)
    current = scoped_session(make)
    calls: list[str] = []

    def inner(subject: Any) -> str:
        calls.append("inner")
        subject.execute(WRITE, {"name": "inner"})
        if calls.count("inner") == 1:
            kill(server)(subject if isinstance(subject, Connection) else subject.connection())
        subject.execute(text("SELECT 1"))
        return "inner's"

    def outer(target: Any) -> Callable[[Any], str]:
        def unit(subject: Any) -> str:
            calls.append("outer")
            subject.execute(WRITE, {"name": "outer"})
            return holdfast.run(target, inner, attempts=1)

        return unit

    for target in (engine, make, current):
        calls.clear()
        server.execute("TRUNCATE TABLE entry", database="test")
        assert holdfast.run(target, outer(target)) == "inner's"
        assert calls == ["outer", "inner"] * 2
        assert entries() == ["outer", "inner"]
    current.remove()


def test_an_inner_error_that_is_caught_is_the_outer_units_business(one: Engine, entries: Names) -> None:
    def inner(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "inner"})
        raise KeyError

    def outer(connection: Connection) -> None:
        with pytest.raises(KeyError):
            holdfast.run(one, inner)

    holdfast.run(one, outer)
    assert entries() == ["inner"]


def test_threads_have_units_of_their_own(one: Engine, entries: Names) -> None:
    def outer(connection: Connection) -> None:
        thread = threading.Thread(target=lambda: holdfast.run(one, Calls()))
        thread.start()
        thread.join()
        assert entries() == ["call 1"]

    holdfast.run(one, outer)


# -- small things ------------------------------------------------------------------------------------------------


def test_the_outcome_error_can_be_pickled() -> None:
    error = holdfast.CommitOutcomeUnknown("The reply was lost", OSError(5, "x"), token="ab")
    error.add_detail("attempt 1")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.token, again.orig.args) == (str(error), "ab", (5, "x"))
    assert not isinstance(error, OperationalError), "code that repeats after those must leave it alone"
