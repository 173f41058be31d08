"""Servers over each transport, with a table, and a collector that does not look through all of pytest in a child."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Server
from tests._long import leave_out
from tests.fork.parents import ROWS, TABLE, Parent

TRANSPORTS = ("tcp", "tls", "unix")

LEFT_OUT = [
    # every driver and kind of site is seen, not every combination
    r"test_prefork.py::test_every_client.*gunicorn-(session_closed|session_open|connection_open)",
    r"test_prefork.py::test_where_uwsgis_hook.*-(session_closed|session_open|connection_open)",
    r"test_parent_survives.py::test_the_parent_survives_every_way.*(mysqldb-unix|pymysql-tcp|mysqlconnector-tls)",
    r"test_parent_survives.py::test_without_an_at_fork_hook.*(mysqldb-tcp|pymysql-tls)",
    r"test_on_mysql.py::test_every_client.*(gunicorn|session|connection_open)",
    r"test_on_mysql.py::test_the_parent_(keeps|survives_every_way).*(tls|unix)",
    r"test_on_mysql.py::test_the_parent_keeps.*(read_on|drop|garbage|driver_connection|dispose)",
]
"""What `make test` leaves to `make chaos` (HOLDFAST_CHAOS=1), which runs all of this folder too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items, LEFT_OUT)


ParentFactory = Callable[..., Parent]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def ledger(server: Server) -> Server:
    """The shared server, with the table that :class:`Parent` writes to."""
    return with_table(server)


@pytest.fixture(scope="session")
def tls_ledger(tls_server: Server) -> Server:
    return with_table(tls_server)


def with_table(server: Server) -> Server:
    server.execute(f"DROP TABLE IF EXISTS {TABLE}", database="test")
    server.execute(f"CREATE TABLE {TABLE} (id BIGINT PRIMARY KEY, value INT) ENGINE=InnoDB", database="test")
    server.execute(f"DROP TABLE IF EXISTS {TABLE}_rows", database="test")
    server.execute(f"CREATE TABLE {TABLE}_rows (seq INT PRIMARY KEY) ENGINE=InnoDB", database="test")
    values = ", ".join(f"({number})" for number in range(1, ROWS + 1))
    server.execute(f"INSERT INTO {TABLE}_rows VALUES {values}", database="test")
    return server


def url_for(server: Server, driver: str, transport: str = "tcp") -> URL:
    """The URL for a driver and a transport."""
    query = {"use_pure": "1"} if driver == "mysqlconnector" else {}
    if transport == "tls":
        query["ssl_ca"] = server.tls_ca or ""
        if driver == "mysqlconnector":
            query["ssl_verify_cert"] = "true"
    return server.url(driver, transport="unix" if transport == "unix" else "tcp", query=query)


@pytest.fixture
def url(request: pytest.FixtureRequest, driver: str) -> URL:
    """A database for each driver, and for each transport in tests that ask for ``transport``."""
    transport = request.getfixturevalue("transport") if "transport" in request.fixturenames else "tcp"
    server: Server = request.getfixturevalue("tls_ledger" if transport == "tls" else "ledger")
    return url_for(server, driver, transport)


@pytest.fixture
def parent(url: URL) -> Iterator[ParentFactory]:
    """Makes parents in a state, and closes them."""
    made: list[Parent] = []

    def make(state: str = "in_transaction", **options: object) -> Parent:
        made.append(Parent(url, state, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def _quick_collection() -> Iterator[None]:
    """Let ``gc.collect()`` in a child look at what the test made, and not at all of pytest."""
    gc.freeze()
    yield
    gc.unfreeze()
