from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Server


@pytest.fixture
def bank(server: Server) -> Iterator[Server]:
    """The shared server, with one account and an empty ledger."""
    server.execute("CREATE OR REPLACE TABLE account (id INT PRIMARY KEY, value INT NOT NULL)", database="test")
    server.execute("INSERT INTO account VALUES (1, 0)", database="test")
    server.execute("CREATE OR REPLACE TABLE ledger (name VARCHAR(60) PRIMARY KEY)", database="test")
    yield server
    server.kill_connections("app")
    server.execute("DROP TABLE account, ledger", database="test")
