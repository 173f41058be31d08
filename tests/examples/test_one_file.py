"""The examples of one file each run as their first lines say, on SQLite and on MariaDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.examples.running import EXAMPLES, address, end_idle_connections, environment, run, send, served

pytestmark = pytest.mark.slow

UVICORN = [sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", str(EXAMPLES), "fastapi_site:app"]
JSON = {"Content-Type": "application/json"}


def test_the_script_runs_on_sqlite_with_no_configuration(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "script.py"), "--pause", "0"]
    printed = run(command, tmp_path, environment())
    assert "3 numbers, " in printed
    assert "6 numbers, " in run(command, tmp_path, environment())
    assert "is not held: sqlite is not MySQL or MariaDB" in printed
    assert os.listdir(tmp_path) == ["numbers.db"]


def test_the_script_goes_on_when_its_connection_is_killed_in_a_pause(server: Server, tmp_path: Path) -> None:
    server.execute("DROP TABLE IF EXISTS number", database="test")
    command = [sys.executable, str(EXAMPLES / "script.py"), "--times", "2", "--pause", "2"]
    env = environment(address(server, "pymysql"))
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"1 numbers, " in process.stdout.readline()
        end_idle_connections(server)
        printed, log = (text.decode() for text in process.communicate(timeout=60))
    assert process.returncode == 0, log
    assert "2 numbers, " in printed
    assert "is held" in printed
    assert "replaced: 1 closed by the server" in printed
    assert "replaced a pooled connection before use" in log
    assert server.execute("SELECT COUNT(*) FROM number", database="test") == [(2,)]
    server.execute("DROP TABLE number", database="test")


def add(site: str, text: str) -> tuple[int, dict[str, object]]:
    answer = send(site, "/notes", json.dumps({"text": text}), JSON)
    return answer.status, json.loads(answer.text)


def read(site: str, path: str) -> tuple[int, object]:
    answer = send(site, path, None, {})
    return answer.status, json.loads(answer.text)


def test_the_fastapi_site_runs_on_sqlite_with_no_configuration(tmp_path: Path) -> None:
    with served(UVICORN, tmp_path, environment()) as site:
        assert add(site, "Buy milk") == (201, {"id": 1, "text": "Buy milk"})
        assert read(site, "/notes/1") == (200, {"id": 1, "text": "Buy milk"})
        assert read(site, "/notes/2")[0] == 404
        assert add(site, "")[0] == 422
    assert (tmp_path / "notes.db").exists()


def test_the_fastapi_site_serves_on_when_its_connections_are_killed(server: Server, tmp_path: Path) -> None:
    server.execute("DROP TABLE IF EXISTS note", database="test")
    with served(UVICORN, tmp_path, environment(address(server, "pymysql"))) as site:
        for number in (1, 2, 3):
            assert add(site, f"note {number}") == (201, {"id": number, "text": f"note {number}"})
            end_idle_connections(server)
            assert read(site, "/notes/1") == (200, {"id": 1, "text": "note 1"})
            end_idle_connections(server)
        status, notes = read(site, "/notes")
    assert (status, [note["text"] for note in notes]) == (200, ["note 3", "note 2", "note 1"])  # type: ignore[attr-defined]
    assert server.execute("SELECT COUNT(*) FROM note", database="test") == [(3,)]
    server.execute("DROP TABLE note", database="test")
