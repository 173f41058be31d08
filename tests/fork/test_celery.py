"""A real Celery worker with four processes, whose tasks module used the database before they were forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.fork.conftest import url_for
from tests.fork.scripts.running import CELERY_TABLE, TOP, environment

TASKS = 500
SECONDS = 60.0

pytest.importorskip("celery")


@pytest.mark.slow
def test_every_task_gets_its_own_answer_and_writes_once(server: Server, driver: str, tmp_path: Path) -> None:
    server.execute(
        f"CREATE OR REPLACE TABLE {CELERY_TABLE} (number INT, answer INT, connection INT, pid INT) ENGINE=InnoDB",
        database="test",
    )
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    env = {
        **environment(url_for(server, driver)),
        "FORK_TEST_FOLDER": str(tmp_path),
        "FORK_TEST_TASKS": str(TASKS),
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    site = "tests.fork.scripts.celery_site"
    subprocess.run([sys.executable, "-m", site], cwd=TOP, env=env, check=True, timeout=SECONDS)
    said = tmp_path / "said"
    options = ["--pool=prefork", "--concurrency=4", "--loglevel=WARNING"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with said.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", site, "worker", *options],
            cwd=TOP,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for_rows(server, worker)
            worker.send_signal(signal.SIGTERM)
            status = worker.wait(SECONDS)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)  # a session of its own: the worker and its processes
                worker.wait()
    words = said.read_text()
    rows = server.execute(f"SELECT number, answer, connection, pid FROM {CELERY_TABLE}", database="test")
    assert [row for row in rows if row[0] != row[1]] == []
    times = Counter(row[0] for row in rows)
    assert [number for number in range(TASKS) if times[number] != 1] == []
    owners: dict[int, set[int]] = {}
    for _, _, connection, pid in rows:
        owners.setdefault(connection, set()).add(pid)
    assert [connection for connection, pids in owners.items() if len(pids) > 1] == []
    pids = {row[3] for row in rows}
    assert len(pids) == 4
    assert worker.pid not in pids
    for word in ("ERROR", "Traceback", "Exception ignored", "raised unexpected"):
        assert word not in words, words
    assert status == 0, words


def wait_for_rows(server: Server, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and worker.poll() is None:
        ((count,),) = server.execute(f"SELECT COUNT(*) FROM {CELERY_TABLE}", database="test")
        if count >= TASKS:
            return
        time.sleep(0.05)
