"""What one unit of work changes in its session, the next one does not see. In stock SQLAlchemy it does."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.pool.reset import ways

UNSEEN = 30
"""So many ways at the least."""


def seen_after(engine: Engine, way: ways.Way | None = None, *, at_all: bool = False) -> ways.Seen:
    """What a unit sees, after another one has changed the session."""
    if way is not None:
        with engine.connect() as connection:
            way.change(connection)
    with engine.connect() as connection:
        return ways.look(connection, at_all=at_all)


def compare(server: Server, driver: str, held: EngineFactory, stock: EngineFactory) -> None:
    ways.prepare(server)
    url = server.url(driver, transport="unix")
    every = ways.of(server.flavour)
    assert len(every) >= UNSEEN
    ours = held(url, holdfast_reset="changed", pool_size=1, max_overflow=0)
    theirs = stock(url, pool_size=1, max_overflow=0)
    first, at_all = seen_after(ours), seen_after(ours, at_all=True)
    reached, unseen = {}, []
    for way in every:
        if seen_after(theirs, way) == first:
            unseen.append(way.name)
        theirs.dispose()
        after = seen_after(ours, way)
        if after != first:
            reached[way.name] = [(name, first.get(name), after[name]) for name in after if first[name] != after[name]]
    assert not unseen, "the control fails: in stock SQLAlchemy these are not seen"
    assert not reached
    assert seen_after(ours, at_all=True) == at_all
    counters = holdfast.status(ours).counters
    assert counters.resets >= len(every) - 1, counters
    assert sum(counters.replaced.values()) <= 1, "the driver's character set may not be put back"


def test_on_mariadb(server: Server, driver: str, held: EngineFactory, stock: EngineFactory) -> None:
    compare(server, driver, held, stock)


@pytest.mark.mysql
def test_on_mysql(mysql_server: Server, driver: str, held: EngineFactory, stock: EngineFactory) -> None:
    mysql_server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    compare(mysql_server, driver, held, stock)
