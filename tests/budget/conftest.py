"""A directory for the slot file with workers in it, and a server that allows few connections.

`make test` runs short versions of the cases, `make chaos` (HOLDFAST_CHAOS=1) all of them, with more requests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._long import leave_out
from tests.budget.host import Host, limited
from tests.budget.workers import Workers

LEFT_OUT = [
    r"test_many_on_few.py.*\[(mysqldb|mysqlconnector)-(global|server)-",
    r"test_many_on_few.py.*\[pymysql-account-",
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


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that is safe for a slot file."""
    with tempfile.TemporaryDirectory(prefix="slots-") as name:
        yield Path(name)


@pytest.fixture
def workers(directory: Path) -> Iterator[Workers]:
    made = Workers(directory)
    yield made
    made.close()
