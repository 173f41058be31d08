"""The ways in: each attaches holdfast once; and where it steps aside, it says so."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, create_engine, create_pool_from_url, text
from sqlalchemy.pool import QueuePool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause, plugin
from sqlalchemy_holdfast.lab import Server
from tests.conftest import connection_id, read, wait_until_ended
from tests.plugin.helpers import WAYS, Log, connection_class, driver_module, is_held, kill_idle


@pytest.fixture
def said_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once a process has not been said yet."""
    monkeypatch.setattr(plugin, "_said", set())


# -- the ways in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_attaches_once_and_counts_once(server: Server, way: str, log: Log) -> None:
    engine = WAYS[way](server.url("pymysql"), holdfast_probe_timeout=3, pool_size=2)
    try:
        assert read(engine, 3) == 3
        first = kill_idle(server, engine)
        assert connection_id(engine) != first
        hold = holdfast.status(engine)
        assert hold.active
        assert hold.settings.probe_timeout == 3
        assert hold.counters.connects == 2
        assert hold.counters.replaced == {Cause.CLOSED: 1}
        assert sum("replaced a pooled connection" in line for line in log()) == 1
        assert isinstance(engine.pool, QueuePool)
        assert engine.pool.size() == 2
        assert len(list(engine.pool.dispatch.checkout)) == 1
        assert len(list(engine.pool.dispatch.reset)) == 1
    finally:
        engine.dispose()


def test_the_arguments_of_the_caller_are_not_changed(server: Server) -> None:
    plugins: list[str] = []
    holdfast.create_engine(server.url("pymysql"), plugins=plugins)
    assert plugins == []


def test_another_plugin_may_be_there_too(server: Server) -> None:
    """SQLAlchemy calls each; ours neither hides nor needs the other."""
    seen: list[str] = []

    class Other(sqlalchemy.CreateEnginePlugin):
        def __init__(self, url: sqlalchemy.URL, kwargs: dict[str, Any]) -> None:
            kwargs.pop("other", None)

        def update_url(self, url: sqlalchemy.URL) -> sqlalchemy.URL:
            return url.difference_update_query(["other_key"])

        def engine_created(self, engine: Engine) -> None:
            seen.append(engine.url.render_as_string())

    from sqlalchemy.dialects import plugins as registry

    registry.register("other_for_test", __name__, "unused")
    registry.impls["other_for_test"] = lambda: Other
    url = server.url("pymysql", query={"other_key": "1"}).update_query_dict({"plugin": ["other_for_test", "holdfast"]})
    engine = holdfast.create_engine(url, other=1)
    assert read(engine, 4) == 4
    assert len(seen) == 1
    assert holdfast.status(engine).counters.connects == 1
    engine.dispose()


def test_create_pool_from_url(server: Server, driver: str, log: Log) -> None:
    url = server.url(driver, query={"use_pure": "1"} if driver == "mysqlconnector" else {})
    pool = create_pool_from_url(url.update_query_dict({"plugin": "holdfast"}))
    gc.collect()  # the engine it was made with is nobody's
    fairy = pool.connect()
    assert is_held(fairy.driver_connection)
    assert isinstance(fairy.driver_connection, connection_class(driver))
    idle = fairy.driver_connection
    fairy.close()
    server.kill_connections("app")
    wait_until_ended(idle)
    fairy = pool.connect()
    cursor = fairy.cursor()
    cursor.execute("SELECT 5")
    assert list(cursor.fetchall()) == [(5,)]
    cursor.close()
    fairy.close()
    assert sum("replaced a pooled connection" in line for line in log()) == 1
    pool.dispose()


def test_create_pool_from_url_defers_the_rollback(server: Server) -> None:
    pool = create_pool_from_url(server.url("pymysql").update_query_dict({"plugin": "holdfast"}))
    gc.collect()
    fairy = pool.connect()
    deferring = fairy.driver_connection._holdfast.defer  # type: ignore[union-attr]
    fairy.close()
    pool.dispose()
    assert deferring


# -- what stays --------------------------------------------------------------------------------------------------------


def test_the_connection_is_still_an_instance_of_the_drivers_class(server: Server, driver: str, engine: Engine) -> None:
    with engine.connect() as connection:
        held = connection.connection.driver_connection
        assert isinstance(held, connection_class(driver))
        assert type(held).__name__ == connection_class(driver).__name__
        assert type(held).__module__ == connection_class(driver).__module__
        assert connection.connection.dbapi_connection is held
        assert is_held(held)


# -- stepping aside ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("said_nothing_yet")
def test_sqlite_works_as_before_and_is_mentioned_once(log: Log) -> None:
    engines = [create_engine("sqlite://?plugin=holdfast"), holdfast.create_engine("sqlite://")]
    for engine in engines:
        plain = create_engine("sqlite://")
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (id INTEGER)"))
            connection.execute(text("INSERT INTO numbers VALUES (1), (2)"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT SUM(id) FROM numbers")).scalar() == 3
            assert not is_held(connection.connection.driver_connection)
        assert type(engine.pool) is type(plain.pool)
        for name in ("connect", "checkout", "checkin", "reset"):
            ours, theirs = getattr(engine.pool.dispatch, name), getattr(plain.pool.dispatch, name)
            assert len(list(ours)) == len(list(theirs))
        assert not holdfast.status(engine).active
        assert holdfast.status(engine).reason == "sqlite is not MySQL or MariaDB"
        engine.dispose()
        plain.dispose()
    assert len(log()) == 1
    assert "sqlite is not held: sqlite is not MySQL or MariaDB" in log()[0]


@pytest.mark.usefixtures("said_nothing_yet")
def test_an_asyncio_engine_is_left_as_it_is_and_says_so(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """The engine inside an AsyncEngine, which itself needs greenlet. The module stands in for a driver that is not
    among the project's; nothing is connected."""
    url = "mysql+aiomysql://u:Kx7qZv9w@127.0.0.1/db?plugin=holdfast"
    engine = create_engine(url, module=driver_module("pymysql"), _is_async=True)
    hold = holdfast.status(engine)
    assert not hold.active
    assert hold.reason == "the asyncio driver aiomysql is not supported yet"
    assert holdfast.status(SimpleNamespace(sync_engine=engine)) is hold
    assert list(engine.pool.dispatch.checkout) == []
    assert len(log()) == 1
    assert "aiomysql" in log()[0]
    assert "Kx7qZv9w" not in repr(hold) + log()[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"], "it was asked for"


def test_an_engine_made_from_engine_url_is_held_with_the_same_settings(server: Server, driver: str) -> None:
    url = server.url(driver, query={"plugin": "holdfast", "holdfast_probe_timeout": "3"})
    engine = create_engine(url)
    for again in (create_engine(engine.url), create_engine(str(engine.url.render_as_string(hide_password=False)))):
        assert read(again, 2) == 2
        assert holdfast.status(again).active
        assert holdfast.status(again).settings.probe_timeout == 3
        again.dispose()
    engine.dispose()


def test_where_the_plugin_was_an_argument_such_an_engine_is_not_held_and_the_reason_says_why(
    server: Server, driver: str
) -> None:
    engine = create_engine(server.url(driver), plugins=["holdfast"])
    again = create_engine(engine.url)
    hold = holdfast.status(again)
    assert not hold.active
    assert "engine.url" in hold.reason
    assert "is not held" in repr(hold)
    assert holdfast.status(engine).active
