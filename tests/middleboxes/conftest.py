from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD
from tests.middleboxes.work import THREADS


@contextmanager
def server_with_table(**options: Any) -> Iterator[Server]:
    with Server(**options) as server:
        server.execute("CREATE TABLE counted (id INT PRIMARY KEY, value INT NOT NULL)", database="test")
        server.execute("INSERT INTO counted VALUES " + ", ".join(f"({n}, 0)" for n in range(THREADS)), database="test")
        yield server


@pytest.fixture(scope="module")
def behind() -> Iterator[Server]:
    """A MariaDB, to stand behind something."""
    with server_with_table() as server:
        yield server


@pytest.fixture(scope="module")
def mysql_behind() -> Iterator[Server]:
    """A MySQL, which can say which connection attributes a session has."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with server_with_table(executable=MYSQLD, options={"performance_schema": 1}) as server:
        yield server


@pytest.fixture(scope="module")
def silent_mysql_behind() -> Iterator[Server]:
    """A MySQL that cannot."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with server_with_table(executable=MYSQLD, options={"performance_schema": 0}) as server:
        yield server
