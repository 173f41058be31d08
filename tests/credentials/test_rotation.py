"""The short version of `python -m tests.credentials.rotation`, all drivers at once."""

from __future__ import annotations

import gc
import logging
import random

import pytest

from tests._long import LONG
from tests.conftest import DRIVERS, MYSQLD
from tests.credentials.rotation import EVERY, Report, run_all

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(170),
    # Sockets of connects that were refused: PyMySQL 1.2 leaves them open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def assert_kept(reports: list[Report], seconds: float) -> None:
    for report in reports:
        print(report)
        assert report.kept, report
        assert report.rotations.total() >= seconds / EVERY / 3, report
        assert report.connects > seconds, report
        assert report.events["password_changed"] or report.events["previous_password_used"], "the server did refuse"
    gc.collect()


@pytest.mark.parametrize("flavour", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_nobody_sees_a_password_change(flavour: str, caplog: pytest.LogCaptureFixture) -> None:
    if flavour == "mysql" and MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    caplog.set_level(logging.ERROR, "holdfast")
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    seconds = 60.0 if LONG else 6.5
    assert_kept(run_all(DRIVERS, "holdfast", seconds, seed, MYSQLD if flavour == "mysql" else None), seconds)
