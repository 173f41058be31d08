"""Servers over each transport, with a table, and a collector that does not look through all of pytest in a child."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL

from holdfast.lab import Server
from tests.fork.processes import TABLE, Parent

TRANSPORTS = ("tcp", "tls", "unix")

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
    sql = f"CREATE OR REPLACE TABLE {TABLE} (id BIGINT PRIMARY KEY, value INT) ENGINE=InnoDB"
    server.execute(sql, database="test")
    return server


def url_for(server: Server, driver: str, transport: str = "tcp") -> URL:
    """The URL for a driver and a transport."""
    query = {"use_pure": "1"} if driver == "mysqlconnector" else {}
    if transport == "tls":
        query["ssl_ca"] = server.tls_ca or ""
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
