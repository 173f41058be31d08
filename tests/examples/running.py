"""Running an example as its reader does, in a process of its own, and visiting it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

from sqlalchemy_holdfast.lab import Server

T = TypeVar("T")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_DEADLINE_SECONDS = 60


class Answer(NamedTuple):
    status: int
    text: str
    location: str | None


def visit(site: str, path: str = "/", form: Mapping[str, str] | None = None) -> Answer:
    """GET a page, or POST a form to it. Redirects are not followed."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return send(site, path, urlencode(form) if form is not None else None, headers if form is not None else {})


def send(site: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(), answer.getheader("Location"))
    finally:
        connection.close()


def environment(database_url: str | None = None, **more: str) -> dict[str, str]:
    """This process's, with the programs of its virtual environment first and no database but the given one."""
    unwanted = ("DATABASE_URL", "FLASK_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["PYTHONUNBUFFERED"] = "1"
    return {**env, **({"DATABASE_URL": database_url} if database_url else {}), **more}


def run(command: str | list[str], directory: Path, env: Mapping[str, str]) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_DEADLINE_SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@contextmanager
def served(command: list[str], directory: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Start a server, yield the address that it prints, and end it."""
    log = directory / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=file, stderr=subprocess.STDOUT)
    try:

        def address() -> str:
            assert process.poll() is None, log.read_text()
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text())
            return found.group() if found else ""

        yield eventually(address)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_DEADLINE_SECONDS)
        finally:
            process.kill()


def eventually(condition: Callable[[], T]) -> T:
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return found


def end_idle_connections(server: Server) -> None:
    """Kill the connections of an example, and wait until the server has none of them any more."""
    assert server.kill_connections() > 0
    eventually(lambda: not server.processlist(user="app"))


def address(server: Server, driver: str, database: str = "test", **query: str) -> str:
    """What the reader puts into DATABASE_URL."""
    return server.url(driver, database=database, query=query).render_as_string(hide_password=False)
