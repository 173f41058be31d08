"""The scene of a case: a server, what stands before it, and an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory
from tests.server.error_cases import RETIRED, Case, Scene

Set = Callable[[Case, str, EngineFactory], Scene]


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One to stop and kill."""
    with Server() as server:
        yield server


@pytest.fixture
def scene(request: pytest.FixtureRequest, proxy: Proxy) -> Set:
    """Makes the scene of a case."""

    def make(case: Case, driver: str, factory: EngineFactory) -> Scene:
        server: Server = request.getfixturevalue("server" if case.through == "proxy" else case.through)
        server.start()
        query = {"ssl_ca": server.tls_ca} if server.tls_ca else {}
        place = {"host": proxy.host, "port": proxy.port} if case.through == "proxy" else {}
        url = server.url(driver, query=query, **place)  # type: ignore[arg-type]
        if case in RETIRED:
            server.execute("CREATE TABLE IF NOT EXISTS ledger (id INT PRIMARY KEY, value INT)", database="test")
            server.execute("DELETE FROM ledger", database="test")
        return Scene(server, proxy, factory(url, **case.options))

    return make
