"""What tests of held engines share: the drivers' modules and classes, and the loss of an idle connection."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, create_engine, engine_from_config, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import wait_until_ended

Log = Callable[[], list[str]]
Make = Callable[..., Engine]

CONNECTION_CLASSES = {
    "mysqldb": "MySQLdb.connections:Connection",
    "pymysql": "pymysql.connections:Connection",
    "mysqlconnector": "mysql.connector.connection:MySQLConnection",
}


def connection_class(driver: str) -> type:
    module, _, name = CONNECTION_CLASSES[driver].partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    return found


def is_held(connection: Any) -> bool:
    return hasattr(connection, "_holdfast")


def arguments_for(server: Server, driver: str) -> dict[str, Any]:
    """Keyword arguments of the driver's own connect function."""
    given = {"host": server.host, "port": server.port, "user": "app", "password": "app", "database": "test"}
    return {**given, "use_pure": True} if driver == "mysqlconnector" else given


def driver_module(driver: str) -> Any:
    return importlib.import_module({"mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector"}.get(driver, driver))


def kill_idle(server: Server, engine: Engine) -> int:
    """Kill the connection that waits in the engine's pool; return its id."""
    with engine.connect() as connection:
        idle = connection.connection.driver_connection
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
    server.kill_connection(number)
    wait_until_ended(idle)
    return number


WAYS: dict[str, Make] = {
    "in the URL": lambda url, **more: create_engine(url.update_query_dict({"plugin": "holdfast"}), **more),
    "as an argument": lambda url, **more: create_engine(url, plugins=["holdfast"], **more),
    "holdfast.create_engine": lambda url, **more: holdfast.create_engine(url, **more),
    "holdfast.create_engine of text": lambda url, **more: holdfast.create_engine(
        url.render_as_string(hide_password=False), **more
    ),
    "URL and argument": lambda url, **more: create_engine(
        url.update_query_dict({"plugin": "holdfast"}), plugins=["holdfast"], **more
    ),
    "all three": lambda url, **more: holdfast.create_engine(
        url.update_query_dict({"plugin": "holdfast"}), plugins=["holdfast"], **more
    ),
    "engine_from_config": lambda url, **more: engine_from_config(
        {"db.url": url.update_query_dict({"plugin": "holdfast"}), **{f"db.{k}": v for k, v in more.items()}}, "db."
    ),
}
