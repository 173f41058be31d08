"""Servers to be examined: one of each kind that is in order, and one that is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD

IN_ORDER = {"innodb_flush_log_at_trx_commit": 1}
"""What the lab sets otherwise, to be quick."""
MYSQL_HAS = {"performance_schema": 1}
"""As it is unless it is told otherwise."""


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    with Server(options=IN_ORDER, tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, options={**IN_ORDER, **MYSQL_HAS}, tls=True) as server:
        yield server


@pytest.fixture(params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def patient(request: pytest.FixtureRequest) -> Server:
    """Each of the two, in order until a test changes it."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session", params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def crowded(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of each that takes ten connections and no more."""
    executable = None
    if request.param == "mysql":
        executable = MYSQLD
        if executable is None:
            pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=executable, options={"max_connections": 10}) as server:
        yield server


@pytest.fixture(scope="session")
def ailing() -> Iterator[Server]:
    """A MariaDB with settings that can be made at its start alone, and that says that it is old and something else."""
    options: dict[str, str | int | None] = {
        "innodb_flush_log_at_trx_commit": 2,
        "innodb_rollback_on_timeout": 1,
        "version": "10.5.29-MariaDB-maxscale",
    }
    with Server(options=options) as server:
        yield server
