"""A unit is begun again only where nothing of it can have been committed by something else than its COMMIT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, wait_until_ended
from tests.transactions.conftest import WRITE

Names = Callable[[], list[str]]
Act = Callable[[Connection], object]


@pytest.fixture(autouse=True)
def routines(_schema: Server) -> None:
    for sql in (
        "CREATE OR REPLACE PROCEDURE commits() BEGIN COMMIT; END",
        "CREATE TABLE IF NOT EXISTS other (id INT)",
    ):
        _schema.execute(sql, database="test")


def sql(*statements: str) -> Act:
    def act(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    return act


def raw(statement: str) -> Act:
    def act(connection: Connection) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(statement)
        cursor.close()

    return act


def calls_a_procedure(connection: Connection) -> None:
    cursor = connection.connection.cursor()
    cursor.callproc("commits")
    cursor.close()


def commits_the_drivers_connection(connection: Connection) -> None:
    connection.connection.commit()


def commits_the_innermost_connection(connection: Connection) -> None:
    driver_connection: Any = connection.connection.driver_connection
    driver_connection.commit()


def turns_autocommit_on(connection: Connection) -> None:
    driver_connection: Any = connection.connection.driver_connection
    if callable(getattr(driver_connection, "get_autocommit", None)):
        driver_connection.autocommit(True)
    else:
        driver_connection.autocommit = True


COMMITS: dict[str, Act] = {
    "COMMIT": sql("COMMIT"),
    "a comment before it": sql("/* x */ COMMIT"),
    "another one": sql("-- x\nCOMMIT"),
    "an executable one": sql("/*!50000 COMMIT */"),
    "BEGIN": sql("BEGIN"),
    "START TRANSACTION": sql("START TRANSACTION"),
    "DDL": sql("CREATE OR REPLACE TABLE other (id INT)"),
    "DDL behind a comment": sql("# x\nALTER TABLE other COMMENT 'x'"),
    "CALL": sql("CALL commits()"),
    "callproc()": calls_a_procedure,
    "EXECUTE IMMEDIATE": sql("EXECUTE IMMEDIATE 'COMMIT'"),
    "SET autocommit": sql("SET autocommit = 1"),
    "SET @@autocommit": sql("SET @@autocommit = 1"),
    "SET @@session.autocommit": sql("SET @@session.autocommit = 1"),
    "SET several": sql("SET @a = 1, @@autocommit = 1"),
    "SET STATEMENT": sql("SET STATEMENT max_statement_time = 10 FOR CREATE OR REPLACE TABLE other (id INT)"),
    "LOCK TABLES": sql("LOCK TABLES entry WRITE, other WRITE"),
    "LOAD INDEX": sql("LOAD INDEX INTO CACHE other"),
    "ANALYZE": sql("ANALYZE TABLE other"),
    "FLUSH": sql("FLUSH STATUS"),
    "a raw cursor": raw("COMMIT"),
    "a raw cursor's DDL": raw("CREATE OR REPLACE TABLE other (id INT)"),
    "connection.connection.commit()": commits_the_drivers_connection,
    "driver_connection.commit()": commits_the_innermost_connection,
    "driver_connection.autocommit(True)": turns_autocommit_on,
}

HARMLESS: dict[str, Act] = {
    "a read": sql("SELECT 1"),
    "a write with a semicolon": lambda c: c.execute(WRITE, {"name": "a;COMMIT"}),
    "a write with quotes": lambda c: c.execute(WRITE, {"name": "It's \\'; COMMIT; -- \" /* "}),
    "a savepoint": lambda c: c.begin_nested().commit(),
    "a temporary table": sql("CREATE TEMPORARY TABLE once (id INT)", "DROP TEMPORARY TABLE once"),
    "a user variable": sql("SET @a = 1"),
    "a session variable": sql("SET SESSION sql_mode = 'TRADITIONAL'"),
    "a comment": sql("/* page */ SELECT 1 -- x"),
    "DO": sql("DO 1"),
    "a raw cursor": raw("SELECT 1"),
    "several rows": lambda c: c.execute(WRITE, [{"name": "a"}, {"name": "b;c"}]),
}


def lose(server: Server, connection: Connection) -> None:
    cursor: Any = connection.connection.cursor()
    cursor.execute("SELECT CONNECTION_ID()")
    number = cursor.fetchone()[0]
    cursor.close()
    server.kill_connection(number)
    wait_until_ended(connection.connection.dbapi_connection)


class Unit:
    """Write, do something, and lose the connection the first time."""

    def __init__(self, server: Server, act: Act) -> None:
        self.server = server
        self.act = act
        self.calls = 0

    def __call__(self, subject: Any) -> None:
        self.calls += 1
        connection = subject.connection() if isinstance(subject, Session) else subject
        connection.execute(WRITE, {"name": "unit"})
        self.act(connection)
        if self.calls == 1:
            lose(self.server, connection)
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("act", COMMITS.values(), ids=COMMITS)
def test_what_may_have_been_committed_is_not_done_again(
    server: Server, driver: str, held: EngineFactory, entries: Names, act: Act
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    unit = Unit(server, act)
    with pytest.raises(SQLAlchemyError):
        holdfast.run(engine, unit)
    assert unit.calls == 1
    assert len(entries()) <= 1


@pytest.mark.parametrize("act", HARMLESS.values(), ids=HARMLESS)
def test_what_cannot_have_been_is(server: Server, driver: str, held: EngineFactory, entries: Names, act: Act) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0)
    unit = Unit(server, act)
    holdfast.run(engine, unit)
    assert unit.calls == 2
    assert entries().count("unit") == 1


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"])
def test_a_value_is_no_statement_in_any_sql_mode(
    server: Server, driver: str, held: EngineFactory, entries: Names, mode: str
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, connect_args={"sql_mode": mode})

    def act(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "back\\slash'; COMMIT; --"})

    unit = Unit(server, act)
    holdfast.run(engine, unit)
    assert unit.calls == 2
    assert entries() == ["unit", "back\\slash'; COMMIT; --"]


def test_a_two_phase_session_is_not_done_again_once_it_is_prepared(
    server: Server, driver: str, held: EngineFactory, entries: Names
) -> None:
    make = sessionmaker(held(server.url(driver)), twophase=True)
    calls: list[int] = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.execute(WRITE, {"name": "unit"})
        session.prepare()
        lose(server, session.connection())

    with pytest.raises(SQLAlchemyError):
        holdfast.run(make, unit)
    assert calls == [1]
    for _, _, _, xid in server.execute("XA RECOVER"):
        server.execute(f"XA ROLLBACK '{xid[:36].decode() if isinstance(xid, bytes) else xid}'")


def test_autocommit_of_the_drivers_own_is_refused(
    server: Server, driver: str, held: EngineFactory, entries: Names
) -> None:
    """Each driver says so by the server's flags, without asking."""
    engine = held(server.url(driver), connect_args={"autocommit": True})
    with pytest.raises(SQLAlchemyError, match="AUTOCOMMIT"):
        holdfast.run(engine, lambda connection: connection.execute(WRITE, {"name": "no"}))
    assert entries() == []


def test_a_commit_of_a_raw_cursor_is_seen_by_no_event_and_known_all_the_same(
    server: Server, one: Engine, entries: Names
) -> None:
    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "unit"})
        raw("COMMIT")(connection)
        connection.execute(text("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))

    with pytest.raises(DBAPIError):
        holdfast.run(one, unit)
    assert entries() == ["unit"]
