"""A server that goes away for some seconds: whoever asks for a connection then waits for it."""

from __future__ import annotations

import pytest

from tests._long import LONG
from tests.budget.cases import How, restarted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_who_asks_for_a_connection_during_a_restart_gets_it_afterwards(driver: str, how: How) -> None:
    found = restarted(driver, how, times=5 if LONG else 1, away=(1.0, 3.0) if LONG else (0.5, 0.5), between=0.5)
    assert not found.others, str(found.seen)
    assert (found.seen.lost, found.seen.doubled) == (0, 0), str(found.seen)
    assert found.seen.longest_wait >= 0.5, "the server was away, and somebody asked it"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_entries_made_by_run_are_all_there_once_and_all_acknowledged(driver: str, how: How) -> None:
    found = restarted(
        driver, how, repeat=True, times=5 if LONG else 1, away=(1.0, 3.0) if LONG else (0.5, 0.5), between=0.5
    )
    seen = found.seen
    assert not [outcome for outcome in seen.failed if outcome.step in ("insert", "commit")], str(seen)
    assert (seen.lost, seen.doubled, seen.unknown) == (0, 0, 0), str(seen)


@pytest.mark.parametrize("name", ["mysqldb"])
def test_stock_fails_in_the_same_harness(name: str) -> None:
    found = restarted(name, "kill", held=False, times=1, away=(0.2, 0.2), between=0.3)
    assert {outcome.failed for outcome in found.others} >= {"2002"}, str(found.seen)
