"""Running the scripts of this folder: each is a program of its own, so that nothing of pytest's is forked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import URL

TOP = Path(__file__).resolve().parents[3]
LONG = bool(os.environ.get("HOLDFAST_CHAOS"))
THREADS_TABLE = "fork_threads"
WAYS_TABLE = "fork_ways"
CELERY_TABLE = "fork_celery"

_BEGIN = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-m"]


def environment(url: URL) -> dict[str, str]:
    return {**os.environ, "FORK_TEST_URL": url.render_as_string(hide_password=False)}


def run(script: str, url: URL, *arguments: str, seconds: float = 90.0) -> Any:
    """Run a script and return what its last line of output says, as JSON. Its standard error must stay empty."""
    with subprocess.Popen(
        [*_BEGIN, f"tests.fork.scripts.{script}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=TOP,
        env=environment(url),
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: this script and what it forked
            raise
    assert (process.returncode, error) == (0, ""), f"exit status {process.returncode}\n{out}\n{error}"
    return json.loads(out.splitlines()[-1])
