"""The short set on Oracle's MySQL, which differs where it matters: 4031, query attributes, metadata locks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import MYSQLD, EngineFactory, connection_id, read, wait_until_ended, waits

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def idle_server() -> Iterator[Server]:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, options={"wait_timeout": 1}) as server:
        yield server


def test_connections_closed_by_the_idle_limit_are_replaced(
    idle_server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    """MySQL sends error 4031 to an idle connection and closes it: bytes are waiting before any command."""
    ours, theirs = held(idle_server.url(driver)), stock(idle_server.url(driver))
    for engine in (ours, theirs):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            idle = connection.connection.driver_connection
    wait_until_ended(idle)
    assert read(ours, 7) == 7
    with pytest.raises(DBAPIError):
        read(theirs)
    assert sum(holdfast.status(ours).counters.replaced.values()) == 1


def test_a_server_in_offline_mode_is_waited_for(
    idle_server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    """3032 to whoever connects. So is a Group Replication member that has left its group (6400)."""
    ours, theirs = held(idle_server.url(driver)), stock(idle_server.url(driver))
    read(ours)
    idle_server.execute("SET GLOBAL offline_mode = ON")
    try:
        with pytest.raises(DBAPIError, match="3032"):
            read(theirs)
        back = threading.Timer(0.5, idle_server.execute, ["SET GLOBAL offline_mode = OFF"])
        back.start()
        assert read(ours, 5) == 5
        back.join()
    finally:
        idle_server.execute("SET GLOBAL offline_mode = OFF")
    assert holdfast.status(ours).counters.unanswered > 0


def test_killed_and_restarted(driver: str, held: EngineFactory) -> None:
    assert MYSQLD is not None
    with Server(executable=MYSQLD) as server:
        engine = held(server.url(driver))
        victim = connection_id(engine)
        with engine.connect() as connection:
            idle = connection.connection.driver_connection
        server.kill_connection(victim)
        wait_until_ended(idle)
        assert read(engine, 5) == 5
        server.kill()
        server.start()
        assert read(engine, 6) == 6
        assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 2}


def test_commands_and_waits(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    with Proxy.for_server(mysql_server) as proxy:
        engine = held(mysql_server.url(driver, host=proxy.host, port=proxy.port))
        read(engine)
        waited, sent = waits(proxy, lambda: read(engine))
    assert sent == {"COM_QUERY": 16}
    assert waited == pytest.approx(1, abs=0.4)
    assert holdfast.status(engine).counters.statements_pipelined >= 7


def test_no_metadata_lock_is_left_by_work_that_was_rolled_back(
    mysql_server: Server, driver: str, held: EngineFactory
) -> None:
    """With a failed statement or a MyISAM table MySQL's in-transaction flag is 0 while the lock is held."""
    mysql_server.execute("CREATE TABLE IF NOT EXISTS unlocked (id INT PRIMARY KEY) ENGINE=MyISAM", database="test")
    engine = held(mysql_server.url(driver))
    for number, statement in enumerate(
        ("SELECT * FROM unlocked", "SELECT nothing FROM unlocked", "INSERT INTO unlocked VALUES (1)")
    ):
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        except DBAPIError:
            pass
        mysql_server.execute("SET SESSION lock_wait_timeout = 2")
        mysql_server.execute(f"ALTER TABLE unlocked COMMENT '{number}'", database="test")


def test_uncommitted_work_is_never_seen(
    mysql_server: Server, driver: str, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    mysql_server.execute("CREATE TABLE IF NOT EXISTS unseen (id INT PRIMARY KEY)", database="test")
    engine = held(mysql_server.url(driver))
    for number in range(20):
        with engine.connect() as connection:
            connection.execute(text(f"INSERT INTO unseen VALUES ({number})"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT COUNT(*) FROM unseen")).scalar() == 0
    assert [line for line in log() if "wait_timeout" not in line] == []
