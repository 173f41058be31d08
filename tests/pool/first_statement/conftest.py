"""A server with tables and functions that can be written to, and each driver's way to it through a proxy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Counters
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.pool import first_statement
from tests._long import LONG
from tests.conftest import DRIVERS, wait_until_ended

SCHEMA = """
CREATE TABLE innodb (n INT) ENGINE=InnoDB
CREATE TABLE myisam (n INT) ENGINE=MyISAM
CREATE TABLE guests (id INT PRIMARY KEY, name VARCHAR(1000)) ENGINE=InnoDB
INSERT INTO guests VALUES (1, REPEAT('a', 1000)), (2, REPEAT('b', 1000)), (3, REPEAT('c', 1000))
CREATE FUNCTION adds() RETURNS INT BEGIN INSERT INTO myisam VALUES (1); RETURN 1; END
CREATE FUNCTION adds_innodb() RETURNS INT BEGIN INSERT INTO innodb VALUES (1); RETURN 1; END
CREATE VIEW view_of_myisam AS SELECT adds() AS n
CREATE VIEW view_of_innodb AS SELECT adds_innodb() AS n
CREATE PROCEDURE add_one() INSERT INTO myisam VALUES (1)
"""


# What the text alone decides is seen with one driver.
LEFT_OUT = re.compile(
    r"test_rules\.py::.*\[(mysqldb|mysqlconnector)-(a_read_that|a_read_of_a|a_read_with_a_|a_sharing_read|WITH|parentheses"
    r"|a_comment|SHOW|EXPLAIN)"
)
"""What is run with HOLDFAST_CHAOS=1 only."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if LONG:
        return
    left_out = [item for item in items if LEFT_OUT.search(item.nodeid)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


class Scene:
    """One driver's way to the server."""

    def __init__(self, server: Server, proxy: Proxy, driver: str) -> None:
        self.server, self.proxy, self.driver = server, proxy, driver
        self.engines: list[Engine] = []
        self._shared: Engine | None = None
        self._before = Counters()

    def shared_engine(self) -> Engine:
        """One for all tests with this driver that change nothing about it; connecting for the first time takes long."""
        if self._shared is None:
            self._shared = self.engine()
        settle(self._shared)
        self._before = holdfast.status(self._shared).counters
        return self._shared

    def changes(self) -> dict[str, int]:
        """What the shared engine has replaced and repeated in this test."""
        after = holdfast.status(self._shared).counters
        replaced = {cause: number - self._before.replaced.get(cause, 0) for cause, number in after.replaced.items()}
        changes = replaced | {"repeated": after.statements_repeated - self._before.statements_repeated}
        return {name: number for name, number in changes.items() if number}

    def engine(self, **options: Any) -> Engine:
        """A held engine whose pool has one idle connection."""
        query = {"use_pure": "1"} if self.driver == "mysqlconnector" else {}
        url = self.server.url(self.driver, host=self.proxy.host, port=self.proxy.port, query=query)
        engine = holdfast.create_engine(url, **options)
        self.engines.append(engine)
        settle(engine)
        return engine

    def cut_before(self, connection: Connection) -> None:
        """Let the connection be lost before anything is sent, and wait until that can be seen."""
        lost = connection.connection.dbapi_connection
        self.proxy.drop()
        wait_until_ended(lost)

    def cut_before_reply(self, connection: Connection) -> None:
        """Let the next request reach the server, and the connection be lost before the reply."""
        self.proxy.truncate_reply(0)

    def cut_in_reply(self, connection: Connection) -> None:
        """Let the connection be lost after the first bytes of the next reply."""
        self.proxy.truncate_reply(6)

    def sent(self, statement: str) -> int:
        """How many times it was sent since the counts were reset."""
        return self.proxy.statements.count(statement)

    def rows(self, table: str) -> int:
        """How many rows a table has, when the application's sessions have ended."""
        for engine in self.engines:
            engine.dispose()
        wait_for(lambda: not self.server.processlist(user="app"))
        ((count,),) = self.server.execute(f"SELECT COUNT(*) FROM {table}", database="test")
        return int(count)


Cut = Callable[[Scene, Connection], None]


def settle(engine: Engine) -> None:
    """Leave the pool with an idle connection that awaits no reply."""
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))


def outcome(connection: Connection, statement: str) -> str:
    """Execute a statement and commit; say whether it succeeded or raised."""
    try:
        connection.execute(text(statement))
        connection.commit()
    except DBAPIError as error:
        return "raised" if error.connection_invalidated else f"raised something else: {error}"
    return "succeeded"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine anything may take a second."""
    monkeypatch.setattr(first_statement, "_SECONDS", 60.0)


@pytest.fixture(scope="session")
def replay_server() -> Iterator[Server]:
    with Server() as server:
        for statement in filter(None, SCHEMA.splitlines()):
            server.execute(statement, database="test")
        if server.flavour == "mariadb":
            server.execute("CREATE SEQUENCE numbers", database="test")
        yield server


@pytest.fixture(scope="session")
def replay_proxy(replay_server: Server) -> Iterator[Proxy]:
    with Proxy.for_server(replay_server) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def all_scenes(replay_server: Server, replay_proxy: Proxy) -> dict[str, Scene]:
    return {driver: Scene(replay_server, replay_proxy, driver) for driver in DRIVERS}


@pytest.fixture
def scene(all_scenes: dict[str, Scene], driver: str) -> Iterator[Scene]:
    scene = all_scenes[driver]
    for table in ("innodb", "myisam"):
        scene.server.execute(f"DELETE FROM {table}", database="test")
    yield scene
    scene.proxy.restore()
    for engine in scene.engines:
        engine.dispose()
