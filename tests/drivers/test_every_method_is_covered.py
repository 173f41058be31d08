"""A driver's new release must not bring a command that holdfast does not know of.

One that is left out reads the ROLLBACK's reply as its own, and every later answer belongs to another statement.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from sqlalchemy_holdfast.drivers import DRIVERS, Driver, is_installed
from sqlalchemy_holdfast.drivers.connection import HeldConnection
from tests.drivers import classified

TABLES: dict[str, dict[str, Any]] = {
    "MySQLdb.connections.Connection": classified.MYSQLDB,
    "pymysql.connections.Connection": classified.PYMYSQL,
    "mysql.connector.connection.MySQLConnection": classified.MYSQLCONNECTOR,
    "mysql.connector.connection_cext.CMySQLConnection": classified.MYSQLCONNECTOR_C,
}


def load(dotted: str) -> type:
    module, _, name = dotted.rpartition(".")
    cls: type = getattr(importlib.import_module(module), name)
    return cls


def members(cls: type) -> set[str]:
    found = {
        name
        for base in cls.__mro__[:-1]
        for name in vars(base)
        if callable(getattr(cls, name, None)) or isinstance(getattr(cls, name, None), property)
    }
    return found - set(dir(object))


def held_methods(driver: Driver) -> set[str]:
    module = importlib.import_module(f"sqlalchemy_holdfast.drivers.{driver.module}")
    methods: type[HeldConnection] = getattr(module, driver.mixin)
    return {name for part in methods.__mro__[:-1] for name in vars(part) if not name.startswith("_holdfast")}


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.connection_class)
def test_every_method_of_the_connection_class_is_classified(driver: Driver) -> None:
    assert is_installed(driver), f"{driver.distribution} is not installed"
    try:
        cls = load(driver.connection_class)
    except ImportError as error:
        if driver.connection_class.endswith("CMySQLConnection"):
            pytest.skip(f"the C extension does not load on this machine: {error}")
        raise
    table = TABLES[driver.connection_class]
    held = held_methods(driver)
    silent, through = set(table["silent"].split()), table["through"]
    unknown = members(cls) - held - silent - set(through)
    assert not unknown, f"{driver.distribution} has methods that nobody has classified: {sorted(unknown)}"
    assert not held & silent, "classified as silent, yet held"
    for name, target in through.items():
        while target in through:
            target = through[target]
        assert target in held, f"{name} is said to send through {target}, which is not held"
