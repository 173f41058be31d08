"""A server that allows few connections, and what `make test` leaves to `make chaos`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests._long import leave_out
from tests.budget.host import Host, limited

LEFT_OUT = [
    r"test_who_asks_for.*(mysqldb-stop|pymysql-kill|mysqlconnector-stop)",
    r"test_entries_made_by_run.*(mysqldb-kill|pymysql|mysqlconnector)",
]
"""What `make test` leaves to `make chaos` (HOLDFAST_CHAOS=1)."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items, LEFT_OUT)


@pytest.fixture(scope="module")
def small() -> Iterator[Host]:
    """A server that allows the site's account three connections."""
    with limited("account", 3) as host:
        yield host
