"""What the tests of the proxy ask, and how they are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from sqlalchemy_holdfast.lab import Server

Connect = Callable[..., Any]
"""The fixture `client`: connects through the proxy, with PyMySQL's arguments."""


def query(client: Any, sql: str = "SELECT 1") -> Any:
    cursor = client.cursor()
    cursor.execute(sql)
    return cursor.fetchall()


def error_code(act: Callable[[], object]) -> int:
    """Return the number of the error that PyMySQL raises."""
    with pytest.raises(pymysql.err.OperationalError) as caught:
        act()
    return int(caught.value.args[0])


def ids(server: Server) -> list[int]:
    return [connection.id for connection in server.processlist(user="app")]
