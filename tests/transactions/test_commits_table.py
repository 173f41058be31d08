"""What the commits table says is true: it is the right one, it is transactional, and its server is the one to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError
from sqlalchemy.orm import sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import create_commit_table
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, Calls, with_schema

Names = Callable[[], list[str]]


@pytest.fixture
def elsewhere(server: Server) -> Iterator[str]:
    """Another database, with a commits table of its own."""
    server.execute("CREATE DATABASE `else:where`")
    server.execute("CREATE TABLE holdfast_commits LIKE test.holdfast_commits", database="else:where")
    yield "else:where"
    server.execute("DROP DATABASE `else:where`")


def tokens(server: Server, database: str) -> int:
    return int(server.execute("SELECT COUNT(*) FROM holdfast_commits", database=database)[0][0])


# -- which table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [True, False], ids=["reply lost", "COMMIT lost"])
@pytest.mark.parametrize("how", ["USE", "the driver's call"])
def test_a_function_that_changes_the_database_changes_nothing_about_it(
    server: Server, proxy: Proxy, engine: Engine, entries: Names, elsewhere: str, delivered: bool, how: str
) -> None:
    calls: list[int] = []
    before = tokens(server, "test")

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": f"call {len(calls)}"})
        driver_connection: Any = connection.connection.driver_connection
        if how == "USE":
            connection.execute(text("USE `else:where`"))
        elif hasattr(driver_connection, "select_db"):
            driver_connection.select_db("else:where")
        else:
            driver_connection.database = "else:where"
        if len(calls) == 1:
            proxy.cut_at("COMMIT", delivered=delivered)

    holdfast.run(engine, unit, verify=True)
    assert entries() == (["call 1"] if delivered else ["call 2"])
    assert tokens(server, "test") == before + 1
    assert tokens(server, "else:where") == 0


def test_the_databases_name_may_be_any(server: Server, held: EngineFactory, elsewhere: str) -> None:
    engine = held(server.url("pymysql", database=elsewhere))
    holdfast.run(engine, lambda connection: connection.execute(text("CREATE TABLE t (id INT)")))
    holdfast.run(engine, lambda connection: connection.execute(text("INSERT INTO t VALUES (1)")), verify=True)
    assert tokens(server, elsewhere) == 1


def test_an_engine_without_a_database_has_none(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("pymysql").set(database=""))
    with pytest.raises(InvalidRequestError, match="URL names no database"):
        holdfast.run(
            engine, lambda connection: connection.execute(text("INSERT INTO test.entry (name) VALUES (1)")), verify=True
        )


# -- what kind of a table ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["MyISAM", "Aria", "MEMORY"])
def untransactional(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    server.execute(f"ALTER TABLE holdfast_commits ENGINE={request.param}", database="test")
    yield str(request.param)
    server.execute("ALTER TABLE holdfast_commits ENGINE=InnoDB", database="test")


def test_one_without_transactions_is_refused(
    server: Server, proxy: Proxy, engine: Engine, entries: Names, untransactional: str
) -> None:
    """Its row would stay when the transaction is rolled back: a COMMIT that never came would be found done."""
    proxy.cut_at("COMMIT", delivered=False)
    with pytest.raises(
        InvalidRequestError, match=f"{untransactional}.*ALTER TABLE test.holdfast_commits ENGINE=InnoDB"
    ):
        holdfast.run(engine, Calls(), verify=True)
    proxy.restore()
    assert entries() == []


def test_one_that_becomes_one_later_is_not_believed(server: Server, proxy: Proxy, one: Engine, entries: Names) -> None:
    holdfast.run(one, Calls(), verify=True)  # it was looked at
    server.execute("ALTER TABLE holdfast_commits ENGINE=MyISAM", database="test")
    try:
        proxy.cut_at("COMMIT", delivered=False)
        with pytest.raises(holdfast.CommitOutcomeUnknown):
            holdfast.run(one, Calls(), verify=True, deadline=1)
    finally:
        server.execute("ALTER TABLE holdfast_commits ENGINE=InnoDB", database="test")
    assert entries() == ["call 1"]


def test_a_view_of_that_name_is_refused(server: Server, one: Engine, entries: Names) -> None:
    server.execute("RENAME TABLE holdfast_commits TO kept", database="test")
    server.execute("CREATE VIEW holdfast_commits AS SELECT * FROM kept", database="test")
    try:
        with pytest.raises(InvalidRequestError, match="view"):
            holdfast.run(one, Calls(), verify=True)
    finally:
        server.execute("DROP VIEW holdfast_commits", database="test")
        server.execute("RENAME TABLE kept TO holdfast_commits", database="test")
    assert entries() == []


# -- which server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wsrep_node_name", "wsrep_node_address"])
def test_another_node_that_looks_alike_is_not_believed(
    server: Server, proxy: Proxy, one: Engine, entries: Names, name: str
) -> None:
    """Host name, port and server id are the same, as with cloned machines. The node says that it is another one."""
    before = server.execute(f"SELECT @@GLOBAL.{name}")[0][0]

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "unit"})
        proxy.cut_at("COMMIT", delivered=False)
        event.listen(one, "commit", lambda connection: server.execute(f"SET GLOBAL {name} = 'other'"), once=True)

    try:
        with pytest.raises(holdfast.CommitOutcomeUnknown):
            holdfast.run(one, unit, verify=True, deadline=1)
    finally:
        server.execute(f"SET GLOBAL {name} = %s", (before,))
    assert entries() == []


@pytest.mark.mysql
def test_a_member_of_a_replication_group_is_not_believed(mysql_server: Server, held: EngineFactory) -> None:
    """It may have lost what the group has: "not there" proves nothing, and "there" does."""
    with_schema(mysql_server)
    mysql_server.execute("INSTALL PLUGIN group_replication SONAME 'group_replication.so'")
    mysql_server.execute("SET GLOBAL group_replication_group_name = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'")
    mysql_server.execute("DELETE FROM entry", database="test")
    try:
        with Proxy.for_server(mysql_server) as proxy:
            engine = held(mysql_server.url("pymysql", host=proxy.host, port=proxy.port))
            proxy.cut_at("COMMIT", delivered=True)
            holdfast.run(engine, lambda connection: connection.execute(WRITE, {"name": "there"}), verify=True)
            proxy.cut_at("COMMIT", delivered=False)
            with pytest.raises(holdfast.CommitOutcomeUnknown):
                holdfast.run(
                    engine, lambda connection: connection.execute(WRITE, {"name": "no"}), verify=True, deadline=1
                )
            engine.dispose()
    finally:
        mysql_server.execute("UNINSTALL PLUGIN group_replication")
    assert mysql_server.execute("SELECT name FROM entry", database="test") == [("there",)]


# -- errors that undo more than their statement ------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False], ids=["ON", "OFF"])
def test_a_lock_timeout_that_undoes_everything_is_not_half_a_unit(held: EngineFactory, driver: str, on: bool) -> None:
    """innodb_rollback_on_timeout=ON: the function catches 1205 and goes on, and what came before is gone."""
    with Server(options={"innodb_rollback_on_timeout": "ON" if on else "OFF"}) as server:
        with_schema(server)
        server.execute("INSERT INTO entry (id, name) VALUES (1, 'locked')", database="test")
        make = sessionmaker(held(server.url(driver)))
        locker = held(server.url(driver)).connect()
        locker.execute(text("SELECT name FROM entry WHERE id = 1 FOR UPDATE"))
        calls: list[int] = []

        def unit(session: Any) -> None:
            calls.append(1)
            session.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
            session.execute(WRITE, {"name": "first"})
            try:
                session.connection().execute(text("UPDATE entry SET name = 'x' WHERE id = 1"))
            except DBAPIError:
                locker.rollback()
            session.execute(WRITE, {"name": "second"})

        holdfast.run(make, unit)
        rows = server.execute("SELECT name FROM entry WHERE id > 1 ORDER BY id", database="test")
        locker.close()
        assert rows == [("first",), ("second",)]
        assert len(calls) == (2 if on else 1)


def test_1206_undoes_everything(one: Engine, entries: Names) -> None:
    """InnoDB has no memory for more locks: it rolls the transaction back."""

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "first"})
        with pytest.raises(OperationalError):
            connection.execute(text("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1206"))

    with pytest.raises(OperationalError, match="1206"):
        holdfast.run(one, unit)
    assert entries() == []


def test_the_table_that_is_made_is_transactional(server: Server, held: EngineFactory) -> None:
    """Also where the server's default engine is another one."""
    with Server(options={"default_storage_engine": "MyISAM"}) as other:
        engine = held(other.url("pymysql"))
        create_commit_table(engine)
        engines = other.execute(
            "SELECT engine FROM information_schema.tables WHERE table_name = 'holdfast_commits'", database="test"
        )
        assert engines == [("InnoDB",)]
        engine.dispose()
