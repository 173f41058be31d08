"""A request waits for its own statements only. Counts are exact; waits are timed behind a proxy that delays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, String, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read
from tests.conftest import waits as measure_waits

UNITS = 8


class Base(DeclarativeBase):
    pass


class Guest(Base):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))


def core_read(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).scalar_one()


def orm_read(engine: Engine) -> None:
    with Session(engine) as session:
        session.scalars(select(Guest)).all()


def orm_write(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Guest(name="Ada"))
        session.commit()


def empty(engine: Engine) -> None:
    with engine.connect():
        pass


UNIT_COSTS = [
    # unit, commands and waits with holdfast, commands at the least without
    pytest.param(core_read, 2, 1, 2, id="core read"),
    pytest.param(orm_read, 2, 1, 2, id="orm read"),
    pytest.param(orm_write, 2, 2, 3, id="orm write"),
    pytest.param(empty, 0, 0, 1, id="empty checkout"),
]


@pytest.fixture
def guests(server: Server) -> None:
    columns = "id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40)"
    server.execute(f"CREATE OR REPLACE TABLE guest ({columns})", database="test")


@pytest.mark.slow
@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize(("unit", "commands", "waits", "stock_commands"), UNIT_COSTS)
def test_back_to_back_units_on_one_connection(
    server: Server,
    proxy: Proxy,
    driver: str,
    held: EngineFactory,
    stock: EngineFactory,
    unit: Callable[[Engine], None],
    commands: int,
    waits: int,
    stock_commands: int,
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    ours, theirs = held(url), stock(url)
    for engine in (ours, theirs):
        unit(engine)
        unit(engine)
    waited, sent = measure_waits(proxy, lambda: unit(ours), UNITS)
    assert sent.total() == commands * UNITS, sent
    assert waited == pytest.approx(waits, abs=0.35)
    _, sent = measure_waits(proxy, lambda: unit(theirs), UNITS)
    assert sent.total() >= stock_commands * UNITS, sent


def test_an_empty_transaction_after_a_commit_sends_nothing(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    proxy.reset_counts()
    for _ in range(3):
        empty(engine)
    assert proxy.commands == {}
    assert holdfast.status(engine).counters.rollbacks_skipped >= 3


def test_returning_a_raw_connection_sends_rollback_and_nothing_else(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port))
    read(engine)
    proxy.reset_counts()
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    cursor.close()
    raw.close()
    assert read(engine, 2) == 2
    assert proxy.statements[:3] == ["SELECT 1", "ROLLBACK", "SELECT 2"]
    assert set(proxy.commands) == {"COM_QUERY"}


def test_pool_reset_on_return_none_and_commit_are_as_in_stock(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    for style, sent in ((None, ["SELECT 1"]), ("commit", ["SELECT 1", "COMMIT"])):
        engine = held(url, pool_reset_on_return=style)
        read(engine)
        proxy.reset_counts()
        raw = engine.raw_connection()
        cursor = raw.cursor()
        cursor.execute("SELECT 1")
        cursor.fetchall()
        cursor.close()
        raw.close()
        assert [statement for statement in proxy.statements if statement != "ROLLBACK"] == sent


def test_null_pool_leaves_no_aborted_client(server: Server, driver: str, held: EngineFactory) -> None:
    before = int(server.status("Aborted_clients"))
    for transport in ("tcp", "unix"):
        engine = held(server.url(driver, transport=transport), poolclass=NullPool)
        for number in range(5):
            assert read(engine, number) == number
    server.execute("SELECT 1")
    assert int(server.status("Aborted_clients")) == before


def test_settings_switch_pipelining_and_deferral_off(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    proxy.delay = 0.005
    for settings in ({}, {"holdfast_pipeline": False}, {"holdfast_defer_rollback": False}):
        engine = held(url, **settings)
        for number in range(UNITS):
            assert read(engine, number) == number
        counters = holdfast.status(engine).counters
        assert bool(counters.rollbacks_deferred) is ("holdfast_defer_rollback" not in settings)
        assert bool(counters.statements_pipelined) is (not settings)
