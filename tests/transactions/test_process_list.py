"""Oracle's MySQL refuses information_schema.processlist (3854) while a statement has a character of four bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pymysql
import pytest
from sqlalchemy import Connection, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import MYSQLD, EngineFactory
from tests.transactions.conftest import WRITE, assert_lost_commits_are_settled, with_schema

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


def refuses(server: Server) -> bool:
    try:
        server.execute("SELECT id FROM information_schema.processlist")
    except pymysql.err.OperationalError as error:
        return bool(error.args[0] == 3854)
    return False


@pytest.fixture(scope="module")
def usual_server() -> Iterator[Server]:
    """With the performance schema, as MySQL is by default."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, options={"performance_schema": "ON"}) as server:
        yield with_schema(server)


@pytest.fixture
def refusing_server(usual_server: Server) -> Iterator[Server]:
    """Another session of the account is at such a statement."""
    usual_server.execute("TRUNCATE TABLE entry", database="test")
    connection = pymysql.connect(
        host=usual_server.host, port=usual_server.port, user="app", password="app", charset="utf8mb4"
    )

    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        ((number,),) = cursor.fetchall()

    def sleep() -> None:
        with suppress(pymysql.err.MySQLError):
            connection.query("SELECT SLEEP(60), '\N{GRINNING FACE}'")

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    try:
        deadline = time.monotonic() + 50  # before the statement ends
        while not refuses(usual_server):
            assert time.monotonic() < deadline, "this MySQL does not refuse it"
            time.sleep(0.02)
        yield usual_server
    finally:
        usual_server.kill_connection(number)
        sleeper.join()
        connection.close()


def test_a_unit_is_done_where_the_process_list_is_refused(
    refusing_server: Server, driver: str, held: EngineFactory
) -> None:
    with Proxy.for_server(refusing_server) as proxy:
        engine = held(refusing_server.url(driver, host=proxy.host, port=proxy.port))
        assert holdfast.run(engine, lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1


def test_a_lost_commit_is_settled_where_the_process_list_is_refused(
    refusing_server: Server, driver: str, held: EngineFactory
) -> None:
    calls = count(1)

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": f"call {next(calls)}"})

    with Proxy.for_server(refusing_server) as proxy:
        engine = held(refusing_server.url(driver, host=proxy.host, port=proxy.port))
        assert_lost_commits_are_settled(refusing_server, engine, proxy, unit)
