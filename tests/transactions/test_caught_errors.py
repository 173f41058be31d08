"""`holdfast.run`: errors that the function keeps to itself do not make half a unit."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server import faults
from tests.transactions.conftest import WRITE, Entry, Names, kill


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
