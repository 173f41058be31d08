"""After a failover, no connection of the pool is used that leads to the old primary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.pool.liveness import Suspicion
from tests.conftest import EngineFactory

WRITE = text("INSERT INTO ledger VALUES (1)")


@dataclass
class Pair:
    """A primary and what may take its place, behind one address."""

    old: Server
    new: Server
    proxy: Proxy
    primary: Server

    def fail_over(self) -> None:
        self.old.execute("SET GLOBAL read_only = 1")
        self.primary = self.new


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as old, Server() as new:
        for server in (old, new):
            server.execute("CREATE TABLE ledger (n INT)", database="test")
        yield old, new


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> Iterator[Pair]:
    old, new = servers
    for server in servers:
        server.execute("SET GLOBAL read_only = 0")
        server.execute("TRUNCATE ledger", database="test")
    proxy = Proxy.for_server(old)
    pair = Pair(old, new, proxy, old)
    proxy._target = lambda: (pair.primary.host, pair.primary.port)
    with proxy:
        yield pair


def port(connection: Connection) -> int:
    return int(connection.execute(text("SELECT @@port")).scalar_one())


def engine_with_idle(pair: Pair, driver: str, held: EngineFactory, number: int) -> Engine:
    """An engine with so many idle connections to the old primary."""
    engine = held(pair.old.url(driver, host=pair.proxy.host, port=pair.proxy.port), pool_size=5)
    connections = [engine.connect() for _ in range(number)]
    for connection in connections:
        assert port(connection) == pair.old.port
        connection.commit()
        connection.close()
    return engine


def test_one_refused_write_is_enough_for_the_whole_pool(
    pair: Pair, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    engine = engine_with_idle(pair, driver, held, 3)
    with engine.connect() as out:
        pair.fail_over()
        with engine.connect() as writing, pytest.raises(DBAPIError, match="1290"):
            writing.execute(WRITE)
        assert port(out) == pair.old.port, "what is checked out goes on"
    for _ in range(3):
        with engine.begin() as connection:
            connection.execute(WRITE)
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        assert {port(connection) for connection in (one, two, three)} == {pair.new.port}
    assert pair.old.execute("SELECT COUNT(*) FROM ledger", database="test") == [(0,)]
    assert pair.new.execute("SELECT COUNT(*) FROM ledger", database="test") == [(3,)]
    assert holdfast.status(engine).counters.replaced == {Cause.EVICTED: 3}
    assert sum(Cause.EVICTED in line for line in log()) == 3


def test_a_transaction_that_the_application_made_read_only_says_nothing_of_the_server(
    pair: Pair, driver: str, held: EngineFactory
) -> None:
    engine = engine_with_idle(pair, driver, held, 3)
    with engine.connect() as writing:
        writing.execute(text("START TRANSACTION READ ONLY"))
        with pytest.raises(DBAPIError, match="1792"):
            writing.execute(WRITE)
    for _ in range(3):
        with engine.begin() as connection:
            connection.execute(WRITE)
    assert holdfast.status(engine).counters.replaced == {Cause.EVICTED: 1}


def test_while_the_address_leads_to_a_read_only_server_the_pool_is_not_replaced_again_and_again() -> None:
    suspicion = Suspicion().server_became_read_only(100.0)
    assert suspicion.server_became_read_only(104.9).read_only_since == 100.0
    assert suspicion.server_became_read_only(105.1).read_only_since == 105.1
    assert suspicion.lost(104.0).read_only_since == 100.0, "another loss does not make it forget"
