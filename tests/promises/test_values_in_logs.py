"""No value of a statement is in a log record or an error of holdfast's, whatever happens and with each driver."""

from __future__ import annotations

import gc
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.pool import first_statement
from sqlalchemy_holdfast.server import faults
from tests.conftest import EngineFactory, wait_until_ended

SECRETS = [
    "zyxwvq",
    'zyxwvq it\'s \\ "zyxwvq" `zyxwvq` ; -- zyxwvq /* zyxwvq */ # zyxwvq',
    "é日\\'zyxwvq",
    b"\x00\x81'zyxwvq\\\xff\"zyxwvq",
    998877998877,
    -99887.7998877,
]
STATEMENTS = [
    "SELECT :value",
    "SELECT :value AS a, 'zyxwvq', \"zyxwvq\", 998877998877, 0x7A7978777671, _utf8'zyxwvq' /* zyxwvq */",
    "SELECT id FROM ledger WHERE id = :value LIMIT 998877998",
    "INSERT INTO ledger (id, value) SELECT 1, LENGTH(:value)",
    "/* zyxwvq */ SELECT :value",
    "SELECT :value -- zyxwvq",
]
# Digits that no port, thread's number or time has by chance: five that are more than 65535 wherever one begins.
PIECES = ("zyx", "wvq", "99887", "98877", "88779", "87799", "77998", "7a797877")


def shows(words: str) -> bool:
    """Whether a part of a secret is in what somebody reads."""
    return any(piece in words.lower() for piece in PIECES)


@pytest.fixture
def records() -> Iterator[Callable[[], list[str]]]:
    """All that holdfast logs at any level, with tracebacks, and as its arguments are written."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(logging.Formatter("%(message)s").format(record) + f" {record.msg} {record.args}")

    handler = Keep(logging.DEBUG)
    logger = logging.getLogger("holdfast")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield lambda: list(found)
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def engine(server: Server, proxy: Proxy, driver: str, held: EngineFactory, table: str) -> Engine:
    return held(
        server.url(driver, host=proxy.host, port=proxy.port),
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.1,
        holdfast_leak_warning=0.05,
        holdfast_max_waiting=1,
    )


def execute(connection: Connection, statement: str, value: Any) -> None:
    connection.execute(text(statement), {"value": value} if ":value" in statement else {})


def words_of(error: BaseException) -> str:
    """All that somebody sees of an error of holdfast's."""
    return " ".join([str(error), repr(error), *getattr(error, "__notes__", []), *getattr(error, "detail", [])])


@pytest.mark.slow
def test_none_is_shown_of_who_holds_the_connections(engine: Engine, records: Callable[[], list[str]]) -> None:
    errors: list[str] = []
    for statement, value in zip(STATEMENTS, SECRETS, strict=True):
        with engine.connect() as connection:
            execute(connection, statement, value)
            before = holdfast.status(engine).counters.waits
            waiting = threading.Thread(target=lambda: errors.append(refused(engine)))
            waiting.start()
            while holdfast.status(engine).counters.waits == before and waiting.is_alive():
                waiting.join(0.001)
            errors.append(refused(engine))
            waiting.join()
        assert "SELECT" in errors[-1] or "INSERT" in errors[-1] or statement.startswith("/*")
        connection = engine.connect()
        execute(connection, statement, value)
        del connection  # never returned
        gc.collect()
    assert [error for error in errors if shows(error)] == []
    assert any("last statement" in error for error in errors)
    assert any("was out of the pool" in line and "last statement" in line for line in records())
    assert any("the garbage collector returned it" in line for line in records())
    assert [line for line in records() if shows(line)] == []


def refused(engine: Engine) -> str:
    try:
        engine.connect().close()
    except holdfast.HoldfastError as error:
        return words_of(error)
    return "not refused"


@pytest.mark.slow
def test_none_is_shown_of_what_is_lost_and_repeated(
    engine: Engine, proxy: Proxy, records: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_statement, "_SECONDS", 60.0)
    for statement, value in [*zip(STATEMENTS, SECRETS, strict=True), *zip(STATEMENTS, SECRETS[::-1], strict=True)]:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM ledger"))
        with engine.connect() as connection:  # lost, and repeated where that may be
            proxy.truncate_reply(0)
            try:
                execute(connection, statement, value)
            except DBAPIError:
                connection.rollback()
        with engine.connect() as connection:  # lost before it is sent
            lost = connection.connection.dbapi_connection
            proxy.drop()
            wait_until_ended(lost)
            execute(connection, statement, value)
    assert holdfast.status(engine).counters.statements_repeated
    assert any("was repeated on a new one" in line for line in records())
    assert [line for line in records() if shows(line)] == []


@pytest.mark.slow
def test_none_is_shown_of_a_listener_that_stands_in_the_way_of_a_repetition(
    engine: Engine, proxy: Proxy, records: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_statement, "_SECONDS", 60.0)
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))

    @event.listens_for(engine, "connect")
    def set_up(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute("SELECT FROM 'zyxwvq 998877998877'")

    with engine.connect() as connection:
        proxy.truncate_reply(0)
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1"))
    assert any("could not be repeated" in line and "1064" in line for line in records())
    assert [line for line in records() if shows(line)] == []


@pytest.mark.slow
@pytest.mark.parametrize("value", SECRETS[:4], ids=range(4))
def test_none_is_shown_of_a_unit_that_is_begun_again_or_given_up(
    engine: Engine, proxy: Proxy, records: Callable[[], list[str]], value: Any
) -> None:
    quoted = "'zyxwvq it''s 998877998877'"
    breaks: list[str | None] = [
        f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = {quoted}",
        f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1205, MESSAGE_TEXT = {quoted}",
        None,
    ]

    def unit(connection: Connection) -> None:
        execute(connection, "INSERT INTO ledger (id, value) SELECT 1, LENGTH(:value)", value)
        what = breaks.pop(0)
        if what is not None:
            connection.exec_driver_sql(what)
        proxy.cut_at("COMMIT", delivered=True, server_knows=True)

    with pytest.raises(holdfast.CommitOutcomeUnknown) as caught:
        holdfast.run(engine, unit)
    assert len(caught.value.holdfast_attempts) == 3  # type: ignore[attr-defined]
    assert not shows(words_of(caught.value))
    assert any("a unit of work is begun again" in line and "1213" in line for line in records())
    assert [line for line in records() if shows(line)] == []


@pytest.mark.parametrize(
    "error",
    [
        DBAPIError("INSERT INTO t VALUES (%s)", ("zyxwvq",), OSError(1062, "Duplicate entry 'zyxwvq' for key 'x'")),
        DBAPIError("SELECT zyxwvq", ("zyxwvq",), OSError(2013, "Lost connection")),
        OSError(1366, "Incorrect integer value: 'zyxwvq'"),
        SQLAlchemyError("the pool is full"),
    ],
)
def test_what_an_error_says_has_no_value_of_a_statement(error: Exception) -> None:
    assert not shows(faults.said(error))
    assert faults.said(error)


def test_a_tracebacks_text_of_our_own_errors_has_none_either(engine: Engine) -> None:
    with engine.connect() as connection:
        execute(connection, STATEMENTS[1], SECRETS[1])
        with pytest.raises(holdfast.CheckoutTimeout) as caught:
            engine.connect()
    assert not shows("".join(traceback.format_exception_only(caught.value)))
