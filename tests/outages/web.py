"""The sites under real web servers: uWSGI, and uvicorn for FastAPI."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def uvicorn(database: str, **environment: str) -> Iterator[str]:
    """Serve the FastAPI site, and give its address."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "uvicorn", "fastapi_site:app", f"--port={port}", "--no-access-log"]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=SITES,
            env={**os.environ, "DATABASE": database, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 60
            while visit(url, "/health").status != 200:
                log.seek(0)
                assert process.poll() is None, log.read().decode()
                assert time.monotonic() < deadline, log.read().decode()
                time.sleep(0.05)
            yield url
        finally:
            process.kill()
            process.wait()
            if "SHOW_LOG" in os.environ:
                log.seek(0)
                print(log.read().decode())
