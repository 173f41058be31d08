"""Other people's instrumentation goes on working around a held connection, and the connection inside is held."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import DRIVERS
from tests.instrumentation.traced import LAST

ROOT = Path(__file__).parents[2]
PROXIES = {
    "otel_mysqldb": "opentelemetry.",
    "otel_pymysql": "opentelemetry.",
    "ddtrace_mysqldb": "ddtrace.",
    "ddtrace_pymysql": "ddtrace.",
    "ddtrace_mysqlconnector": "ddtrace.",
}
"""Tracers that put a proxy around the connection, and what the name of its class starts with."""
CASES = [(tracer, tracer.partition("_")[2]) for tracer in PROXIES] + [
    (tracer, driver) for tracer in ("otel_sqlalchemy", "ddtrace_sqlalchemy", "sentry") for driver in DRIVERS
]


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    """Where an agent would listen and nobody answers, so that whatever a tracer may try stays here and is seen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def requests(agent: socket.socket) -> list[str]:
    """The first lines of what was sent to the agent."""
    lines: list[str] = []
    while True:
        try:
            connection, _ = agent.accept()
        except BlockingIOError:
            return lines
        with connection:
            lines.append(connection.recv(4096).decode("latin-1").partition("\r\n")[0])


@pytest.fixture
def traced(server: Server) -> Iterator[None]:
    server.execute("CREATE OR REPLACE TABLE traced (n INT) ENGINE=InnoDB", database="test")
    yield
    server.execute("DROP TABLE traced", database="test")


def run(server: Server, tracer: str, driver: str, agent: socket.socket) -> dict[str, Any]:
    """Run `traced` in a process of its own; kill its idle connection when it says so."""
    query = {"plugin": "holdfast"} | ({"use_pure": "1"} if driver == "mysqlconnector" else {})
    url = server.url(driver, query=query).render_as_string(hide_password=False)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DD_", "OTEL_", "SENTRY_"))},
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.getsockname()[1]}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
        "PYTHONPATH": str(ROOT),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.instrumentation.traced", tracer, url],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            server.kill_connection(json.loads(line)["id"])
            out, errors = process.communicate("killed\n", timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("tracer", "driver"), CASES)
def test_spans_are_made_and_the_connection_is_held(
    server: Server, tracer: str, driver: str, agent: socket.socket
) -> None:
    found = run(server, tracer, driver, agent)
    assert found["answers"] == found["asked"], "a wrong answer"
    assert found["held"], found["layers"]
    assert found["held below its wrapper"], "unwrap() did not get to the driver's own connection"
    assert (len(found["layers"]) > 1) is (tracer in PROXIES)
    assert found["layers"][0].startswith(PROXIES.get(tracer, found["layers"][0]))

    assert found["replaced before"] == {}
    assert found["replaced"] == {Cause.CLOSED: 1}
    assert found["connects"] == 2
    assert found["deferred"] >= 12, "every read's ROLLBACK, and that of the write that was given up"
    assert found["skipped"] == 1, "after the COMMIT"

    for statement in ("SELECT 100", "INSERT INTO traced VALUES (1)", "SELECT CONNECTION_ID()", f"SELECT {LAST}"):
        spans = [span for span in found["statements"] if span == statement]
        assert len(spans) == 1, f"{len(spans)} spans for {statement}"
    assert server.execute("SELECT n FROM traced", database="test") == [(1,)]
    assert set(requests(agent)) <= {"GET /info HTTP/1.1"}, "ddtrace asks what an agent can do, and sends nothing"
