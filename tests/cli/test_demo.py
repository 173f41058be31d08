"""The demonstration shows what it claims to show; what it prints is left to the eye."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlalchemy_holdfast.cli.demo.command import _part as play
from sqlalchemy_holdfast.cli.demo.parts import PARTS
from sqlalchemy_holdfast.cli.tables import make_console
from sqlalchemy_holdfast.experiments import prefork
from sqlalchemy_holdfast.lab import Server
from tests.conftest import DRIVERS

pytestmark = pytest.mark.slow

DEMO = [sys.executable, "-m", "sqlalchemy_holdfast", "demo", "--quick"]

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    file = tmp_path_factory.mktemp("demo") / "results.json"
    done = subprocess.run([*DEMO, "--json", str(file)], capture_output=True, text=True, timeout=110)
    assert file.exists(), done.stdout + done.stderr
    return done, json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def results(finished: tuple[subprocess.CompletedProcess[str], dict[str, Any]]) -> dict[str, Any]:
    return finished[1]


def of(rows: Rows, contender: str, **more: str) -> Rows:
    chosen = [row for row in rows if row["contender"] == contender]
    return [row for row in chosen if all(row[key] == value for key, value in more.items())]


def test_it_ends_well_and_fits_a_terminal(
    finished: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done, results = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert results["holdfast_failures"] == 0
    assert results["seconds"] < 100


def test_no_request_failed_with_holdfast_and_some_did_without(results: dict[str, Any]) -> None:
    rows: Rows = results["lost"]
    ours, theirs = of(rows, "holdfast"), of(rows, "stock")
    assert {row["driver"] for row in ours} == set(DRIVERS)
    assert len(ours) == len(theirs) == len(DRIVERS) * 5
    for row in ours:
        assert row["requests"] >= 2
        assert (row["failed"], row["wrong"], row["later_failed"]) == (0, 0, 0), row["errors"]
        assert row["signed"] == row["entries"]
        assert "closed by the server" in row["counters"]
    for row in theirs:
        assert row["failed"] > 0, row
        assert row["signed"] == row["entries"]


@pytest.mark.parametrize(
    ("unit", "commands", "waits"), [("core_read", 2, 1), ("orm_read", 2, 1), ("orm_write", 2, 2), ("empty", 0, 0)]
)
def test_a_request_waits_for_its_own_statements(results: dict[str, Any], unit: str, commands: int, waits: int) -> None:
    rows: Rows = results["waits"]
    for driver in DRIVERS:
        figures = {row["contender"]: row for row in rows if (row["driver"], row["unit"]) == (driver, unit)}
        assert figures["holdfast"]["commands"] == commands
        assert figures["holdfast"]["waits"] == pytest.approx(waits, abs=0.8)
        assert figures["holdfast"]["waits"] < figures["stock"]["waits"] < figures["pool_pre_ping"]["waits"]


def test_nobody_is_told_what_is_not_true(results: dict[str, Any]) -> None:
    rows: Rows = results["out_of_sync"]
    assert {row["story"] for row in of(rows, "holdfast")} == {"book", "read"}
    assert {row["outcome"] for row in of(rows, "holdfast")} == {"right"}
    for without in ("stock", "pool_pre_ping"):
        assert "wrong" in {row["outcome"] for row in of(rows, without, story="book")}


def test_forked_workers_answer_their_own_clients(results: dict[str, Any]) -> None:
    rows: Rows = results["prefork"]
    ours, theirs = of(rows, "holdfast"), of(rows, "stock")
    assert [row["driver"] for row in ours] == [row["driver"] for row in theirs] == list(DRIVERS)
    for row in ours:
        assert row["sent"] == row["right"] >= 200
        assert (row["lost"], row["doubled"], row["import_committed"]) == (0, 0, 0)
    for row in theirs:
        assert row["wrong"] + row["errors"] + row["hangs"] > 0, row


def test_without_a_prefork_server_its_part_says_what_is_missing(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prefork, "available", lambda: None)
    part = next(part for part in PARTS if part.key == "prefork")
    assert not play(make_console(), 4, part, server, DRIVERS, quick=True)
    assert "pip install gunicorn" in capsys.readouterr().out


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_ctrl_c_ends_it_in_order(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("1. "):  # the first part begins: the server runs
            break
    servers = children(running.pid)
    assert servers
    running.send_signal(signal.SIGINT)
    rest, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "private server is gone" in rest
    assert errors == ""
    assert not [pid for pid in servers if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children (Linux)."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        pytest.skip("this system does not list a process's children")
    return [int(word) for word in words]
