"""What a reset costs: nothing for a unit of work that changes nothing, and no wait for one that does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read, waits
from tests.pool.reset import ways

Unit = Callable[[Engine], object]


def reads(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT id, COUNT(*) FROM kept WHERE v IN ('a@b', 'f(1)') GROUP BY id")).all()


def writes(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO kept (v) VALUES (:v)"), {"v": "x := (1); y@z"})
        connection.execute(text("SELECT LAST_INSERT_ID()")).scalar()
        connection.execute(text("DELETE FROM kept WHERE v LIKE 'x%'"))


def at_another_level(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED").execute(text("SELECT 1")).all()


def autocommits(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT 1")).all()


def changes_and_reads(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET @a = 1"))
        connection.execute(text("SELECT @a")).all()


def changes_and_writes(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO kept (v) VALUES ('y')"))
        connection.execute(text("SET foreign_key_checks = 0"))
        connection.execute(text("DELETE FROM kept WHERE v = 'y'"))


def locks(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT GET_LOCK('mine', 0)")).all()


CLEAN: list[Unit] = [reads, writes, at_another_level, autocommits]
CHANGING: list[Unit] = [changes_and_reads, changes_and_writes, locks]


@pytest.fixture
def engines(server: Server, proxy: Proxy, driver: str, held: EngineFactory) -> tuple[Engine, Engine]:
    """With a reset, and without."""
    ways.prepare(server)
    url = server.url(driver, host=proxy.host, port=proxy.port)
    with_one, without = (held(url, holdfast_reset=reset, pool_size=1, max_overflow=0) for reset in ("changed", "off"))
    for engine in (with_one, without):
        read(engine)
        read(engine)
    return with_one, without


@pytest.mark.parametrize("unit", CLEAN)
def test_a_unit_that_changes_nothing_sends_what_it_would_send_anyway(
    proxy: Proxy, engines: tuple[Engine, Engine], unit: Unit
) -> None:
    sent = []
    for engine in engines:
        unit(engine)
        proxy.reset_counts()
        unit(engine)
        read(engine)
        sent.append((list(proxy.statements), dict(proxy.commands)))
    assert sent[0] == sent[1]
    assert holdfast.status(engines[0]).counters.resets == 0


@pytest.mark.slow
@pytest.mark.parametrize("unit", [writes, *CHANGING])
def test_nothing_is_waited_for(proxy: Proxy, engines: tuple[Engine, Engine], unit: Unit) -> None:
    shortest = [float("inf")] * 2
    for _ in range(5):  # other load on the machine makes one longer, nothing makes one shorter
        for number, engine in enumerate(engines):
            unit(engine)
            waited, _ = waits(proxy, lambda engine=engine: unit(engine))  # type: ignore[misc]
            shortest[number] = min(shortest[number], waited)
        if shortest[0] == pytest.approx(shortest[1], abs=0.35):
            break
    assert shortest[0] == pytest.approx(shortest[1], abs=0.35)
    assert bool(holdfast.status(engines[0]).counters.resets) is (unit in CHANGING)


def test_a_lock_is_released_when_its_unit_ends(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    locks(engine)  # and nobody uses the connection again
    assert server.execute("SELECT GET_LOCK('mine', 30)")[0][0] == 1
    server.execute("SELECT RELEASE_LOCK('mine')")


def test_a_reset_is_counted_and_told(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), holdfast_reset="changed", pool_size=1, max_overflow=0)
    events: list[str] = []
    holdfast.status(engine).listen(lambda event: events.append(event.name))
    for _ in range(3):
        locks(engine)
        read(engine)
    assert holdfast.status(engine).counters.resets == 3
    assert events.count("session_reset") == 3
    assert "3 resets" in repr(holdfast.status(engine))
