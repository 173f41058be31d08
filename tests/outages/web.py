"""The sites under real web servers: uWSGI, and uvicorn for FastAPI."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy_holdfast.lab import Prefork
from sqlalchemy_holdfast.lab._ports import free_port
from tests.outages.visitors import visit

SITES = Path(__file__).parent / "sites"


@contextmanager
def uwsgi(database: str, *, processes: int, threads: int, **environment: str) -> Iterator[str]:
    """Serve the Flask site, and give its address."""
    site = Prefork(
        f"{SITES / 'flask_site.py'}:application",
        workers=processes,
        environment={"DATABASE": database, **environment},
        options=("--enable-threads", f"--threads={threads}", "--disable-logging", "--listen=100"),
    )
    try:
        yield site.start().url
    finally:
        if "SHOW_LOG" in os.environ:
            print(site.log)
        site.kill()


def uvicorn(database: str, **environment: str) -> AbstractContextManager[str]:
    """Serve the FastAPI site, and give its address."""
    command = [sys.executable, "-m", "uvicorn", "fastapi_site:app", "--no-access-log"]
    return serving(command, SITES, DATABASE=database, **environment)


@contextmanager
def serving(command: list[str], directory: Path, **environment: str) -> Iterator[str]:
    """Run a web server that is one process, and give its address."""
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command[:3], f"--port={port}", *command[3:]],
            cwd=directory,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 60
            while visit(url, "/health").status != 200:
                assert process.poll() is None, _text(log)
                assert time.monotonic() < deadline, _text(log)
                time.sleep(0.05)
            yield url
        finally:
            process.kill()
            process.wait()
            if "SHOW_LOG" in os.environ:
                print(_text(log))


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode()
