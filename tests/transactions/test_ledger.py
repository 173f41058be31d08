"""The short version of `make ledger`, all drivers at once; `make chaos` runs it for longer."""

from __future__ import annotations

import gc
import logging
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests._long import LONG
from tests.conftest import DRIVERS, MYSQLD
from tests.transactions.ledger import Transfers
from tests.transactions.ledger_report import Report

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(170),
    # Sockets of connects that failed: PyMySQL 1.2 leaves them open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def run_all(mode: str, seconds: float, executable: str | None = None) -> list[Report]:
    """All drivers at once, each on a server of its own."""
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")

    def run(driver: str) -> Report:
        return Transfers(driver, mode, seconds, seed, executable=executable).run()

    with ThreadPoolExecutor() as pool:
        return list(pool.map(run, DRIVERS))


def assert_kept(report: Report) -> None:
    print(report)
    assert report.kept, report
    assert report.told["done"] > report.seconds, report
    assert sum(report.faults.values()) > 5 * report.seconds, report


def test_nothing_is_lost_and_nothing_is_doubled(caplog: pytest.LogCaptureFixture) -> None:
    """With verification nobody sees an error; without, each COMMIT whose reply is lost is reported as unknown."""
    caplog.set_level(logging.ERROR, "holdfast")  # records keep errors alive, and with them connections
    seconds = 60.0 if LONG else 10.0  # for each of two; pyproject.toml's limit for any test is 180
    for mode in ("holdfast", "no-verify"):
        for report in run_all(mode, seconds):
            assert_kept(report)
            assert (report.told["unknown"] > 0) is (mode == "no-verify"), report
    gc.collect()  # those sockets, here and not in another test


@pytest.mark.mysql
def test_nothing_is_lost_and_nothing_is_doubled_on_mysql(caplog: pytest.LogCaptureFixture) -> None:
    """MySQL ends sessions and shows them in its own way, and takes longer to start."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    caplog.set_level(logging.ERROR, "holdfast")
    for report in run_all("holdfast", 60.0 if LONG else 20.0, MYSQLD):
        assert report.server.startswith("MySQL"), report
        assert_kept(report)
    gc.collect()
