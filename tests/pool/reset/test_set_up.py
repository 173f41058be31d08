"""After a reset a session is as the driver, SQLAlchemy and the application's ``connect`` listeners have set it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id, read

VARIABLES = (
    "SELECT @@autocommit, @@sql_mode, @@time_zone, @@character_set_client, @@collation_connection, @@wait_timeout, "
    "@tenant, DATABASE(), CONNECTION_ID()"
)


def seen(engine: Engine, *before: str) -> tuple[Any, ...]:
    with engine.connect() as connection:
        for statement in before:
            connection.execute(text(statement))
        level = connection.get_isolation_level()
        return (*connection.execute(text(VARIABLES)).one(), level)


def changed(engine: Engine) -> tuple[Any, ...]:
    return seen(
        engine,
        "SET autocommit = 1, sql_mode = '', time_zone = '+09:00', wait_timeout = 77, @tenant = 'other'",
        "SET NAMES latin1",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "USE information_schema",
    )


def comes_back(engine: Engine, *, closed: bool = False) -> None:
    first = seen(engine)
    for _ in range(2):
        between = changed(engine)
        assert all(a != b for a, b in zip(first[:8], between[:8], strict=True) if a != 1), (first, between)
        again = seen(engine)
        assert again[:8] == first[:8]
        assert again[9] == first[9]
        assert (again[8] == between[8]) is not closed
    counters = holdfast.status(engine).counters
    assert (counters.resets > 0) is not closed
    assert (counters.replaced.get(Cause.NOT_RESETTABLE, 0) > 0) is closed


def listener(*statements: str) -> Callable[[Any, Any], None]:
    def set_up(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()

    return set_up


CHOICES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "isolation level": {"isolation_level": "READ COMMITTED"},
    "autocommit": {"isolation_level": "AUTOCOMMIT"},
    "init_command": {"connect_args": {"init_command": "SET time_zone = '+02:00', @tenant = 'of init_command'"}},
    "sql_mode": {"connect_args": {"sql_mode": "ANSI,STRICT_ALL_TABLES"}},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_what_the_engine_was_told_holds_after_a_reset(
    server: Server, driver: str, held: EngineFactory, choice: str
) -> None:
    comes_back(held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0, **CHOICES[choice]))


@pytest.mark.mysql
@pytest.mark.parametrize("choice", CHOICES)
def test_the_same_on_mysql(mysql_server: Server, driver: str, held: EngineFactory, choice: str) -> None:
    url = mysql_server.url(driver)
    comes_back(held(url, holdfast_reset="changed", pool_size=1, max_overflow=0, **CHOICES[choice]))


@pytest.mark.mysql
def test_a_server_with_another_character_set(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    """MySQL's reset leaves the server's own character set, whatever the connection was opened with."""
    mysql_server.execute("SET GLOBAL character_set_client = latin1, GLOBAL character_set_results = latin1")
    try:
        engine = held(mysql_server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
        comes_back(engine)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 'é€'")).scalar() == "é€"
    finally:
        mysql_server.execute("SET GLOBAL character_set_client = utf8mb4, GLOBAL character_set_results = utf8mb4")


def test_what_a_connect_listener_has_set_is_set_again(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    said = ("SET time_zone = '+03:00'", "SET @tenant = 'a;b', wait_timeout = 1234", "USE mysql", "SELECT 1")
    event.listen(engine, "connect", listener(*said))
    comes_back(engine)
    assert seen(engine)[2] == "+03:00"


@pytest.mark.parametrize(
    "statement", ["SELECT @tenant := 'x'", "SET @tenant = GET_LOCK('of a connection', 0)", "SET @a = 1; SET @b = 2"]
)
def test_what_cannot_be_said_again_has_the_connection_closed(
    server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]], statement: str
) -> None:
    if ";" in statement and driver != "mysqldb":
        pytest.skip("several statements at once")
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)

    def set_up(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute(statement)
        while cursor.description is not None and cursor.fetchall() and cursor.nextset():
            pass
        cursor.close()

    event.listen(engine, "connect", set_up)
    first = connection_id(engine)
    read(engine)
    assert connection_id(engine) == first, "nothing was changed"
    with engine.connect() as connection:
        connection.execute(text("SET @tenant = 'changed'"))
    assert connection_id(engine) != first
    assert sum("closes connections whose session was changed" in line for line in log()) == 1


def test_a_connection_that_somebody_else_has_made_is_closed(
    server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    plain = held(server.url(driver), holdfast_reset="changed")
    arguments, keywords = plain.dialect.create_connect_args(plain.url)

    def creator() -> Any:
        connection = plain.dialect.loaded_dbapi.connect(*arguments, **keywords)
        listener("SET @tenant = 'of the creator'")(connection, None)
        return connection

    engine = held(server.url(driver), holdfast_reset="changed", creator=creator, pool_size=1, max_overflow=0)
    comes_back(engine, closed=True)
    other = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    event.listen(other, "do_connect", lambda *arguments: creator())
    comes_back(other, closed=True)
    assert sum("it is not known how its connections are made" in line for line in log()) == 2


def test_what_the_server_runs_for_each_new_connection_is_noticed(
    server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    """init_connect is not run after a reset."""
    server.execute("SET GLOBAL init_connect = 'SET wait_timeout = 4321'")
    try:
        engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
        comes_back(engine, closed=True)
        assert seen(engine)[5] == 4321
    finally:
        server.execute("SET GLOBAL init_connect = ''")
    (line,) = (line for line in log() if "closes connections" in line)
    assert "wait_timeout" in line


def test_the_driver_goes_on_believing_what_is_so(server: Server, driver: str, held: EngineFactory) -> None:
    """How the driver writes a backslash depends on the session's sql_mode."""
    server.execute("CREATE OR REPLACE TABLE test.texts (v VARCHAR(40))")
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    hostile = "\\' OR 1=1 -- \\"
    for _ in range(3):
        with engine.begin() as connection:
            connection.execute(text("SET sql_mode = 'NO_BACKSLASH_ESCAPES'"))
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO texts VALUES (:v)"), {"v": hostile})
            assert connection.execute(text("SELECT v FROM texts")).scalars().all() == [hostile]
            connection.execute(text("DELETE FROM texts"))


def test_autocommit_that_a_unit_left_on_is_off_for_the_next(server: Server, driver: str, held: EngineFactory) -> None:
    server.execute("CREATE OR REPLACE TABLE test.texts (v VARCHAR(40))")
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    for isolation_level in ("AUTOCOMMIT", None):
        with engine.connect() as connection:
            connection.execute(text("SET autocommit = 1"))
        options = {"isolation_level": isolation_level} if isolation_level else {}
        with engine.connect().execution_options(**options) as connection:
            connection.execute(text("INSERT INTO texts VALUES ('x')"))
    assert len(server.execute("SELECT * FROM test.texts")) == 1
