"""Real signals, at moments that nobody chose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests._long import LONG
from tests.budget.host import Host, limited

TOP = Path(__file__).resolve().parents[3]
SECONDS = 60 if LONG else 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(what: str, host: Host, driver: str) -> int:
    url = host.url(driver, held=True, holdfast_headroom="0").render_as_string(hide_password=False)
    arguments = [sys.executable, "-m", "tests.pool.waiting.alarms", what, url, str(SECONDS)]
    done = subprocess.run(arguments, cwd=TOP, capture_output=True, text=True, timeout=SECONDS + 100)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return int(found["times"])


def test_alarms_that_raise_cost_no_place_and_no_slot(small: Host, driver: str) -> None:
    assert run("raise", small, driver) > 50 * SECONDS


def test_an_alarms_handler_may_use_the_engine_while_other_threads_do(driver: str) -> None:
    with limited("account", 6) as host:
        assert run("use", host, driver) > 20 * SECONDS
