"""A transaction that was left open on purpose goes on, and AUTOCOMMIT is never sent behind a ROLLBACK."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read

PROBES = {"holdfast_probe_after_idle": 0}


def left_open(engine: Engine, *statements: str) -> None:
    """Begin something and return the connection, as `pool_reset_on_return=None` allows."""
    connection = engine.raw_connection()
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
    connection.close()


def rows(server: Server) -> int:
    return int(server.execute("SELECT COUNT(*) FROM ledger", database="test")[0][0])


def test_a_probe_does_not_end_it(server: Server, table: str, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_reset_on_return=None, **PROBES)
    left_open(engine, "INSERT INTO ledger VALUES (1, 1)")
    connection = engine.raw_connection()
    assert holdfast.status(engine).counters.probes == 1
    connection.commit()
    connection.close()
    assert rows(server) == 1


def test_nor_does_the_one_that_the_others_get_after_a_loss(
    server: Server, table: str, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver), pool_size=2, max_overflow=0, pool_reset_on_return=None)
    with engine.connect() as lost:
        left_open(engine, "INSERT INTO ledger VALUES (1, 1)")
        number = lost.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        server.kill_connection(number)
        with pytest.raises(DBAPIError):
            lost.execute(text("SELECT 1"))
    connection = engine.raw_connection()
    assert holdfast.status(engine).counters.probes == 1
    connection.commit()
    connection.close()
    assert rows(server) == 1


@pytest.mark.parametrize("state", ["ACTIVE", "IDLE"])
def test_nor_one_of_two_phases(server: Server, table: str, driver: str, held: EngineFactory, state: str) -> None:
    """In the second state the server refuses what the probe sends, which is an answer."""
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_reset_on_return=None, **PROBES)
    left_open(
        engine, "XA START 'probed'", "INSERT INTO ledger VALUES (1, 1)", *(["XA END 'probed'"] * (state == "IDLE"))
    )
    connection = engine.raw_connection()
    cursor = connection.cursor()
    if state == "ACTIVE":
        cursor.execute("XA END 'probed'")
    cursor.execute("XA PREPARE 'probed'")
    cursor.execute("XA COMMIT 'probed'")
    cursor.close()
    connection.close()
    assert rows(server) == 1


def test_a_silent_peer_is_found_all_the_same(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> None:
    engine = held(
        server.url(driver, host=proxy.host, port=proxy.port),
        pool_size=1,
        max_overflow=0,
        pool_reset_on_return=None,
        holdfast_probe_timeout=0.3,
        **PROBES,
    )
    left_open(engine, "BEGIN")
    proxy.lose_packets()
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.replaced == {holdfast.Cause.SILENT: 1}


# -- AUTOCOMMIT --------------------------------------------------------------------------------------------------------

AUTOCOMMIT: dict[str, dict[str, Any]] = {
    "isolation_level": {"isolation_level": "AUTOCOMMIT"},
    "the driver's argument": {"connect_args": {"autocommit": True}},
}


@pytest.mark.parametrize("options", AUTOCOMMIT.values(), ids=AUTOCOMMIT)
def test_what_stays_is_not_sent_behind_a_rollback_that_may_fail(
    server: Server, proxy: Proxy, table: str, driver: str, held: EngineFactory, options: dict[str, Any]
) -> None:
    """The INSERT would be there, and the application would be told that it has failed."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0, **options)
    sent = while_the_rollback_is_unanswered(engine, proxy, "INSERT INTO ledger VALUES (1, 1)")
    assert not any(statement.startswith("INSERT") for statement in sent)
    assert rows(server) == 1


@pytest.mark.parametrize("options", AUTOCOMMIT.values(), ids=AUTOCOMMIT)
def test_what_only_reads_is(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, options: dict[str, Any]
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0, **options)
    sent = while_the_rollback_is_unanswered(engine, proxy, "SELECT 'pipelined'")
    assert "SELECT 'pipelined'" in sent


def test_a_function_that_may_write_is_not(
    server: Server, proxy: Proxy, table: str, driver: str, held: EngineFactory
) -> None:
    server.execute(
        "CREATE OR REPLACE FUNCTION writes() RETURNS INT BEGIN INSERT INTO ledger VALUES (1, 1); RETURN 1; END",
        database="test",
    )
    engine = held(
        server.url(driver, host=proxy.host, port=proxy.port),
        pool_size=1,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
    sent = while_the_rollback_is_unanswered(engine, proxy, "SELECT writes()")
    assert "SELECT writes()" not in sent
    assert rows(server) == 1


def while_the_rollback_is_unanswered(engine: Engine, proxy: Proxy, statement: str) -> list[str]:
    """Execute a statement while the reply to the last unit's ROLLBACK is held; return what is sent until it comes."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        proxy.hold_replies()
    assert proxy.statements[-1] == "ROLLBACK"
    before = len(proxy.statements)

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.3)  # what is not sent by then waits for the reply
    sent = list(proxy.statements[before:])
    proxy.restore()
    thread.join()
    return sent


def test_a_transaction_that_nobody_left_open_is_still_rolled_back(
    server: Server, table: str, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, **PROBES)
    left_open(engine, "INSERT INTO ledger VALUES (1, 1)")
    connection = engine.raw_connection()
    connection.commit()
    connection.close()
    assert rows(server) == 0
    assert not any("still in a transaction" in line for line in log())
