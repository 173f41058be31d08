"""The short version of `python -m tests.credentials.rotation`, all drivers at once."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests._long import LONG
from tests.conftest import DRIVERS, MYSQLD
from tests.credentials.rotation import Report, run_all

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(170),
]


def assert_kept(reports: list[Report], seconds: float) -> None:
    for report in reports:
        print(report)
        assert report.kept, report
        assert report.rotations.total() >= 1, report
        assert report.connects > seconds, report
        # A gap may be over before anybody has to log in: then nobody notices.
    seen = sum((report.events for report in reports), Counter())
    assert seen["password_changed"] or seen["previous_password_used"], "the server has refused somebody"


@pytest.mark.parametrize("flavour", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_nobody_sees_a_password_change(flavour: str) -> None:
    if flavour == "mysql" and MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    seconds = 60.0 if LONG else 6.5
    assert_kept(run_all(DRIVERS, "holdfast", seconds, seed, MYSQLD if flavour == "mysql" else None), seconds)
