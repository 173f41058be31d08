"""ROLLBACK frees what was locked before it returns, and its errors reach the one who caused them."""

from __future__ import annotations

import gc

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read


def test_what_was_written_is_unlocked_when_rollback_returns(
    server: Server, driver: str, held: EngineFactory, table: str
) -> None:
    server.execute(f"INSERT INTO {table} VALUES (1, 1)", database="test")
    engine = held(server.url(driver))
    with engine.connect() as writer, engine.connect() as other:
        for _ in range(40):
            writer.execute(text(f"UPDATE {table} SET value = 2"))
            writer.rollback()
            other.execute(text(f"SELECT * FROM {table} FOR UPDATE NOWAIT"))
            other.rollback()
    assert holdfast.status(engine).counters.rollbacks_deferred == 0


def test_giving_a_connection_up_in_rollback_unlocks_what_it_had_locked(
    server: Server, held: EngineFactory, table: str
) -> None:
    server.execute(f"INSERT INTO {table} SELECT seq, 0 FROM seq_1_to_20000", database="test")
    engine = held(server.url("mysqldb"))
    with engine.connect() as mine, engine.connect() as other:
        mine.execute(text(f"UPDATE {table} SET value = 1 WHERE id = 1"))
        mine.execution_options(stream_results=True).execute(text(f"SELECT * FROM {table}")).fetchone()
        mine.rollback()
        assert other.execute(text(f"UPDATE {table} SET value = 2 WHERE id = 1")).rowcount == 1


def test_an_error_of_a_rollback_reaches_the_one_who_caused_it(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    proxy.delay = 0.01
    gc.disable()  # in the proxy's own thread the collector would wait for the proxy
    try:
        with pytest.raises(DBAPIError, match="1399"), engine.connect() as connection:
            connection.exec_driver_sql("XA START 'x'")
        del connection
        gc.collect()  # SQLAlchemy leaves a connection whose close() raised to the collector
    finally:
        gc.enable()
    assert read(engine, 7) == 7
