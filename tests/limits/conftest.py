"""`make test` runs short versions of the cases, `make chaos` (HOLDFAST_CHAOS=1) all of them, with more requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests._long import leave_out
from tests.limits.host import Host, limited

LEFT_OUT = [
    r"test_many_on_few.py.*\[(mysqldb|mysqlconnector)-(global|server)-",
    r"test_many_on_few.py.*\[pymysql-account-",
    r"test_who_asks_for.*(mysqldb-stop|pymysql-kill|mysqlconnector-stop)",
    r"test_entries_made_by_run.*(mysqldb-kill|pymysql|mysqlconnector)",
    r"test_killed_processes.py.*(pymysql|mysqlconnector)",
    r"test_cost.py.*(pymysql|mysqlconnector)",
    r"as_fast_as",
]
"""What `make test` leaves to `make chaos`: every driver and every case is seen, not every combination."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items, LEFT_OUT)


@pytest.fixture(scope="module")
def small() -> Iterator[Host]:
    """A server that allows the site's account three connections."""
    with limited("account", 3) as host:
        yield host
