"""The short version of `python -m tests.transactions.chaos`, all drivers at once; `make chaos` runs it for longer."""

from __future__ import annotations

import gc
import logging
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests._long import LONG
from tests.conftest import DRIVERS
from tests.transactions.chaos import Chaos, Report


def run(driver: str, mode: str, seconds: float) -> Report:
    return Chaos(driver, mode, seconds, random.SystemRandom().randrange(1 << 30)).run()


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of connects that failed: PyMySQL 1.2 leaves them open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_lost_and_nothing_is_doubled(caplog: pytest.LogCaptureFixture) -> None:
    """With verification nobody sees an error; without, each COMMIT whose reply is lost is reported as unknown."""
    caplog.set_level(logging.ERROR, "holdfast")  # records keep errors alive, and with them connections
    seconds = 60.0 if LONG else 25.0  # for each of two; pyproject.toml's limit for any test is 180
    for mode in ("holdfast", "no-verify"):
        with ThreadPoolExecutor() as pool:
            reports = list(pool.map(lambda driver: run(driver, mode, seconds), DRIVERS))  # noqa: B023
        for report in reports:
            print(report)
            assert report.right, report
            assert report.told["failed"] == 0, report
            assert report.told["done"] > seconds, report
            assert sum(report.faults.values()) > 5 * seconds, report
            assert (report.told["unknown"] > 0) is (mode == "no-verify"), report
    gc.collect()  # those sockets, here and not in another test
