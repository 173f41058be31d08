"""`make test` runs the short version: one variant a driver, and the calls that matter most; `make chaos` runs all."""

from __future__ import annotations

import pytest

from tests._long import LONG

SHORT = ("fifo", "test_one_connection_in_any_order", "-read]", "-write]", "-commit]", "-rollback]")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if LONG:
        return
    left_out = [item for item in items if "tests/chaos" in item.nodeid and not any(s in item.nodeid for s in SHORT)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
