"""A connection that was lost in use: the error says since when it was out, where, why (if it is known), what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Integer, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.limits import Limits
from tests.conftest import MYSQLD, EngineFactory, inside, wait_until_ended


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    with Server(options={"wait_timeout": 1}) as server:
        yield server


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int] = mapped_column(Integer)


def begun(connection: Connection) -> Any:
    """Use a connection, so that it cannot be replaced any more; return the driver's."""
    connection.execute(text("SELECT 1"))
    connection.execute(text("SELECT 2"))
    return connection.connection.driver_connection


def killed(server: Server, connection: Connection) -> None:
    """Have a connection in use ended by KILL."""
    own = begun(connection)
    server.kill_connection(int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()))
    wait_until_ended(own)


def lost(act: Callable[[], object]) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught:
        act()
    assert caught.value.connection_invalidated
    assert caught.value.orig is not None
    assert "holdfast: the connection" not in str(caught.value.orig), "the driver's own error stays as it is"
    return caught.value


def details(error: DBAPIError) -> str:
    (line,) = error.detail
    return line


# -- why ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_that_was_left_open_over_the_idle_limit(impatient: Server, driver: str, held: EngineFactory) -> None:
    with Session(held(impatient.url(driver))) as session:
        own = begun(session.connection())
        wait_until_ended(own)
        said = details(lost(lambda: session.execute(text("SELECT 3"))))
    assert "holdfast: the connection was idle for " in said
    assert f"(checked out by {__file__}, line " in said
    assert ", in test_one_that_was_left_open_over_the_idle_limit, " in said
    assert " s ago); the server closes idle connections after 1 s (wait_timeout). End the session" in said
    assert "call its rollback()" in said
    assert said.endswith(page("errors/2006#a-session-that-is-kept"))


@pytest.mark.slow
def test_so_does_a_commit_that_comes_too_late(impatient: Server, driver: str, held: EngineFactory) -> None:
    with held(impatient.url(driver)).connect() as connection:
        wait_until_ended(begun(connection))
        said = details(lost(connection.commit))
    assert "the server closes idle connections after 1 s (wait_timeout)" in said


@pytest.mark.slow
@pytest.mark.mysql
def test_mysqls_own_word_for_it(driver: str, held: EngineFactory) -> None:
    with (
        Server(executable=MYSQLD, options={"wait_timeout": 1}) as server,
        held(server.url(driver)).connect() as connection,
    ):
        wait_until_ended(begun(connection))
        said = details(lost(lambda: connection.execute(text("SELECT 3"))))
    assert "the connection was idle for " in said
    assert "after 1 s (wait_timeout)" in said


def test_one_that_was_ended_is_not_said_to_have_been_idle(server: Server, driver: str, held: EngineFactory) -> None:
    with held(server.url(driver)).connect() as connection:
        killed(server, connection)
        said = details(lost(lambda: connection.execute(text("SELECT 3"))))
    assert "holdfast: the connection was lost in use (checked out by " in said
    assert "it had been idle for 0." in said
    assert "KILL" in said
    assert "End the session" not in said


@pytest.mark.slow
def test_a_long_statement_is_not_idle(impatient: Server, driver: str, held: EngineFactory) -> None:
    """It takes longer than the limit, and its connection is killed then: nobody was idle."""
    with held(impatient.url(driver)).connect() as connection:
        begun(connection)
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        statement = text("SELECT SLEEP(30)")
        killer = threading.Timer(2.0, impatient.kill_connection, [number])
        killer.start()
        try:
            error = lost(lambda: connection.execute(statement))
        finally:
            killer.join()
    assert "End the session" not in str(error)


@pytest.mark.slow
def test_a_session_that_is_open_for_long_and_busy_was_not_idle(
    impatient: Server, driver: str, held: EngineFactory
) -> None:
    with held(impatient.url(driver)).connect() as connection:
        for _ in range(4):
            connection.execute(text("SELECT SLEEP(0.4)")).all()
        killed(impatient, connection)
        said = details(lost(lambda: connection.execute(text("SELECT 3"))))
    assert "the connection was lost in use" in said
    assert "End the session" not in said


def test_a_rollback_in_between_is_not_idle_time(server: Server, driver: str, held: EngineFactory) -> None:
    """When it was sent is not known, so nothing is said of it."""
    engine = held(server.url(driver))
    with engine.connect() as connection:
        begun(connection)
    with engine.connect() as connection:
        begun(connection)
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        own: Any = connection.connection.driver_connection
        connection.rollback()
        server.kill_connection(number)
        wait_until_ended(own)
        said = details(lost(lambda: connection.execute(text("SELECT 3"))))
    assert "the connection was lost in use" in said
    assert "had been idle" not in said


def test_a_limit_that_was_seen_and_not_told(server: Server, held: EngineFactory) -> None:
    """A load balancer closed others sooner than the server would."""
    engine = held(server.url("pymysql"))
    with engine.connect() as connection:
        killed(server, connection)
        hold = inside(engine)
        hold._limit.found_closed(250.0)
        state = connection.connection.driver_connection._holdfast  # type: ignore[union-attr]
        state.replied -= 260.0
        state.began = state.replied
        said = details(lost(lambda: connection.execute(text("SELECT 3"))))
    limits: Limits = hold.limits
    assert f"found closed after 250 s idle, sooner than the server's wait_timeout of {limits.wait_timeout} s" in said
    assert "load balancer" in said


def test_the_drivers_own_time_limit_is_named(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), connect_args={"read_timeout": 1})
    with engine.connect() as connection:
        begun(connection)
        said = details(lost(lambda: connection.execute(text("SELECT SLEEP(5)"))))
    assert "no reply came within a time limit (the driver's read_timeout" in said
    assert "KILL" not in said


def test_what_the_server_has_said_is_not_guessed_at(server: Server, held: EngineFactory) -> None:
    """1927: the connection was killed."""
    with held(server.url("pymysql")).connect() as connection:
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())

        def kill() -> None:
            while not server.execute("SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep'"):
                pass
            server.kill_connection(number)

        killer = threading.Thread(target=kill)
        killer.start()
        error = lost(lambda: connection.execute(text("SELECT SLEEP(30)")))
        killer.join()
    if error.orig is not None and error.orig.args[0] == 1927:
        assert "may have been restarted" not in str(error)
    assert "call its rollback()" in str(error)


def test_an_error_that_loses_nothing_has_no_such_line(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text("SELECT * FROM no_such_table"))
    assert caught.value.detail == []


# -- a session that failed once, and is used for ever ------------------------------------------------------------------


def test_each_later_use_says_what_to_do_until_it_is_rolled_back(
    server: Server, driver: str, held: EngineFactory
) -> None:
    session = Session(held(server.url(driver)))
    killed(server, session.connection())
    lost(lambda: session.execute(text("SELECT 3")))
    for use in (lambda: session.execute(text("SELECT 4")), lambda: session.scalars(text("SELECT 4")), session.commit):
        with pytest.raises(PendingRollbackError, match="holdfast: it lost its database connection") as caught:
            use()
        assert str(caught.value).startswith("Can't reconnect until invalid transaction is rolled back.")
        assert "Call rollback() on the session or connection once" in str(caught.value)
        assert page("errors/pending-rollback") in str(caught.value)
        assert caught.value.code == "8s2b"
    session.rollback()
    assert session.execute(text("SELECT 5")).scalar() == 5
    session.close()


def test_the_same_of_a_connection(server: Server, driver: str, held: EngineFactory) -> None:
    with held(server.url(driver)).connect() as connection:
        for _ in range(2):
            killed(server, connection)
            lost(lambda: connection.execute(text("SELECT 3")))
            with pytest.raises(PendingRollbackError) as caught:
                connection.execute(text("SELECT 4"))
            assert str(caught.value).count("holdfast: it lost its database connection") == 1
            connection.rollback()
            assert connection.execute(text("SELECT 5")).scalar() == 5


def test_a_flush_that_failed_is_told_with_every_later_use(
    server: Server, table: str, driver: str, held: EngineFactory
) -> None:
    """SQLAlchemy repeats the first error itself, and so what was added to it."""
    session = Session(held(server.url(driver)))
    killed(server, session.connection())
    session.add(Row(id=1, value=1))
    lost(session.flush)
    for _ in range(2):
        with pytest.raises(PendingRollbackError, match="previous exception during flush") as caught:
            session.execute(text("SELECT 4"))
        assert "call its rollback()" in str(caught.value)
    session.rollback()
    assert session.execute(text("SELECT 5")).scalar() == 5
    session.close()


def test_a_session_for_each_job_goes_on(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver))
    with Session(engine) as session:
        killed(server, session.connection())
        lost(lambda: session.execute(text("SELECT 3")))
    with Session(engine) as session:
        assert session.execute(text("SELECT 4")).scalar() == 4
    assert holdfast.status(engine).counters.replaced == {holdfast.Cause.LOST_IN_USE: 1}
