"""Processes that are killed give their connections back, and nobody else notices."""

from __future__ import annotations

import pytest

from tests._long import LONG
from tests.budget.cases import killed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


def test_a_killed_process_costs_no_other_one_a_request_and_no_place(driver: str) -> None:
    found = killed(driver, 60.0 if LONG else 4.0, kills_at_least=200 if LONG else 8)
    assert not found.seen.failed, str(found.seen)
    assert (found.seen.lost, found.seen.doubled) == (0, 0), str(found.seen)
    assert found.unanswered <= 3 * found.kills, "no more than what the killed had taken along"
    assert found.places == found.seen.limit
