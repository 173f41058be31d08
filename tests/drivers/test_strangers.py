"""Drivers that holdfast does not know are left as they are, wholly; a driver that it knows is known by its class."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import MySQLdb.connections
import pytest
from sqlalchemy import URL, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause, fork, plugin
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id, inside, read, wait_until_ended

Make = Callable[..., Engine]

STRANGERS = {"cymysql": "mysql+cymysql", "mariadb": "mariadb+mariadbconnector"}
stranger = pytest.mark.parametrize("stranger", STRANGERS)


@pytest.fixture(autouse=True)
def said_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_said", set())


def url_of(server: Server, stranger: str) -> URL:
    if stranger == "mariadb":
        pytest.importorskip("mariadb", reason="mariadb could not be built here (tools/setup.sh)")
    return server.url("pymysql").set(drivername=STRANGERS[stranger])


def connect_with(server: Server, module: str) -> Any:
    arguments = {"host": server.host, "port": server.port, "user": "app"}
    arguments |= {"passwd": "app", "db": "test"} if module == "cymysql" else {"password": "app", "database": "test"}
    return importlib.import_module(module).connect(**arguments)


def by_url(server: Server, stranger: str, make: EngineFactory, **options: Any) -> Engine:
    return make(url_of(server, stranger), **options)


def by_creator(server: Server, stranger: str, make: EngineFactory, **options: Any) -> Engine:
    return make(url_of(server, stranger), creator=lambda: connect_with(server, stranger), **options)


def by_listener(server: Server, stranger: str, make: EngineFactory, **options: Any) -> Engine:
    """The URL names a driver that is known."""
    if stranger == "mariadb":
        pytest.skip("no dialect of a driver that is known can set one up")
    engine = make(server.url("pymysql"), **options)
    engine.dialect.dbapi = importlib.import_module(stranger)
    event.listen(engine, "do_connect", lambda *given: connect_with(server, stranger))
    return engine


def by_module(server: Server, stranger: str, make: EngineFactory, **options: Any) -> Engine:
    return make(url_of(server, stranger), module=importlib.import_module(stranger), **options)


WAYS = {"the URL": by_url, "a creator": by_creator, "a do_connect listener": by_listener, "module=": by_module}
every_way = pytest.mark.parametrize("way", WAYS)


def open_connections(engine: Engine, number: int) -> list[int]:
    """So many connections, idle in the pool; their ids."""
    connections = [engine.connect() for _ in range(number)]
    ids = [int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()) for connection in connections]
    for connection in connections:
        connection.close()
    return ids


def errors_of(engine: Engine, reads: int) -> int:
    failed = 0
    for number in range(reads):
        try:
            read(engine, number)
        except DBAPIError:
            failed += 1
    return failed


@stranger
@every_way
def test_it_is_left_alone_and_that_is_a_warning(
    server: Server, stranger: str, way: str, held: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "holdfast")
    engine = WAYS[way](server, stranger, held)
    for number in range(3):
        assert read(engine, number) == number
    hold = inside(engine)
    assert not hold.active
    assert stranger in hold.reason
    assert "is not held" in repr(hold)
    assert "Known" not in hold.reason
    warnings = [record for record in caplog.records if record.name.partition(".")[0] == "holdfast"]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert stranger in warnings[0].getMessage()
    assert hold not in fork._watched
    assert not hasattr(engine.raw_connection().driver_connection, "_holdfast")


@stranger
def test_nothing_of_an_engine_is_changed_where_the_url_names_it(
    server: Server, stranger: str, held: EngineFactory, stock: EngineFactory
) -> None:
    engine, plain = (by_url(server, stranger, make) for make in (held, stock))
    assert type(engine.pool) is QueuePool
    for name in ("connect", "checkout", "checkin", "reset"):
        assert len(list(getattr(engine.pool.dispatch, name))) == len(list(getattr(plain.pool.dispatch, name)))
    changed = set(vars(engine.dialect)) - set(vars(plain.dialect))
    # What keeps the plugin's name in engine.url from the driver, and what status() finds.
    assert changed <= {"create_connect_args", "holdfast_status"}


@stranger
@every_way
def test_a_loss_costs_no_more_errors_than_in_stock(
    server: Server, stranger: str, way: str, held: EngineFactory, stock: EngineFactory
) -> None:
    seen = []
    for make in (stock, held):
        engine = WAYS[way](server, stranger, make)
        for number in open_connections(engine, 5):
            server.kill_connection(number)
        seen.append(errors_of(engine, 8))
        engine.dispose()
    assert seen[1] == seen[0]


@stranger
@every_way
def test_a_fork_costs_no_more_connections_than_in_stock(
    server: Server, stranger: str, way: str, held: EngineFactory, stock: EngineFactory
) -> None:
    survivors = []
    for make in (stock, held):
        engine = WAYS[way](server, stranger, make)
        before = open_connections(engine, 4)
        with engine.connect() as in_use:
            child = os.fork()
            if child == 0:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            try:
                in_use.execute(text("SELECT 1"))
            except DBAPIError:
                survivors.append(-1)
        alive = {process.id for process in server.processlist()}
        survivors.append(len(alive & set(before)))
        engine.dispose()
    assert survivors == [4, 4]


@pytest.mark.parametrize("way", ["a creator", "a do_connect listener"])
def test_several_threads_may_find_out_at_once(
    server: Server, way: str, held: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    engine = WAYS[way](server, "cymysql", held, pool_size=2, max_overflow=0, pool_timeout=10)
    start, answers = threading.Barrier(6), []

    def work(number: int) -> None:
        start.wait()
        for turn in range(10):
            answers.append(read(engine, 10 * number + turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(60))
    assert not holdfast.status(engine).active
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_one_stranger_among_held_connections_is_left_as_it_is(
    server: Server, held: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    modules = iter(["pymysql", "cymysql", "cymysql", "pymysql"])
    engine = held(server.url("pymysql"), creator=lambda: connect_with(server, next(modules)))
    connections = [engine.connect() for _ in range(4)]
    for number, connection in enumerate(connections):
        assert connection.execute(text(f"SELECT {number}")).scalar() == number
        connection.close()
    assert holdfast.status(engine).active
    assert holdfast.status(engine).counters.connects == 2
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


# -- known by its class ------------------------------------------------------------------------------------------------

AS_MYSQLDB = """
import pymysql
pymysql.install_as_MySQLdb()
import sys
from sqlalchemy import create_engine, make_url, text
import sqlalchemy_holdfast as holdfast
url = make_url(sys.argv[1])
engine = create_engine(url.set(drivername=sys.argv[2]), plugins=["holdfast"])
for number in range(20):
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT {number}")).scalar() == number
        assert isinstance(connection.connection.driver_connection, pymysql.connections.Connection)
        assert connection.connection.driver_connection._holdfast.pipeline
hold = holdfast.status(engine)
assert hold.active and hold.counters.connects == 1, hold
assert hold.counters.rollbacks_deferred >= 19, hold
print("held")
"""


@pytest.mark.parametrize("drivername", ["mysql", "mysql+mysqldb", "mariadb"])
def test_pymysql_in_the_place_of_mysqldb_is_held_as_pymysql(server: Server, drivername: str) -> None:
    url = server.url("pymysql").render_as_string(hide_password=False)
    command = [sys.executable, "-W", "ignore", "-c", AS_MYSQLDB, url, drivername]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("held")


@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated:DeprecationWarning")
def test_so_is_pymysql_as_the_module_of_a_mysqldb_url(server: Server, held: EngineFactory) -> None:
    import pymysql

    engine = held(server.url("mysqldb"), module=pymysql)
    assert_it_is_held(server, engine)


OTHERS = [("pymysql", "MySQLdb"), ("mysqldb", "pymysql")]


@pytest.mark.parametrize(("named", "made"), OTHERS)
def test_a_creator_may_use_another_known_driver_than_the_url_names(
    server: Server, named: str, made: str, held: EngineFactory
) -> None:
    engine = held(server.url(named), creator=lambda: connect_with(server, made))
    assert_it_is_held(server, engine)
    with engine.connect() as connection:
        server.kill_connection(int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()))
        wait_until_ended(connection.connection.driver_connection)
        with pytest.raises(importlib.import_module(made).Error):  # SQLAlchemy wraps the errors of its dialect's driver
            connection.execute(text("SELECT 2"))
        assert connection.invalidated, "a driver's own error is known, whoever's the dialect is"
    assert read(engine, 3) == 3


def test_a_module_of_another_name_that_is_built_on_a_known_driver_is_held(server: Server, held: EngineFactory) -> None:
    import pymysql
    from sqlalchemy.dialects import registry
    from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

    class Connection(pymysql.connections.Connection):
        pass

    module = types.ModuleType("somebodys")
    module.__dict__.update(vars(pymysql), __name__="somebodys", Connection=Connection, connect=Connection)

    class Dialect(MySQLDialect_pymysql):
        supports_statement_cache = True

        @classmethod
        def import_dbapi(cls) -> Any:
            return module

    registry.impls["mysql.somebodys"] = lambda: Dialect
    engine = held(server.url("pymysql").set(drivername="mysql+somebodys"))
    assert_it_is_held(server, engine)


def assert_it_is_held(server: Server, engine: Engine) -> None:
    with engine.connect() as connection:
        idle = connection.connection.driver_connection
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
    server.kill_connection(number)
    wait_until_ended(idle)
    assert connection_id(engine) != number
    hold = holdfast.status(engine)
    assert hold.active
    assert hold.counters.replaced == {Cause.CLOSED: 1}


def test_a_subclass_that_waits_in_its_own_way_works(server: Server, held: EngineFactory) -> None:
    class Cooperative(MySQLdb.connections.Connection):  # type: ignore[misc]
        rolled_back = 0

        def query(self, query: Any) -> None:
            self.send_query(bytes(query))
            self.read_query_result()

        def rollback(self) -> None:
            Cooperative.rolled_back += 1
            super().rollback()

    def connect() -> Any:
        return Cooperative(unix_socket=server.socket, user="app", password="app", database="test")

    engine = held(server.url("mysqldb"), creator=connect)
    for number in range(5):
        assert read(engine, number) == number
    assert Cooperative.rolled_back >= 5
