"""A table to write to, held engines behind a proxy, and ways to break a unit of work at a chosen place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import create_commit_table
from tests._long import leave_out
from tests.conftest import EngineFactory, wait_until_ended

LEFT_OUT = [
    r"test_after_each_byte\[(mysqldb|mysqlconnector)",
    r"test_a_server_that_is_restarted\[(mysqldb|mysqlconnector)",
    r"test_a_server_that_is_restarted_in_the_middle_of_commit\[(mysqldb|mysqlconnector|pymysql-stop)",
    r"test_a_network_that_goes_silent_at_commit\[(mysqldb|mysqlconnector)",
]
"""What `make test` leaves to `make chaos` (HOLDFAST_CHAOS=1)."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items, LEFT_OUT)


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))


WRITE = text("INSERT INTO entry (name) VALUES (:name)")


def assert_lost_commits_are_settled(server: Server, engine: Engine, proxy: Proxy, unit: Callable[..., object]) -> None:
    """Lose four COMMITs: those that had arrived and those that had not, and the server knows of it or not.

    :param unit: writes "call 1" when it is called first, then "call 2", ...
    """
    for delivered in (True, False):
        for server_knows in (True, False):
            proxy.cut_at("COMMIT", delivered=delivered, server_knows=server_knows)
            holdfast.run(engine, unit, verify=True)
    assert names(server) == ["call 1", "call 2", "call 4", "call 6"]
    assert holdfast.status(engine).counters.commits_verified == 4


@pytest.fixture(scope="session")
def _schema(server: Server) -> Server:
    return with_schema(server)


def with_schema(server: Server) -> Server:
    """Make the tables on a server, and let it become old enough: one started 1.5 s before a connection was made, or
    less, may have been restarted since for all that its whole seconds of uptime tell; no session of it is killed."""
    while int(server.status("Uptime")) < 4:
        time.sleep(0.2)
    from sqlalchemy import create_engine

    engine = create_engine(server.url("pymysql"))
    Base.metadata.create_all(engine)
    create_commit_table(engine)
    engine.dispose()
    return server


@pytest.fixture(autouse=True)
def entries(_schema: Server) -> Callable[[], list[str]]:
    """The names in the table, which is empty at first."""
    _schema.execute("DELETE FROM entry", database="test")
    return lambda: names(_schema)


def names(server: Server) -> list[str]:
    return [row[0] for row in server.execute("SELECT name FROM entry ORDER BY id", database="test")]


@pytest.fixture
def engine(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> Engine:
    """A held engine behind the proxy, for each driver."""
    return held(server.url(driver, host=proxy.host, port=proxy.port))


@pytest.fixture
def one(server: Server, proxy: Proxy, held: EngineFactory) -> Engine:
    """A held engine behind the proxy, for what does not depend on the driver."""
    return held(server.url("pymysql", host=proxy.host, port=proxy.port))


@pytest.fixture
def make(one: Engine) -> sessionmaker[Session]:
    return sessionmaker(one)


class Calls:
    """A unit of work that writes one row, and breaks something in its first calls."""

    def __init__(self, *breaks: Callable[[Connection], object]) -> None:
        self.breaks = list(breaks)
        self.count = 0

    def __call__(self, connection: Connection) -> int:
        self.count += 1
        connection.execute(WRITE, {"name": f"call {self.count}"})
        if self.breaks:
            self.breaks.pop(0)(connection)
        connection.execute(text("SELECT 1"))
        return self.count


Names = Callable[[], list[str]]


def kill(server: Server) -> Callable[[Connection], None]:
    """Make the server end the unit's connection."""

    def act(connection: Connection) -> None:
        dbapi_connection: Any = connection.connection.dbapi_connection
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        server.kill_connection(number)
        wait_until_ended(dbapi_connection)

    return act


def fail(number: int, message: str = "as told") -> Callable[[Connection], object]:
    """Make the server answer with this error."""
    return lambda connection: connection.execute(
        text(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{message}'")
    )
