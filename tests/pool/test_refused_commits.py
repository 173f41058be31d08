"""What was refused is never committed: a connection is returned only when what it did is known to have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory

REFUSED, VISITOR = 1, 2


class Refusal(Exception):
    """What a listener of the application's raises."""


def write(connection: Connection | Session, number: int) -> None:
    connection.execute(text(f"INSERT INTO ledger VALUES ({number}, 0)"))


def rows(server: Server) -> list[int]:
    return [row[0] for row in server.execute("SELECT id FROM ledger ORDER BY id", database="test")]


def locked(server: Server) -> bool:
    """Whether anybody holds the row that was refused."""
    try:
        server.execute(f"SELECT id FROM ledger WHERE id = {REFUSED} FOR UPDATE NOWAIT", database="test")
    except pymysql.err.MySQLError as error:
        if error.args[0] not in (1205, 3572):
            raise
        return True
    return False


def visit(engine: Engine) -> None:
    """The next visitor, who commits."""
    with engine.begin() as connection:
        write(connection, VISITOR)


def refuse(name: str) -> Callable[[Engine], None]:
    def listen(engine: Engine) -> None:
        refused: list[int] = []

        def listener(*args: Any) -> None:
            if not refused:  # the next visitor is not refused
                refused.append(1)
                raise Refusal(name)

        event.listen(engine, name, listener)

    return listen


# -- units of work whose commit is refused ----------------------------------------------------------------------------


def by_run_on_an_engine(engine: Engine) -> None:
    def unit(connection: Connection) -> None:
        write(connection, REFUSED)
        connection.commit()

    with pytest.raises(InvalidRequestError, match="the function itself must not"):
        holdfast.run(engine, unit)


def by_run_on_a_sessionmaker(engine: Engine) -> None:
    def unit(session: Session) -> None:
        write(session, REFUSED)
        session.commit()

    with pytest.raises(InvalidRequestError, match="the function itself must not"):
        holdfast.run(sessionmaker(engine), unit)


def by_run_whose_function_catches_the_refusal(engine: Engine) -> None:
    def unit(connection: Connection) -> None:
        write(connection, REFUSED)
        with pytest.raises(InvalidRequestError):
            connection.commit()

    with pytest.raises(InvalidRequestError, match="the function itself must not"):
        holdfast.run(engine, unit)


def by_run_on_a_scoped_session(engine: Engine) -> None:
    registry = scoped_session(sessionmaker(engine))

    def unit(session: Session) -> None:
        write(session, REFUSED)
        session.commit()

    with pytest.raises(InvalidRequestError, match="the function itself must not"):
        holdfast.run(registry, unit)
    registry.remove()


def by_a_listener_to_commit(engine: Engine) -> None:
    refuse("commit")(engine)
    with pytest.raises(Refusal), engine.begin() as connection:
        write(connection, REFUSED)


def by_a_listener_to_commit_of_a_session(engine: Engine) -> None:
    refuse("commit")(engine)
    with Session(engine) as session:
        write(session, REFUSED)
        with pytest.raises(Refusal):
            session.commit()


def by_a_listener_to_commit_that_is_caught(engine: Engine) -> None:
    refuse("commit")(engine)
    with engine.connect() as connection:
        write(connection, REFUSED)
        with pytest.raises(Refusal):
            connection.commit()


def by_a_listener_to_rollback(engine: Engine) -> None:
    refuse("rollback")(engine)
    connection = engine.connect()
    write(connection, REFUSED)
    with pytest.raises(Refusal):
        connection.rollback()
    connection.close()


def by_a_listener_to_rollback_while_closing(engine: Engine) -> None:
    refuse("rollback")(engine)
    connection = engine.connect()
    write(connection, REFUSED)
    with pytest.raises(Refusal):
        connection.close()
    connection.close()


def by_a_listener_to_release_savepoint(engine: Engine) -> None:
    refuse("release_savepoint")(engine)
    with pytest.raises(Refusal), engine.begin() as connection, connection.begin_nested():
        write(connection, REFUSED)


def by_a_listener_to_rollback_savepoint(engine: Engine) -> None:
    refuse("rollback_savepoint")(engine)
    with engine.connect() as connection:
        nested = connection.begin_nested()
        write(connection, REFUSED)
        with pytest.raises(Refusal):
            nested.rollback()


def by_a_listener_to_before_commit(engine: Engine) -> None:
    make = sessionmaker(engine)

    @event.listens_for(make, "before_commit")
    def refuse_it(session: Session) -> None:
        raise Refusal

    with pytest.raises(Refusal), make.begin() as session:
        write(session, REFUSED)


def by_a_two_phase_commit_that_is_refused(engine: Engine) -> None:
    refuse("commit_twophase")(engine)
    connection = engine.connect()
    transaction = connection.begin_twophase()
    write(connection, REFUSED)
    with pytest.raises(Refusal):
        transaction.commit()
    connection.close()


WAYS = [
    by_run_on_an_engine,
    by_run_on_a_sessionmaker,
    by_run_whose_function_catches_the_refusal,
    by_run_on_a_scoped_session,
    by_a_listener_to_commit,
    by_a_listener_to_commit_of_a_session,
    by_a_listener_to_commit_that_is_caught,
    by_a_listener_to_rollback,
    by_a_listener_to_rollback_while_closing,
    by_a_listener_to_release_savepoint,
    by_a_listener_to_rollback_savepoint,
    by_a_listener_to_before_commit,
    by_a_two_phase_commit_that_is_refused,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize("reset", ["rollback", "commit"])
def test_what_was_refused_is_not_committed_by_the_next_visitor(
    server: Server, table: str, driver: str, held: EngineFactory, way: Callable[[Engine], None], reset: str
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_reset_on_return=reset)
    way(engine)
    assert not locked(server), "its locks stay"
    visit(engine)
    assert rows(server) == [VISITOR]


@every_way
@pytest.mark.parametrize("pool", [NullPool, AssertionPool, StaticPool, SingletonThreadPool, QueuePool])
def test_in_a_pool_of_any_kind(
    server: Server, table: str, held: EngineFactory, way: Callable[[Engine], None], pool: type
) -> None:
    engine = held(server.url("pymysql"), poolclass=pool)
    way(engine)
    assert not locked(server), "its locks stay"
    visit(engine)
    assert rows(server) == [VISITOR]


@every_way
def test_nor_where_the_pool_is_told_to_reset_nothing(
    server: Server, table: str, held: EngineFactory, way: Callable[[Engine], None]
) -> None:
    """`pool_reset_on_return=None` is the application's word on what *it* leaves open, not on what was refused."""
    engine = held(server.url("pymysql"), pool_size=1, max_overflow=0, pool_reset_on_return=None)
    way(engine)
    assert not locked(server), "its locks stay"
    visit(engine)
    assert rows(server) == [VISITOR]


def test_a_commit_that_the_server_refuses_leaves_nothing_open(
    server: Server, table: str, driver: str, held: EngineFactory
) -> None:
    """1205 in reply to COMMIT leaves the transaction as it was, and SQLAlchemy does not roll it back."""
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    connection = engine.connect()
    connection.execute(text("SET SESSION lock_wait_timeout = 1"))
    write(connection, REFUSED)
    with pymysql.connect(unix_socket=server.socket, user="root") as admin, admin.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        with pytest.raises(DBAPIError, match="1205"):
            connection.commit()
    connection.close()
    assert not locked(server)
    visit(engine)
    assert rows(server) == [VISITOR]


def test_it_is_said_and_the_connection_is_kept(
    server: Server, table: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = held(server.url("pymysql"), pool_size=1, max_overflow=0)
    by_run_on_an_engine(engine)
    (line,) = [line for line in log() if "still in a transaction" in line]
    assert "It was rolled back" in line
    assert __file__ in line
    visit(engine)
    assert holdfast.status(engine).counters.connects == 1


def test_sql_of_a_checkin_listener_is_no_part_of_the_next_transaction(
    server: Server, table: str, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    once: list[int] = []

    @event.listens_for(engine, "checkin")
    def leave_something(dbapi_connection: Any, record: Any) -> None:
        if not once:
            once.append(1)
            dbapi_connection.cursor().execute(f"INSERT INTO ledger VALUES ({REFUSED}, 0)")

    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    visit(engine)
    assert rows(server) == [VISITOR]


def test_an_isolation_level_for_one_checkout_costs_no_rollback_at_the_next(
    server: Server, driver: str, held: EngineFactory
) -> None:
    """SQLAlchemy's own SET and COMMIT, after the pool's reset, leave nothing open."""
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        own = connection.execution_options(isolation_level="READ COMMITTED")
        own.execute(text("SELECT 1"))
    before = server.status("Com_rollback")
    with engine.connect():
        pass
    assert server.status("Com_rollback") == before
