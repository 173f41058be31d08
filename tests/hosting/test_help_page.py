"""The help page that holdfast has to make true, row by row (its recipes are in sites/guests.py, word for word)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import DRIVERS, EngineFactory, read, wait_until_ended
from tests.hosting.host import BLOCKS, DATABASE, IDLE_LIMIT, PASSWORD, USER, make_host, serve, visit


def page_url(server: Server, driver: str) -> str:
    return f"mysql+{driver}://{USER}:{PASSWORD}@{server.host}:{server.port}/{DATABASE}?plugin=holdfast"


def test_row_1_the_uri_works_as_written_with_a_dollar_in_the_databases_name(host: Server, driver: str) -> None:
    engine = create_engine(page_url(host, driver))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DATABASE()")).scalar() == DATABASE
    engine.dispose()


@pytest.mark.parametrize("recycle", [-1, 280], ids=["no pool_recycle", "pool_recycle=280"])
def test_rows_2_and_5_a_connection_that_idled_too_long_fails_no_request(
    host: Server, driver: str, recycle: int
) -> None:
    engine = create_engine(page_url(host, driver), pool_recycle=recycle)
    read(engine)
    time.sleep(IDLE_LIMIT * 1.5)
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 1}
    engine.dispose()


@pytest.mark.slow
@pytest.mark.timeout(110)
def test_rows_3_4_and_7_every_block_of_the_page_serves_500_requests_with_pauses_beyond_the_idle_limit(
    host: Server,
) -> None:
    """Under uWSGI with four workers, and after a query outside of any view function."""
    with ExitStack() as stack:
        sites = [serve(stack, host, driver, block) for driver in DRIVERS for block in BLOCKS]
        visit(host, sites, bursts=5, size=100)
        for one in sites:
            assert (one.sent, one.wrong, one.failed, one.lost_or_doubled) == (500, 0, 0, 0), f"{one}\n{one.site.log}"
            assert one.entries == 250
            new_form = "SQLALCHEMY_ENGINE_OPTIONS = {'pool_recycle': 280}"
            assert (new_form in one.site.log) == ("older" in one.name)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["mysqldb"])
def test_stock_fails_in_the_same_harness(host: Server, driver: str) -> None:
    with ExitStack() as stack:
        one = serve(stack, host, driver, "nothing", STOCK="1")
        visit(host, [one], bursts=2, size=40)
    assert one.failed > 0


def test_row_6_mysql_connection_not_available_is_recognised(server: Server, held: EngineFactory) -> None:
    engine: Engine = held(server.url("mysqlconnector"))
    with engine.connect() as connection:
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        connection.rollback()
        server.kill_connection(number)
        wait_until_ended(connection.connection.driver_connection)
        with pytest.raises(DBAPIError, match="MySQL Connection not available") as caught:
            connection.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
    assert read(engine, 5) == 5


@pytest.mark.slow
@pytest.mark.parametrize("when", ["after start-up", "after the fork"])
def test_row_8_the_hack_word_for_word_is_harmless(host: Server, driver: str, when: str) -> None:
    """An application context is left pushed, as it has to be for the hack's db.session."""
    before = {process.id for process in host.processlist(user=USER)}
    with ExitStack() as stack:
        one = serve(stack, host, driver, "SQLAlchemy(app)", HACK=when)
        masters = {process.id for process in host.processlist(user=USER)} - before
        assert len(masters) == (1 if when == "after the fork" else 0)
        visit(host, [one], bursts=1, size=200)
        assert (one.sent, one.wrong, one.failed, one.lost_or_doubled) == (200, 0, 0, 0), one.site.log
        left = {process.id for process in host.processlist(user=USER)}
        assert masters <= left, "the hack in a worker has ended its parent's connection"
        assert "Traceback" not in one.site.log


@pytest.fixture(scope="module")
def small_account() -> Iterator[Server]:
    """A host where the account may have five connections."""
    with Server() as server:
        make_host(server)
        server.execute(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 5")
        yield server


THREADS = ("--enable-threads", "--threads=5")


@pytest.mark.slow
def test_row_9_four_processes_of_five_threads_share_an_account_of_five_connections(
    small_account: Server, driver: str
) -> None:
    """SQLAlchemy's default pool, of 5 + 10 connections, in each process."""
    with ExitStack() as stack:
        one = serve(stack, small_account, driver, "nothing", options=THREADS)
        visit(small_account, [one], bursts=1, size=400, clients=20)
        assert (one.sent, one.wrong, one.failed, one.lost_or_doubled) == (400, 0, 0, 0), one.site.log


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["mysqldb"])
def test_stock_exceeds_the_accounts_limit_in_the_same_harness(small_account: Server, driver: str) -> None:
    with ExitStack() as stack:
        one = serve(stack, small_account, driver, "nothing", options=THREADS, STOCK="1")
        visit(small_account, [one], bursts=1, size=200, clients=20)
        assert one.failed > 20
        assert "max_user_connections" in one.site.log
