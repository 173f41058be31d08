"""A request that cannot get a connection: 503 and Retry-After, unless the application has its own way."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import unavailable
from sqlalchemy_holdfast._pages import page as page_of
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.flask.conftest import uri

SECRET = "Kx7qZv9w"


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which nothing listens, and stays so: it is bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in a row is told to the log; each test is one."""
    monkeypatch.setattr(unavailable, "_last_said", {})


def site(port: int, driver: str = "pymysql", **config: Any) -> Flask:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"mysql+{driver}://somebody:{SECRET}@127.0.0.1:{port}/shop"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"holdfast_wait_for_server": "off"}
    app.config.update(config)
    db = SQLAlchemy(app)

    @app.get("/")
    def page() -> str:
        return str(db.session.execute(text("SELECT 1")).scalar())

    @app.get("/timeout")
    def timeout() -> str:
        raise holdfast.CheckoutTimeout("nobody returned one")

    @app.get("/commit")
    def commit() -> str:
        raise holdfast.CommitOutcomeUnknown("what", ConnectionError(2003, "lost"))

    @app.get("/bug")
    def bug() -> str:
        raise KeyError("bug")

    return app


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert SECRET not in answer.text


def test_nothing_answers(port: int, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    client = site(port, driver).test_client()
    for _ in range(3):
        answer = client.get("/?q=secret")
        assert_unavailable(answer)
        assert "cannot reach its database" in answer.text
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.name == "holdfast.web"
    said = line.getMessage()
    assert said.startswith("GET / is answered with 503")
    assert f"127.0.0.1:{port}" in said or "127.0.0.1" in said
    assert "nothing answers there: the machine is reached" in said
    assert "are host and port right?" in said
    assert said.endswith(page_of("errors/2003"))
    assert "secret" not in said
    assert SECRET not in said
    assert line.exc_info is None, "no traceback"


def test_no_connection_became_free(port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert_unavailable(site(port).test_client().get("/timeout"))
    assert "nobody returned one" in caplog.text


@pytest.mark.parametrize("path", ["/commit", "/bug"])
def test_any_other_error_is_as_in_flask(port: int, path: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = site(port).test_client().get(path)
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    assert "Traceback" in caplog.text


def test_a_wrong_password_is_no_passing_trouble(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    assert site(server.port).test_client().get("/").status_code == 500
    assert "1045" in caplog.text


def test_a_server_that_hangs_up_while_it_greets_is_away_too(server: Server, proxy: Proxy) -> None:
    """The error has a number that a COMMIT may have as well, but it was raised while connecting."""
    app = site(proxy.port)
    proxy.truncate_reply(10)
    assert_unavailable(app.test_client().get("/"))


@pytest.mark.parametrize("what", [OperationalError, Exception])
def test_the_applications_handler_for_the_error_wins(port: int, what: type[Exception]) -> None:
    app = site(port)
    app.register_error_handler(what, lambda error: ("ours", 418))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (418, "ours")
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("what", [503, HTTPException])
def test_the_applications_page_for_503_is_shown(port: int, what: int | type[Exception]) -> None:
    app = site(port)
    app.register_error_handler(what, lambda error: (f"ours for {error.code}", error.code))
    answer = app.test_client().get("/")
    assert_unavailable(answer)
    assert answer.text == "ours for 503"


def test_the_applications_page_for_500_is_shown_with_the_right_status(port: int) -> None:
    app = site(port)
    app.register_error_handler(500, lambda error: (f"ours for {type(error.original_exception).__name__}", 500))
    answer = app.test_client().get("/")
    assert_unavailable(answer)
    assert answer.text == "ours for OperationalError"


@pytest.mark.parametrize("what", [503, 500, HTTPException])
def test_a_handler_that_returns_a_text_alone_answers_503(port: int, what: int | type[Exception]) -> None:
    """Flask gives such a page the status 200."""
    app, seen = site(port), []
    app.register_error_handler(what, lambda error: "ours")

    @app.after_request
    def note(response: Response) -> Response:
        seen.append(response.status_code)
        return response

    answer = app.test_client().get("/")
    assert_unavailable(answer)
    assert answer.text == "ours"
    assert seen == [503], "what runs after each request sees it, too"


def test_a_handler_that_names_another_status_keeps_it(port: int) -> None:
    app = site(port)
    app.register_error_handler(503, lambda error: ("over there", 302, {"Location": "/status"}))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (302, "over there")
    assert "Retry-After" not in answer.headers


def test_a_page_for_500_that_needs_the_database_is_not_needed(port: int) -> None:
    app = site(port)
    db = app.extensions["sqlalchemy"]

    @app.errorhandler(500)
    def page(error: Exception) -> tuple[str, int]:
        return str(db.session.execute(text("SELECT 1")).scalar()), 500

    assert_unavailable(app.test_client().get("/"))


@pytest.mark.parametrize("config", [{"DEBUG": True}, {"TESTING": True}, {"PROPAGATE_EXCEPTIONS": True}])
def test_where_flask_shows_the_error_it_does(port: int, config: dict[str, Any]) -> None:
    with pytest.raises(OperationalError):
        site(port, **config).test_client().get("/")


def test_it_can_be_switched_off(port: int) -> None:
    assert site(port, HOLDFAST_503=False).test_client().get("/").status_code == 500


def test_what_runs_after_each_request_runs(port: int) -> None:
    app = site(port)

    @app.after_request
    def mark(response: Response) -> Response:
        response.headers["X-Mark"] = "yes"
        return response

    assert app.test_client().get("/").headers["X-Mark"] == "yes"


def test_it_works_on_a_live_server_as_before(server: Server, driver: str) -> None:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
    db = SQLAlchemy(app)
    app.add_url_rule("/", view_func=lambda: str(db.session.execute(text("SELECT 7")).scalar()))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (200, "7")
    with app.app_context():
        db.engine.dispose()
