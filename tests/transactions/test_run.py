"""`holdfast.run`: what is begun again and what is not, and what its function, its caller and the log get to see."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.server import faults
from sqlalchemy_holdfast.transactions import Attempt, Commit, Reason
from tests.conftest import EngineFactory, wait_until_ended
from tests.transactions.conftest import WRITE, Calls, Entry

Names = Callable[[], list[str]]


def kill(server: Server) -> Callable[[Connection], None]:
    """Make the server end the unit's connection."""

    def act(connection: Connection) -> None:
        dbapi_connection: Any = connection.connection.dbapi_connection
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        server.kill_connection(number)
        wait_until_ended(dbapi_connection)

    return act


def fail(number: int, message: str = "as told") -> Callable[[Connection], object]:
    """Make the server answer with this error."""
    return lambda connection: connection.execute(
        text(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{message}'")
    )


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


# -- what is begun again ---------------------------------------------------------------------------------------


def test_a_lost_connection(server: Server, engine: Engine, entries: Names, log: Callable[[], list[str]]) -> None:
    calls = Calls(kill(server))
    assert holdfast.run(engine, calls) == 2
    assert entries() == ["call 2"]
    assert holdfast.status(engine).counters.units_repeated == {Reason.LOST: 1}
    assert any("a unit of work is begun again" in line and "connection lost" in line for line in log())


def test_a_connection_that_is_found_closed_when_it_is_to_commit(server: Server, engine: Engine, entries: Names) -> None:
    """Nothing was sent then, and that is known: no COMMIT of unknown outcome."""
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": f"call {len(calls)}"})
        if not calls:
            kill(server)(connection)
        calls.append(1)

    holdfast.run(engine, unit)
    assert entries() == ["call 1"]


def test_a_real_deadlock(engine: Engine, entries: Names) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a'), (2, 'b')"))
    both = threading.Barrier(2)
    calls: list[int] = []

    def swap(first: int, second: int) -> None:
        waits = [True]

        def unit(connection: Connection) -> None:
            calls.append(first)
            connection.execute(text("UPDATE entry SET name = CONCAT(name, '.') WHERE id = :id"), {"id": first})
            if waits.pop() if waits else False:
                both.wait(60)
            connection.execute(text("UPDATE entry SET name = CONCAT(name, '.') WHERE id = :id"), {"id": second})

        holdfast.run(engine, unit)

    threads = [threading.Thread(target=swap, args=order) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries() == ["a..", "b.."]
    assert len(calls) == 3
    assert holdfast.status(engine).counters.units_repeated == {Reason.DEADLOCK: 1}


@pytest.mark.slow
def test_a_real_lock_timeout_undoes_the_whole_unit(server: Server, one: Engine, entries: Names) -> None:
    with one.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a')"))
    other = one.connect()
    other.execute(text("SELECT * FROM entry WHERE id = 1 FOR UPDATE"))

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
        connection.execute(WRITE, {"name": "new"})
        connection.execute(text("UPDATE entry SET name = 'changed' WHERE id = 1"))

    holdfast.run(one, unit, on_retry=lambda attempt: other.rollback())
    other.close()
    assert entries() == ["changed", "new"]
    assert holdfast.status(one).counters.units_repeated == {Reason.LOCK_TIMEOUT: 1}


def test_a_server_that_became_read_only(engine: Engine, server: Server, entries: Names) -> None:
    server.execute("SET GLOBAL read_only = 1")
    try:
        holdfast.run(engine, Calls(), on_retry=lambda attempt: server.execute("SET GLOBAL read_only = 0"))
    finally:
        server.execute("SET GLOBAL read_only = 0")
    assert entries() == ["call 1"] or entries() == ["call 2"]
    assert holdfast.status(engine).counters.units_repeated == {Reason.READ_ONLY: 1}


REASONS = {
    (1213, ""): Reason.DEADLOCK,
    (1205, ""): Reason.LOCK_TIMEOUT,
    (1020, ""): Reason.CHANGED,
    (3101, ""): Reason.REFUSED,
    (1290, "running with the --read-only option"): Reason.READ_ONLY,
    (1290, "running with the --secure-file-priv option"): None,
    (1792, ""): Reason.READ_ONLY_TRANSACTION,
    (1836, ""): Reason.READ_ONLY,
    (1047, "WSREP has not yet prepared node for application use"): Reason.NOT_READY,
    (1047, "Unknown command"): None,
    (1180, "Got error 149 - Lock deadlock, retry"): Reason.DEADLOCK,
    (1180, "中にエラー149が発生しました"): Reason.DEADLOCK,
    (1180, "Got error 6 - No such device (provider status: Not connected to Primary Component)"): None,
    (1180, "Got error 1490 - something else"): None,
    (3032, "The server is currently in offline mode"): Reason.NOT_READY,
    (6400, "The server is currently in offline mode since 2026"): Reason.NOT_READY,
    (1053, ""): Reason.LOST,
    (1927, ""): Reason.LOST,
    (1064, ""): None,
    (1317, ""): None,
}


@pytest.mark.slow
def test_each_error_of_the_table(engine: Engine) -> None:
    """Sent by the server with SIGNAL: not all of them can be produced here."""
    for (number, message), reason in REASONS.items():
        seen: list[Attempt] = []
        calls = Calls(fail(number, message))
        if reason is None:
            with pytest.raises(DBAPIError, match=str(number)):
                holdfast.run(engine, calls, on_retry=seen.append)
            assert calls.count == 1
        else:
            assert holdfast.run(engine, calls, on_retry=seen.append) == 2
            assert [attempt.reason for attempt in seen] == [reason]


def test_a_record_that_another_transaction_has_changed(one: Engine, server: Server, entries: Names) -> None:
    """1020, with MariaDB's innodb_snapshot_isolation, the default from 11.6 on."""
    with one.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a')"))

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION innodb_snapshot_isolation = 1"))
        name = connection.execute(text("SELECT name FROM entry WHERE id = 1")).scalar_one()
        if name == "a":
            server.execute("UPDATE entry SET name = 'b' WHERE id = 1", database="test")
        connection.execute(text("UPDATE entry SET name = :name WHERE id = 1"), {"name": name + "!"})

    holdfast.run(one, unit)
    assert entries() == ["b!"]
    assert holdfast.status(one).counters.units_repeated == {Reason.CHANGED: 1}


@pytest.mark.slow
def test_a_server_that_is_restarted(driver: str, held: EngineFactory) -> None:
    with Server() as server:
        server.execute("CREATE TABLE entry (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40))", database="test")
        engine = held(server.url(driver))
        holdfast.run(engine, Calls())
        away = threading.Event()

        def stop(connection: Connection) -> None:
            server.kill()
            threading.Timer(0.3, server.start).start()
            away.set()

        assert holdfast.run(engine, Calls(stop)) == 2
        assert server.execute("SELECT COUNT(*) FROM entry", database="test") == [(2,)]


@pytest.mark.slow
def test_attempts_without_a_connection_do_not_count(server: Server, proxy: Proxy, held: EngineFactory) -> None:
    engine = held(server.url("pymysql", host=proxy.host, port=proxy.port), holdfast_wait_for_server="off")
    proxy.refuse()
    attempts: list[Attempt] = []

    def note(attempt: Attempt) -> None:
        attempts.append(attempt)
        if len(attempts) == 4:
            proxy.restore()

    assert holdfast.run(engine, Calls(), attempts=1, on_retry=note) == 1
    assert {attempt.reason for attempt in attempts} == {Reason.UNREACHABLE}
    assert {attempt.commit for attempt in attempts} == {Commit.NOT_SENT}


@pytest.mark.parametrize(
    ("number", "message"),
    [(1290, "running with the --read-only option"), (1836, ""), (1047, "WSREP has not yet prepared node"), (6400, "")],
)
def test_attempts_on_a_server_that_does_not_take_work_do_not_count(engine: Engine, number: int, message: str) -> None:
    calls = Calls(*[fail(number, message)] * 4)
    assert holdfast.run(engine, calls, attempts=1) == 5


@pytest.mark.parametrize(
    ("number", "message"), [(1290, "running with the --read-only option"), (1047, "WSREP is not ready")]
)
def test_the_deadline_ends_them(engine: Engine, number: int, message: str) -> None:
    calls = Calls(*[fail(number, message)] * 1000)
    with pytest.raises(DBAPIError, match=str(number)) as caught:
        holdfast.run(engine, calls, attempts=1, deadline=0.3)
    assert 1 < calls.count < 1000
    attempts = caught.value.holdfast_attempts  # type: ignore[attr-defined]
    assert {attempt.commit for attempt in attempts} == {Commit.NOT_SENT}


def test_a_transaction_that_the_unit_made_read_only_itself_is_not_repeated_until_the_deadline(one: Engine) -> None:
    seen: list[Attempt] = []

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION TRANSACTION READ ONLY"))
        connection.execute(WRITE, {"name": "never"})

    with pytest.raises(DBAPIError, match="1792"):
        holdfast.run(one, unit, attempts=3, on_retry=seen.append)
    assert [attempt.reason for attempt in seen] == [Reason.READ_ONLY_TRANSACTION] * 2


def test_a_wrong_password_is_not_waited_for(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("pymysql", password="wrong"))
    with pytest.raises(OperationalError, match="1045"):
        holdfast.run(engine, Calls())


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


# -- errors that the function keeps to itself --------------------------------------------------------------------


def test_a_deadlock_that_the_function_catches_does_not_lose_the_first_half(engine: Engine, entries: Names) -> None:
    """The server has rolled back what came before it; committing what comes after would be half a unit."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a'), (2, 'b')"))
    other = engine.connect()
    calls = []
    codes: list[int | None] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": "first half"})
        if len(calls) == 1:
            connection.execute(text("UPDATE entry SET name = 'A' WHERE id = 1"))
            # The other one has changed more rows, so this one is the victim.
            other.execute(text(f"INSERT INTO entry (name) VALUES {', '.join(['(1)'] * 20)}"))
            other.execute(text("UPDATE entry SET name = 'B' WHERE id = 2"))
            thread = threading.Thread(target=lambda: other.execute(text("UPDATE entry SET name = 'B' WHERE id = 1")))
            thread.start()
            try:
                while not _waits(engine):
                    pass
                connection.execute(text("UPDATE entry SET name = 'A' WHERE id = 2"))
            except DBAPIError as error:  # mysql-connector has another class for it
                codes.append(faults.error_number(error.orig or error))
            thread.join()
            other.rollback()
            other.close()
        connection.execute(WRITE, {"name": "second half"})

    holdfast.run(engine, unit)
    assert entries() == ["a", "b", "first half", "second half"]
    assert len(calls) == 2
    assert codes == [1213]


def _waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE%' AND command = 'Query'")
        )
        return bool(rows.scalar_one())


def test_a_lost_connection_that_the_function_catches(server: Server, engine: Engine, entries: Names) -> None:
    def core(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "core"})
        if not calls:
            calls.append(1)
            kill(server)(connection)
            with pytest.raises(OperationalError):
                connection.execute(WRITE, {"name": "no"})

    def orm(session: Session) -> None:
        session.add(Entry(name="orm"))
        if not calls:
            calls.append(1)
            kill(server)(session.connection())
            with pytest.raises(OperationalError):
                session.flush()
            session.execute(select(Entry)).all()  # PendingRollbackError

    calls: list[int] = []
    holdfast.run(engine, core)
    calls = []
    holdfast.run(sessionmaker(engine), orm)
    assert entries() == ["core", "orm"]


def test_a_function_that_mends_a_loss_itself_is_called_once(server: Server, engine: Engine, entries: Names) -> None:
    calls = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        kill(server)(connection)
        with pytest.raises(OperationalError):
            connection.execute(WRITE, {"name": "no"})
        connection.rollback()
        connection.execute(WRITE, {"name": "mended"})

    holdfast.run(engine, unit)
    assert entries() == ["mended"]
    assert len(calls) == 1


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


# -- the ORM -----------------------------------------------------------------------------------------------------


def test_each_attempt_has_a_new_session(server: Server, engine: Engine, entries: Names) -> None:
    sessions = []

    def unit(session: Session) -> None:
        sessions.append(session)
        session.add(Entry(name=f"attempt {len(sessions)}"))
        session.flush()
        if len(sessions) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(sessionmaker(engine), unit)
    assert entries() == ["attempt 2"]
    assert sessions[0] is not sessions[1]
    assert not any(session.in_transaction() for session in sessions)


@pytest.mark.parametrize("current", [False, True], ids=["sessionmaker", "scoped_session"])
def test_an_object_made_before_is_written_once(server: Server, engine: Engine, entries: Names, current: bool) -> None:
    """Written by the first attempt it has an identity; that must not outlive the rollback."""
    entry = Entry(name="made before")
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(entry)
        session.flush()
        if len(calls) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    make: Any = sessionmaker(engine)
    holdfast.run(scoped_session(make) if current else make, unit)
    assert len(calls) == 2
    assert entries() == ["made before"]


def test_the_current_session_goes_on_with_right_state(server: Server, engine: Engine, entries: Names) -> None:
    current = scoped_session(sessionmaker(engine))
    current.add(Entry(id=1, name="a"))
    current.commit()
    known = current.get(Entry, 1)  # a transaction that has only read
    assert known is not None
    seen: list[str] = []

    def unit(session: Session) -> None:
        assert session is current()
        assert known in session
        seen.append(known.name)
        known.name = f"changed {len(seen)}"
        session.add(Entry(name="new"))
        session.flush()
        if len(seen) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(current, unit)
    assert seen == ["a", "a"], "the first attempt's change was seen in the second"
    assert entries() == ["changed 2", "new"]
    assert known in current()
    assert known.name == "changed 2"
    current.add(Entry(name="later"))
    current.commit()  # refused inside of a unit, and not after it
    assert entries()[-1] == "later"
    current.remove()


def test_a_current_session_with_changes_is_refused_and_left_alone(engine: Engine, entries: Names) -> None:
    current = scoped_session(sessionmaker(engine))
    current.add(Entry(name="pending"))
    with pytest.raises(InvalidRequestError, match="changes that were made before"):
        holdfast.run(current, lambda session: None)
    current.flush()
    with pytest.raises(InvalidRequestError, match="in a transaction that may have changed"):
        holdfast.run(current, lambda session: None)
    current.commit()
    assert entries() == ["pending"]
    current.execute(insert(Entry).values(name="by Core"))
    with pytest.raises(InvalidRequestError, match="in a transaction that may have changed"):
        holdfast.run(current, lambda session: None)
    current.commit()
    assert entries() == ["pending", "by Core"]
    current.remove()


def test_an_error_after_the_commit_does_not_repeat_the_unit(server: Server, one: Engine, entries: Names) -> None:
    """A listener to after_commit may use the database as well, and lose its connection."""
    make = sessionmaker(one)
    calls = []

    def after_commit(session: Session) -> None:
        with one.connect() as connection:
            kill(server)(connection)
            connection.execute(WRITE, {"name": "no"})

    event.listen(make, "after_commit", after_commit)

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(Entry(name="once"))

    with pytest.raises(OperationalError):
        holdfast.run(make, unit)
    assert len(calls) == 1
    assert entries() == ["once"]


# -- several databases, and others than MySQL and MariaDB --------------------------------------------------------


@pytest.mark.parametrize("plugin", [False, True])
def test_other_databases_are_committed_once_and_never_repeated(plugin: bool) -> None:
    engine = create_engine("sqlite://" + ("?plugin=holdfast" if plugin else ""))
    Entry.metadata.create_all(engine)
    make = sessionmaker(engine)
    holdfast.run(make, lambda session: session.add(Entry(name="a")))
    current = scoped_session(make)
    current.execute(insert(Entry).values(name="b"))
    holdfast.run(current, lambda session: session.add(Entry(name="c")))
    calls = []

    def broken(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": "no"})
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(OperationalError):
        holdfast.run(engine, broken)
    assert len(calls) == 1
    with make() as session:
        assert list(session.scalars(select(Entry.name))) == ["a", "b", "c"]
    current.remove()
    engine.dispose()


def test_an_engine_that_is_not_held_is_committed_once_and_never_repeated(
    server: Server, driver: str, stock: EngineFactory, entries: Names
) -> None:
    engine = stock(server.url(driver))
    assert holdfast.run(engine, Calls()) == 1
    calls = Calls(fail(1213))
    with pytest.raises(DBAPIError):
        holdfast.run(engine, calls)
    assert calls.count == 1
    assert entries() == ["call 1"]


@pytest.mark.filterwarnings("ignore:transaction already deassociated")  # SQLAlchemy's, for the one that was committed
def test_two_databases_are_repeated_until_the_commit_begins_and_not_after(
    server: Server, proxy: Proxy, one: Engine, held: EngineFactory, entries: Names
) -> None:
    other = held(server.url("mysqldb", host=proxy.host, port=proxy.port))
    make = sessionmaker(one)
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        for engine in (one, other):
            session.connection(bind_arguments={"bind": engine}).execute(WRITE, {"name": "x"})
        if len(calls) == 1:
            kill(server)(session.connection(bind_arguments={"bind": other}))
        session.connection(bind_arguments={"bind": other}).execute(text("SELECT 1"))

    holdfast.run(make, unit)
    assert len(calls) == 2
    assert entries() == ["x", "x"]
    proxy.cut_at("COMMIT", delivered=False)
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(make, unit)
    assert len(calls) == 3
    commits: list[Connection] = []

    def lose_the_second(connection: Connection) -> None:
        commits.append(connection)
        if len(commits) == 2:
            kill(server)(connection)

    for engine in (one, other):
        event.listen(engine, "commit", lose_the_second)
    with pytest.raises(holdfast.CommitOutcomeUnknown):  # this COMMIT was not sent, the first one was done
        holdfast.run(make, unit)
    assert len(calls) == 4
    with pytest.raises(InvalidRequestError, match="one database"):
        holdfast.run(make, unit, verify=True)


def test_a_two_phase_session_is_repeated_until_it_is_prepared_and_not_after(
    server: Server, one: Engine, entries: Names
) -> None:
    make = sessionmaker(one, twophase=True)
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(Entry(name="a"))
        session.flush()
        if len(calls) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(make, unit)
    assert len(calls) == 2
    assert entries() == ["a"]
    event.listen(one, "commit_twophase", lambda connection, xid, is_prepared: kill(server)(connection))
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(make, unit)
    assert len(calls) == 3
    for *_, xid in server.execute("XA RECOVER"):
        server.execute("XA ROLLBACK %s", (xid,))


# -- small things ------------------------------------------------------------------------------------------------


def test_the_outcome_error_can_be_pickled() -> None:
    error = holdfast.CommitOutcomeUnknown("The reply was lost", OSError(5, "x"), token="ab")
    error.add_detail("attempt 1")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.token, again.orig.args) == (str(error), "ab", (5, "x"))
    assert not isinstance(error, OperationalError), "code that repeats after those must leave it alone"


def test_no_listener_stays_behind(make: sessionmaker[Session]) -> None:
    current = scoped_session(make)
    for _ in range(3):
        holdfast.run(current, lambda session: session.execute(text("SELECT 1")).scalar())
    assert len(current().dispatch.after_begin) == 0
    current.remove()
