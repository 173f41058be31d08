"""Clients of the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.lab.helpers import connect, eventually
from tests.lab.network.clients import Connect, ids


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Connect]:
    """Connects through the proxy."""
    clients = []

    def connect_through(**more: Any) -> Any:
        more = {"read_timeout": 60, "connect_timeout": 60, "autocommit": True, **more}
        clients.append(connect("pymysql", proxy.host, proxy.port, **more))
        return clients[-1]

    yield connect_through
    for one in clients:
        one._force_close()


@pytest.fixture
def nobody_else(server: Server) -> None:
    """End what other tests have left on the server, so that its connections can be counted."""
    server.kill_connections()
    eventually(lambda: ids(server) == [])
