"""An error that says nothing about the connection costs none."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.faults import judge
from tests.conftest import EngineFactory, connection_id
from tests.server.error_cases import row, rule_of


def assert_kept(engine: Engine, statement: str, match: str) -> None:
    before = connection_id(engine)
    with engine.connect() as connection:
        with pytest.raises(DBAPIError, match=match) as caught:
            connection.exec_driver_sql(statement)
        assert not caught.value.connection_invalidated
        assert caught.value.orig is not None
        assert rule_of(caught.value.orig) is None
    assert connection_id(engine) == before
    assert holdfast.status(engine).counters.replaced == {}


def test_1290_of_another_option_is_not_a_read_only_server(server: Server, driver: str, held: EngineFactory) -> None:
    server.execute("CREATE OR REPLACE USER 'filer'@'%' IDENTIFIED BY 'filer'")
    server.execute("GRANT ALL ON *.* TO 'filer'@'%'")
    engine = held(server.url(driver, user="filer", password="filer"))
    assert_kept(engine, "SELECT 1 INTO OUTFILE '/nowhere/at/all'", r"1290.*secure-file-priv")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1047, "Unknown command"),
        (3024, "Query execution was interrupted, maximum statement execution time exceeded"),
        (1205, "Lock wait timeout exceeded; try restarting transaction"),
        (1213, "Deadlock found when trying to get lock"),
        (1317, "Query execution was interrupted"),
        (1226, "User has exceeded the max_questions resource"),
        (1040, "Too many connections"),
    ],
)
def test_an_error_of_the_servers_about_a_statement_costs_no_connection(
    server: Server, driver: str, held: EngineFactory, number: int, words: str
) -> None:
    statement = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{words}'"
    assert_kept(held(server.url(driver)), statement, str(number))


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELEC 1"])
def test_a_wrong_statement_costs_no_connection(
    server: Server, driver: str, held: EngineFactory, statement: str
) -> None:
    assert_kept(held(server.url(driver)), statement, "1146|1064")


@pytest.mark.parametrize("words", ["packet sequence number wrong", "MySQL Connection not available"])
def test_words_of_the_applications_in_an_error_of_the_servers_cost_no_connection(
    server: Server, driver: str, held: EngineFactory, words: str
) -> None:
    """As in a table of log messages: the server repeats the value in its error."""
    assert_kept(held(server.url(driver)), f"SELEC '{words}'", "1064")


def test_a_statement_that_the_server_timed_out_costs_no_connection(
    server: Server, driver: str, held: EngineFactory
) -> None:
    """MariaDB's max_statement_time: 1969."""
    assert_kept(held(server.url(driver)), "SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(5)", "1969")


@pytest.mark.mysql
def test_a_real_3024_of_mysqls_costs_no_connection(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    columns = ", ".join(f"information_schema.columns c{number}" for number in range(3))
    statement = f"SELECT /*+ MAX_EXECUTION_TIME(50) */ COUNT(*) FROM {columns}"
    assert_kept(held(mysql_server.url(driver)), statement, "3024")


def test_a_refused_handshake_is_not_a_connection_that_was_cut(tls_server: Server, server: Server) -> None:
    """2026 again, while connecting: the same number for TLS that the server does not offer."""
    assert tls_server.tls_ca is not None
    verify = {"ssl": {"ca": tls_server.tls_ca}, "ssl_mode": "VERIFY_CA"}
    engine = holdfast.create_engine(server.url("mysqldb"), connect_args=verify)
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    assert caught.value.orig is not None
    assert caught.value.orig.args[0] == 2026
    assert not caught.value.connection_invalidated
    refused = judge(caught.value.orig, connected=False)
    assert (refused.meaning, refused.refusal, refused.effect) == ("the server offers no TLS", None, None)
    assert rule_of(caught.value.orig, connected=True) is row(2026)
    assert holdfast.status(engine).counters.replaced == {}


def test_an_exception_of_the_applications_is_none_of_the_drivers(engine: Engine) -> None:
    """Even one that looks like it."""

    class Lookalike(Exception):
        errno = 2006

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "refuse" in statement:
            raise Lookalike(2006, "MySQL server has gone away")

    before = connection_id(engine)
    with engine.connect() as connection, pytest.raises(Lookalike):
        connection.execute(text("SELECT 'refuse'"))
    assert connection_id(engine) == before
    assert holdfast.status(engine).counters.replaced == {}
