"""MySQL Router, the real one, which does not stand a statement ahead of an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read
from tests.middleboxes.running import router
from tests.middleboxes.work import THREADS, UNITS, units

Log = Callable[[], list[str]]

pytestmark = [pytest.mark.slow, pytest.mark.mysql]


def engine_on(port: int, server: Server, driver: str, held: EngineFactory, **settings: object) -> Engine:
    url = server.url(driver, host="127.0.0.1", port=port)
    # Where a packet is never passed on, a test is to fail and not to hang.
    return held(url, pool_size=THREADS, connect_args={"read_timeout": 5}, **settings)


def assert_nothing_fails_behind_it(engine: Engine, log: Log) -> None:
    assert units(engine) == {"right": THREADS * UNITS}
    hold = holdfast.status(engine)
    assert hold.counters.statements_pipelined == 0
    assert hold.counters.rollbacks_deferred > 0, "nobody waits for a ROLLBACK all the same"
    assert "MySQL Router" in hold.middlebox
    assert hold.middlebox in repr(hold)
    said = [line for line in log() if "no statement is sent ahead of an answer" in line]
    assert len(said) == 1
    assert "holdfast_pipeline=true" in said[0]


def test_nothing_fails_behind_it(mysql_behind: Server, driver: str, held: EngineFactory, log: Log) -> None:
    with router(mysql_behind) as port:
        engine = engine_on(port, mysql_behind, driver, held)
        assert_nothing_fails_behind_it(engine, log)
        limits = holdfast.status(engine).limits
        assert limits is not None
        assert limits.middlebox == holdfast.status(engine).middlebox


@pytest.mark.parametrize("server", ["mysql_behind", "silent_mysql_behind"])
def test_nothing_fails_where_it_passes_the_servers_greeting_on(
    server: str, driver: str, held: EngineFactory, log: Log, request: pytest.FixtureRequest
) -> None:
    there = request.getfixturevalue(server)
    with router(there, client="PASSTHROUGH", to_server="AS_CLIENT") as port:
        assert_nothing_fails_behind_it(engine_on(port, there, driver, held), log)


def test_what_the_owner_says_wins(mysql_behind: Server, driver: str, held: EngineFactory, log: Log) -> None:
    with router(mysql_behind) as port:
        engine = engine_on(port, mysql_behind, driver, held, holdfast_pipeline=True)
        with engine.connect() as connection:
            assert connection.connection.driver_connection._holdfast.pipeline  # type: ignore[union-attr]
        assert not any("no statement is sent ahead" in line for line in log())
        assert "ahead of an answer" not in repr(holdfast.status(engine))


def test_stock_works_behind_it(mysql_behind: Server, driver: str, stock: EngineFactory) -> None:
    with router(mysql_behind) as port:
        assert units(engine_on(port, mysql_behind, driver, stock)) == {"right": THREADS * UNITS}


def test_a_middlebox_that_comes_later_is_noticed_by_its_greeting(
    mysql_behind: Server, driver: str, held: EngineFactory, log: Log
) -> None:
    with router(mysql_behind) as port:
        engine = held(mysql_behind.url(driver))
        read(engine)
        read(engine)
        assert holdfast.status(engine).middlebox == ""

        @event.listens_for(engine, "do_connect")
        def through_it(dialect: object, record: object, args: object, arguments: dict[str, object]) -> None:
            arguments["port"] = port

        engine.dispose()
        for number in range(30):
            assert read(engine, number) == number
        assert "MySQL Router" in holdfast.status(engine).middlebox


def test_a_session_is_reset_through_it(mysql_behind: Server, driver: str, held: EngineFactory) -> None:
    with router(mysql_behind) as port:
        engine = engine_on(port, mysql_behind, driver, held, holdfast_reset="changed")
        for number in range(3):
            with engine.connect() as connection:
                assert connection.exec_driver_sql("SELECT @a, @@autocommit").one() == (None, 0)
                connection.exec_driver_sql("SET @a = 1, autocommit = 1")
            assert read(engine, number) == number
        counters = holdfast.status(engine).counters
        assert counters.resets == 3
        assert counters.replaced == {}
