"""Small things that several of these modules need."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy_holdfast.lab

PACKAGE_ROOT = str(Path(sqlalchemy_holdfast.lab.__file__).parents[2])


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll until `condition` is true; fail if it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PACKAGE_ROOT, **more}


def connect(driver: str, host: str, port: int, **more: Any) -> Any:
    """Connect as app, without SQLAlchemy."""
    arguments = {"host": host, "port": port, "user": "app", "password": "app", "database": "test", **more}
    if driver == "pymysql":
        import pymysql

        return pymysql.connect(**arguments)
    if driver == "mysqldb":
        import MySQLdb

        return MySQLdb.connect(**arguments)
    import mysql.connector

    return mysql.connector.connect(**{"use_pure": True, **arguments})  # where its C extension loads, that differs
