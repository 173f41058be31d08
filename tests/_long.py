"""What `make test` leaves to `make chaos`, which sets HOLDFAST_CHAOS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import pytest

__all__ = ["LONG", "leave_out"]

LONG = bool(os.environ.get("HOLDFAST_CHAOS"))
"""This is `make chaos`."""


def leave_out(config: pytest.Config, items: list[pytest.Item], patterns: Iterable[str]) -> None:
    """Deselect the tests whose node ids match one of the patterns, unless this is the long run."""
    if LONG:
        return
    left_out = {item for item in items if any(re.search(pattern, item.nodeid) for pattern in patterns)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
