"""What a procedure has left unread is read before the next command: no reply is taken for another one's."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pymysql
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory


@pytest.fixture(autouse=True)
def procedures(server: Server, table: str) -> None:
    for sql in (
        "CREATE OR REPLACE PROCEDURE one_result() BEGIN INSERT INTO ledger VALUES (1, 1); SELECT 1; END",
        "CREATE OR REPLACE PROCEDURE two_results() BEGIN SELECT 1; SELECT 2; INSERT INTO ledger VALUES (2, 2); END",
        "CREATE OR REPLACE PROCEDURE fails_late() BEGIN INSERT INTO ledger VALUES (3, 3); SELECT 1; "
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'too late'; END",
    ):
        server.execute(sql, database="test")


@pytest.fixture
def one(server: Server, driver: str, held: EngineFactory) -> Engine:
    return held(server.url(driver), pool_size=1, max_overflow=0)


def ids(server: Server) -> list[int]:
    return [row[0] for row in server.execute("SELECT id FROM ledger ORDER BY id", database="test")]


def call(connection: Any, name: str) -> None:
    """Call a procedure and read its first result alone."""
    assert connection.execute(text(f"CALL {name}()")).scalar() == 1


@pytest.mark.parametrize("name", ["one_result", "two_results"])
def test_a_commit_behind_a_call_is_done_when_it_returns(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, name: str
) -> None:
    """The network is slow enough to tell a reply to COMMIT from one that was there before."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    number = 1 if name == "one_result" else 2
    for _ in range(3):
        with engine.connect() as connection:
            call(connection, name)
            proxy.delay = 0.2
            connection.commit()
            assert ids(server) == [number], "commit() returned"
            proxy.delay = 0
        server.execute("DELETE FROM ledger", database="test")


def test_a_sessions_commit_as_well(server: Server, one: Engine) -> None:
    with Session(one) as session:
        call(session, "two_results")
        session.commit()
        assert ids(server) == [2]


@pytest.mark.parametrize("name", ["one_result", "two_results"])
def test_each_statement_behind_a_call_gets_its_own_reply(server: Server, one: Engine, name: str) -> None:
    with one.connect() as connection:
        for number in range(20):
            call(connection, name)
            assert connection.execute(text(f"SELECT {number}, 'mine'")).one() == (number, "mine")
            result = connection.execute(text(f"UPDATE ledger SET value = {number + 10}"))
            assert result.rowcount == 1
            connection.rollback()


def test_with_a_raw_cursor_and_callproc(server: Server, one: Engine) -> None:
    with closing(one.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.callproc("two_results")
        cursor.close()
        connection.commit()
        assert ids(server) == [2]
        cursor = connection.cursor()
        cursor.execute("SELECT 7")
        assert list(cursor.fetchall()) == [(7,)]
        cursor.close()


@pytest.mark.parametrize("name", ["one_result", "two_results", "fails_late"])
def test_a_rollback_behind_a_call_has_freed_its_locks_when_it_returns(
    server: Server, one: Engine, driver: str, name: str
) -> None:
    server.execute("INSERT INTO ledger VALUES (9, 9)", database="test")
    with one.connect() as connection:
        connection.execute(text("UPDATE ledger SET value = 10 WHERE id = 9"))
        if name == "fails_late" and driver != "mysqlconnector":  # the cursor reads the error when it is closed
            connection.execute(text("SELECT 1"))
        else:
            call(connection, name)
        connection.rollback()
        sql = "SELECT id FROM ledger WHERE id = 9 FOR UPDATE NOWAIT"
        assert server.execute(sql, database="test") == [(9,)], "rollback() returned"
        assert connection.execute(text("SELECT 7")).scalar() == 7
    assert ids(server) == [9]


def test_a_procedure_that_fails_after_its_result_is_not_committed(server: Server, held: EngineFactory) -> None:
    """Its error is waiting behind the result that was read, and comes with the COMMIT, which is not sent.

    With the other drivers the cursor reads it when it is closed, where SQLAlchemy logs errors and goes on.
    """
    one = held(server.url("mysqlconnector"), pool_size=1, max_overflow=0)
    with one.connect() as connection:
        call(connection, "fails_late")
        with pytest.raises(DBAPIError, match="too late"):
            connection.commit()
    assert ids(server) == []
    with one.connect() as connection:
        assert connection.execute(text("SELECT 5")).scalar() == 5


def test_a_commit_that_is_refused_behind_a_call_is_not_told_as_done(server: Server, one: Engine) -> None:
    with one.connect() as connection:
        connection.execute(text("SET SESSION lock_wait_timeout = 1"))
        call(connection, "two_results")
        with pymysql.connect(unix_socket=server.socket, user="root") as admin, admin.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            with pytest.raises(DBAPIError, match="1205"):
                connection.commit()
    assert ids(server) == []


@pytest.mark.parametrize("command", ["ping", "statistics", "use", "reset"])
def test_other_commands_of_mysql_connector_wait_their_turn_too(
    server: Server, held: EngineFactory, command: str
) -> None:
    one = held(server.url("mysqlconnector"), pool_size=1, max_overflow=0)
    with one.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        call(connection, "two_results")
        {
            "ping": lambda: driver_connection.ping(),
            "statistics": lambda: driver_connection.cmd_statistics(),
            "use": lambda: driver_connection.cmd_init_db("test"),
            "reset": lambda: driver_connection.cmd_reset_connection(),
        }[command]()
        assert connection.execute(text("SELECT 9")).scalar() == 9


def test_prepared_statements_of_mysql_connector_as_well(server: Server, held: EngineFactory) -> None:
    one = held(server.url("mysqlconnector"), pool_size=1, max_overflow=0)
    with closing(one.raw_connection()) as connection:
        driver_connection: Any = connection.driver_connection
        plain = driver_connection.cursor()
        plain.execute("CALL two_results()")
        plain.fetchall()
        cursor = driver_connection.cursor(prepared=True, buffered=False)
        cursor.execute("SELECT ?", (8,))
        assert cursor.fetchall() == [(8,)]
        cursor.close()
