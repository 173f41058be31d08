"""A connection that has what the application has set up on it earlier is not replaced by one that lacks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import MySQLdb.cursors
import pymysql.cursors
import pytest
from mysql.connector.conversion import MySQLConverter
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from tests.pool.first_statement.conftest import Cut, Scene, outcome, settle

READ = "SELECT id FROM guests WHERE id = 1"
Do = Callable[[Any, Connection], object]

by_cut = pytest.mark.parametrize("cut", [Scene.cut_before, Scene.cut_before_reply], ids=lambda cut: cut.__name__)


def remembers_a_tenant(driver_connection: Any, connection: Connection) -> None:
    connection.execute(text("SET @tenant = 5"))
    connection.info["tenant"] = 5


def has_a_cursor_class(driver_connection: Any, connection: Connection) -> None:
    if isinstance(driver_connection, pymysql.connections.Connection):
        driver_connection.cursorclass = pymysql.cursors.DictCursor
    elif isinstance(driver_connection, MySQLdb.connections.Connection):
        driver_connection.cursorclass = MySQLdb.cursors.DictCursor
    else:
        driver_connection.raise_on_warnings = True


class Converter(MySQLConverter):
    pass


def has_a_converter(driver_connection: Any, connection: Connection) -> None:
    """Decoders are tables that are changed in place."""
    if isinstance(driver_connection, pymysql.connections.Connection):
        driver_connection.decoders[3] = lambda value: -int(value)
    elif isinstance(driver_connection, MySQLdb.connections.Connection):
        driver_connection.converter[3] = lambda value: -int(value)
    else:
        driver_connection.converter_class = Converter


def has_an_attribute(driver_connection: Any, connection: Connection) -> None:
    driver_connection.tenant = 5


def is_in_autocommit(driver_connection: Any, connection: Connection) -> None:
    if callable(getattr(driver_connection, "get_autocommit", None)):
        driver_connection.autocommit(True)
    else:
        driver_connection.autocommit = True


SET_UP: list[Do] = [remembers_a_tenant, has_a_cursor_class, has_a_converter, has_an_attribute, is_in_autocommit]
every_way = pytest.mark.parametrize("do", SET_UP, ids=lambda do: do.__name__)


def set_up(engine: Engine, do: Do) -> None:
    """In a checkout of its own."""
    with engine.connect() as connection:
        do(connection.connection.driver_connection, connection)


@by_cut
@every_way
def test_one_that_was_set_up_in_an_earlier_checkout_raises(scene: Scene, do: Do, cut: Cut) -> None:
    engine = scene.engine(pool_size=1, max_overflow=0)
    set_up(engine, do)
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"
    with engine.connect() as connection:  # what SQLAlchemy makes at a checkout has nothing, and says so
        assert "tenant" not in connection.info
        assert connection.execute(text(READ)).scalar() == 1
    assert holdfast.status(engine).counters.statements_repeated == 0


@by_cut
@every_way
def test_nor_is_one_that_was_set_up_in_this_checkout_replaced(scene: Scene, do: Do, cut: Cut) -> None:
    if do is remembers_a_tenant:
        pytest.skip("it sends a statement, and is not the first any more")
    engine = scene.engine(pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        do(connection.connection.driver_connection, connection)
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


@by_cut
def test_no_other_tenants_row_is_given(scene: Scene, cut: Cut) -> None:
    """The recipe: `info` says which tenant is selected, and nothing is sent where it is the right one."""
    engine = scene.engine(pool_size=1, max_overflow=0)

    def row_of(tenant: int, before: Callable[[Connection], object] = lambda connection: None) -> Any:
        with engine.connect() as connection:
            if connection.info.get("tenant") != tenant:
                connection.execute(text(f"SET @tenant = {tenant}"))
                connection.info["tenant"] = tenant
            before(connection)
            return connection.execute(text("SELECT name FROM guests WHERE id = IFNULL(@tenant, 3)")).scalar()

    assert row_of(1)[0] == "a"
    with pytest.raises(DBAPIError):
        row_of(1, lambda connection: cut(scene, connection))
    assert row_of(1)[0] == "a"


@by_cut
def test_what_the_connect_listeners_set_up_the_new_one_has_as_well(scene: Scene, cut: Cut) -> None:
    engine = scene.engine(pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, record: Any) -> None:
        record.info["opened"] = object()
        dbapi_connection.tenant = object()

    engine.dispose()
    settle(engine)
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "succeeded"


@by_cut
def test_a_recipe_that_times_statements_is_in_nobodys_way(scene: Scene, cut: Cut) -> None:
    """It leaves an empty list in `info`."""
    engine = scene.engine(pool_size=1, max_overflow=0)

    @event.listens_for(engine, "before_cursor_execute")
    def begin(connection: Connection, *rest: Any) -> None:
        connection.info.setdefault("query_start_time", []).append(1)

    @event.listens_for(engine, "after_cursor_execute")
    def end(connection: Connection, *rest: Any) -> None:
        connection.info["query_start_time"].pop()

    settle(engine)
    with engine.connect() as connection:
        if cut is Scene.cut_before:
            cut(scene, connection)
            assert outcome(connection, READ) == "succeeded"


USES: dict[str, Callable[[Connection], object]] = {
    "reads": lambda connection: connection.execute(text(READ)).all(),
    "many rows": lambda connection: connection.execute(text("SELECT * FROM guests a, guests b, guests c")).all(),
    "half of the rows": lambda connection: connection.execute(text("SELECT * FROM guests")).fetchone(),
    "parameters": lambda connection: connection.execute(text("SELECT :a, :b"), {"a": "é'", "b": 1.5}).all(),
    "a stream": lambda connection: connection.execution_options(stream_results=True).execute(text(READ)).all(),
    "a write": lambda connection: connection.execute(text("INSERT INTO innodb VALUES (1)")),
    "several writes": lambda connection: connection.execute(
        text("INSERT INTO innodb VALUES (:n)"), [{"n": 1}, {"n": 2}]
    ),
    "a warning": lambda connection: connection.execute(text("SELECT 1/0")).all(),
    "an error": lambda connection: outcome(connection, "SELECT nothing"),
    "a procedure": lambda connection: connection.execute(text("CALL add_one()")),
    "a savepoint": lambda connection: connection.begin_nested().commit(),
    "a rollback": lambda connection: connection.rollback(),
    "an isolation level": lambda connection: connection.execution_options(isolation_level="READ COMMITTED"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_ordinary_use_sets_nothing_up(scene: Scene, use: Callable[[Connection], object]) -> None:
    """A driver's attribute that changes while it is used must not be taken for the application's."""
    engine = scene.engine(pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        if use is USES["an isolation level"]:
            connection.rollback()
        use(connection)
        connection.commit()
    with engine.connect() as connection:
        scene.cut_before(connection)
        assert outcome(connection, READ) == "succeeded"
