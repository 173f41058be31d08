"""A database URL that says `?plugin=holdfast` and nothing else of holdfast, and an eye on every engine made with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Pool, event

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import wait_until_ended


class Watch:
    """The engines that connected during a test, whoever made them, and their open connections."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.engines: list[Engine] = []
        self.open: list[Any] = []

    def assert_held(self, engines: int) -> None:
        """So many engines have connected, and each of them only through held connections."""
        holds = [holdfast.status(engine) for engine in self.engines]
        assert [hold.active for hold in holds] == [True] * engines, holds
        assert all(hold.counters.connects for hold in holds), holds

    def replaced(self) -> dict[str, int]:
        """What was replaced and why, of all engines together."""
        total: dict[str, int] = {}
        for engine in self.engines:
            for cause, count in holdfast.status(engine).counters.replaced.items():
                total[cause] = total.get(cause, 0) + count
        return total

    def kill_idle(self, expected: int = 1) -> None:
        """Let the server end the idle connections, and wait until their ends have arrived here."""
        assert len(self.open) == expected, "idle connections"
        assert self.server.kill_connections() >= expected
        for connection in self.open:
            wait_until_ended(connection)

    # listeners

    def engine_connected(self, connection: Connection) -> None:
        if connection.engine not in self.engines:
            self.engines.append(connection.engine)

    def opened(self, dbapi_connection: Any, record: Any) -> None:
        self.open.append(dbapi_connection)

    def closed(self, dbapi_connection: Any, record: Any) -> None:
        self.open = [one for one in self.open if one is not dbapi_connection]

    def invalidated(self, dbapi_connection: Any, record: Any, error: Any) -> None:
        self.closed(dbapi_connection, record)


@pytest.fixture
def watch(server: Server) -> Iterator[Watch]:
    watch = Watch(server)
    listeners = (
        (Engine, "engine_connect", watch.engine_connected),
        (Pool, "connect", watch.opened),
        (Pool, "close", watch.closed),
        (Pool, "invalidate", watch.invalidated),
    )
    for listener in listeners:
        event.listen(*listener)
    yield watch
    for listener in listeners:
        event.remove(*listener)
    for engine in watch.engines:
        engine.dispose()


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Undo what Alembic's `fileConfig()` does to the process: it switches off all loggers that it does not name."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    enabled = [one for one in logging.Logger.manager.loggerDict.values() if not getattr(one, "disabled", True)]
    yield
    root.handlers[:], root.level = handlers, level
    for logger in enabled:
        logger.disabled = False  # type: ignore[union-attr]


def url_for(server: Server, driver: str) -> str:
    query = {"plugin": "holdfast"}
    if driver == "mysqlconnector":
        query["use_pure"] = "1"
    return server.url(driver, query=query).render_as_string(hide_password=False)


@pytest.fixture
def url(server: Server, driver: str) -> str:
    """The database for each driver, as one writes it into a configuration."""
    return url_for(server, driver)
