"""The ASGI and the WSGI middleware: 503 and Retry-After for a request that cannot get a connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import OperationalError
from werkzeug.test import Client

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import asgi, unavailable, wsgi
from sqlalchemy_holdfast._pages import page
from tests.conftest import EngineFactory, read


@pytest.fixture
def away(held: EngineFactory) -> Iterator[Engine]:
    """An engine whose server is not there: its port is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = holdfast.url("u", "Kx7qZv9w", "127.0.0.1", "d", port=bound.getsockname()[1], driver="pymysql")
        yield held(make_url(url), holdfast_wait_for_server="off")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unavailable, "_last_said", {})


def site(engine: Engine, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(asgi.HoldfastMiddleware)

    @app.get("/")
    def index() -> str:
        return str(read(engine))

    @app.get("/bug")
    def bug() -> str:
        raise KeyError("bug")

    @app.get("/begun")
    def begun() -> StreamingResponse:
        def parts() -> Iterator[str]:
            yield "begun"
            yield str(read(engine))

        return StreamingResponse(parts())

    @app.middleware("http")
    async def another(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        return await call_next(request)

    return app


def test_fastapi_answers_503(away: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(site(away)) as client:
        for _ in range(2):
            answer = client.get("/", headers={"Accept": "text/html"})
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert "cannot reach its database" in answer.text
        answer = client.get("/", headers={"Accept": "application/json"})
        assert "cannot reach its database" in answer.json()["detail"]
        assert client.head("/").status_code == 405
    lines = [record.getMessage() for record in caplog.records if record.name == "holdfast.web"]
    assert len(lines) == 1, "once in a row"
    assert "Kx7qZv9w" not in lines[0]
    assert "nothing answers there: the machine is reached" in lines[0]
    assert lines[0].endswith(page("errors/2003"))


def test_another_error_goes_on(away: Engine) -> None:
    with TestClient(site(away)) as client, pytest.raises(KeyError):
        client.get("/bug")


def test_an_error_after_the_response_has_begun_goes_on(away: Engine) -> None:
    with TestClient(site(away)) as client, pytest.raises(OperationalError):
        client.get("/begun")


def test_in_debug_mode_the_error_is_shown(away: Engine) -> None:
    with TestClient(site(away, debug=True)) as client, pytest.raises(OperationalError):
        client.get("/")


def test_the_applications_own_handler_wins(away: Engine) -> None:
    app = site(away)

    @app.exception_handler(OperationalError)
    def ours(request: Request, error: OperationalError) -> PlainTextResponse:
        return PlainTextResponse("ours", 418)

    with TestClient(app) as client:
        assert client.get("/").text == "ours"


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_no_http_request_is_passed_on(kind: str) -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.append(arguments)
        raise holdfast.CheckoutTimeout("what")

    scope: dict[str, Any] = {"type": kind}

    async def nothing(*message: Any) -> Any:
        raise AssertionError

    with pytest.raises(holdfast.CheckoutTimeout):
        asyncio.run(asgi.HoldfastMiddleware(app)(scope, nothing, nothing))
    assert seen == [(scope, nothing, nothing)]


def call(app: Callable[..., Any], **environ: str) -> tuple[str, dict[str, str], bytes]:
    begun: list[Any] = []
    body = b"".join(
        wsgi.HoldfastMiddleware(app)({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}, lambda *a: begun.append(a))
    )
    return begun[-1][0], dict(begun[-1][1]), body


def test_a_wsgi_application_answers_503(away: Engine) -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", []) if environ["PATH_INFO"] == "/begun" else None
        return [str(read(away)).encode()]

    status, headers, body = call(app)
    assert status == "503 Service Unavailable"
    assert int(headers["Retry-After"]) >= 1
    assert int(headers["Content-Length"]) == len(body)
    assert call(app, REQUEST_METHOD="HEAD")[2] == b""
    assert "database" in json.loads(call(app, HTTP_ACCEPT="application/json")[2])["detail"]
    with pytest.raises(OperationalError):
        call(app, PATH_INFO="/begun")


def test_a_wsgi_application_answers_503_under_werkzeugs_test_client(away: Engine) -> None:
    """It raises what start_response is told of as exc_info."""
    answer = Client(wsgi.HoldfastMiddleware(lambda environ, start: [str(read(away)).encode()])).get("/")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_wsgi_application_that_works_is_left_alone() -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [("X-Own", "yes")])
        return [b"well"]

    assert call(app) == ("200 OK", {"X-Own": "yes"}, b"well")
