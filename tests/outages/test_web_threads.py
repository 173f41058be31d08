"""holdfast knows how many threads a process of the web server has: asked inside of each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from sqlalchemy_holdfast.asgi import HoldfastMiddleware
from sqlalchemy_holdfast.lab import Prefork
from sqlalchemy_holdfast.lab.site._web import Kind
from sqlalchemy_holdfast.pool import web_threads
from tests.outages.visitors import visit
from tests.outages.web import serving

APP = """
from sqlalchemy_holdfast.pool.web_threads import web_threads

IMPORTED = web_threads()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{IMPORTED} {web_threads()}".encode()]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "threads"),
    [
        ("uwsgi", ("--enable-threads", "--threads=4"), 4),
        ("uwsgi", ("--enable-threads",), 1),
        ("gunicorn", ("--threads=3",), 3),
        ("gunicorn", (), 1),
        ("gunicorn", ("--worker-class=gevent",), None),
    ],
    ids=lambda value: "-".join(value).replace("--", "") or "plain" if isinstance(value, tuple) else str(value),
)
def test_a_thread_of_a_web_server_is_told_from_one_that_imports_the_application(
    tmp_path: Path, kind: Kind, options: tuple[str, ...], threads: int | None
) -> None:
    (tmp_path / "app.py").write_text(APP)
    site = Prefork(f"{tmp_path / 'app.py'}:application", kind=kind, workers=1, options=options)
    try:
        assert visit(site.start().url, "/").text == f"None {threads}", "it is imported before the fork"
    finally:
        site.kill()


@pytest.mark.slow
def test_waitress_has_as_many_as_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "waitress", "--threads=5", "app:application"]
    with serving(command, tmp_path) as url:
        assert visit(url, "/").text == "None 5"


def test_fastapi_has_as_many_as_anyios_limiter_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_threads, "_anyio_threads", web_threads.ANYIO_THREADS)
    app, asked = FastAPI(), FastAPI()
    asked.add_middleware(HoldfastMiddleware)
    asked.mount("/", app)

    @app.get("/", response_class=PlainTextResponse)
    def in_a_thread() -> str:
        return str(web_threads.web_threads())

    @app.get("/loop", response_class=PlainTextResponse)
    async def in_the_event_loop() -> str:
        return str(web_threads.web_threads())

    @app.get("/fewer")
    async def fewer() -> None:
        import anyio.to_thread

        anyio.to_thread.current_default_thread_limiter().total_tokens = 7

    with TestClient(app) as client:
        assert client.get("/").text == "40"
        assert client.get("/loop").text == "None"
    with TestClient(asked) as client:
        client.get("/fewer")
        assert client.get("/").text == "7", "the middleware has asked"


def test_a_script_has_none() -> None:
    assert web_threads.web_threads() is None
