"""With what else an application does: its listeners, Flask, an engine that is not held, gevent; and what is shown."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pymysql
import pytest
from flask import Flask
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.urls.trying import attempt
from tests.conftest import read
from tests.credentials.conftest import Account, Make


def test_a_listener_sees_no_password_and_may_give_one(driver: str, logs_in: Make, account: Account) -> None:
    """The application's do_connect listener comes first: what it puts in is used, and nobody is asked."""
    asked, seen = [], []

    def ask() -> str:
        asked.append(1)
        return account.password

    engine = logs_in(driver, holdfast_password=ask)

    @event.listens_for(engine, "do_connect")
    def listen(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
        seen.append(dict(cparams))
        if len(seen) > 1:
            cparams["password"] = account.password

    assert read(engine, 7) == 7
    engine.dispose()
    assert read(engine, 8) == 8
    assert (len(asked), len(seen)) == (1, 2)
    assert not account.shows(seen)


def test_a_listeners_wrong_password_is_its_own(logs_in: Make, account: Account) -> None:
    engine = logs_in(holdfast_password=lambda: account.password)

    @event.listens_for(engine, "do_connect")
    def listen(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
        cparams["password"] = "wrong"

    with pytest.raises(DBAPIError, match="1045"):
        read(engine)


def test_a_listener_that_connects_by_itself(server: Server, logs_in: Make) -> None:
    engine = logs_in(holdfast_password_file="/nowhere/secret")

    @event.listens_for(engine, "do_connect")
    def listen(*arguments: Any) -> Any:
        return pymysql.connect(host=server.host, port=server.port, user="app", password="app", charset="utf8mb4")

    assert read(engine, 7) == 7


def test_it_logs_in_while_holdfast_does_nothing_else(driver: str, logs_in: Make, account: Account) -> None:
    engine = logs_in(driver, holdfast_enabled=False, holdfast_password=lambda: account.password)
    assert read(engine, 7) == 7
    assert not holdfast.status(engine).active


def test_it_logs_in_with_a_module_of_the_applications(logs_in: Make, account: Account) -> None:
    module: Any = ModuleType("theirs")
    vars(module).update(vars(pymysql))
    module.__name__ = "theirs"
    engine = logs_in(module=module, holdfast_password=lambda: account.password)
    assert read(engine, 7) == 7
    assert holdfast.status(engine).active


def test_it_logs_in_after_a_wait_for_the_server(proxy: Proxy, driver: str, account: Account, logs_in: Make) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        if len(asked) == 2:
            proxy.restore()
        return account.password

    address = logs_in(driver).url.set(host=proxy.host, port=proxy.port)
    engine = holdfast.create_engine(address, holdfast_password=ask)
    proxy.refuse()
    assert read(engine, 7) == 7
    assert len(asked) == 2, "asked at each try: it may have run out meanwhile"
    engine.dispose()


def test_a_url_that_is_tried(logs_in: Make, account: Account, secret: Path) -> None:
    address = logs_in().url.update_query_dict({"plugin": "holdfast", "holdfast_password_file": str(secret)})
    tried = attempt(address, holdfast.create_engine)
    assert tried.server is not None
    assert tried.server.account == f"{account.name}@%"
    secret.unlink()
    assert "there is no file" in attempt(address, holdfast.create_engine).problem


def test_flask(server: Server, account: Account) -> None:
    app = Flask("changing")
    url = server.url("pymysql", user=account.name, password="")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"holdfast_password": lambda: account.password}
    app.config["SQLALCHEMY_BINDS"] = {"archive": {"url": url, "holdfast_password": lambda: account.password}}
    db = SQLAlchemy(app)
    with app.app_context():
        for number in (7, 8):
            assert db.session.execute(text(f"SELECT {number}")).scalar() == number
            assert read(db.engines["archive"], number) == number
            account.change()
            db.session.remove()
            db.engine.dispose()
            db.engines["archive"].dispose()
        db.engine.dispose()


def test_it_is_shown_nowhere(
    driver: str, logs_in: Make, account: Account, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in what SQLAlchemy and holdfast log, not in a repr, not in an error or its traceback."""
    caplog.set_level(logging.DEBUG, "holdfast")
    caplog.set_level(logging.DEBUG, "sqlalchemy")
    engine: Engine = logs_in(driver, echo="debug", holdfast_password=lambda: holdfast.Password(account.password, 3600))
    read(engine)
    engine.dispose()
    old = account.password
    account.change()
    read(engine)
    with engine.connect() as connection:
        shown = [repr(connection), repr(connection.connection), repr(connection.connection.dbapi_connection)]
    status: Any = holdfast.status(engine)
    shown += [repr(engine), str(engine.url), engine.url.render_as_string(hide_password=False), repr(engine.pool)]
    shown += [repr(status), repr(status.settings), repr(status._passwords), repr(vars(status._passwords))]
    shown += [repr(status._passwords._asking._turns)]
    account.change()
    account.password = old
    engine.dispose()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqlalchemy_holdfast.credentials.passwords.GAP", 0.0)
        with pytest.raises(DBAPIError) as caught:
            read(engine)
    shown += ["".join(traceback.format_exception(caught.value)), caplog.text, *capsys.readouterr()]
    assert any("accepted the new one of holdfast_password" in text for text in shown)
    assert [text for text in shown if account.shows(text)] == []


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
import sqlalchemy_holdfast as holdfast
from sqlalchemy import text
url, path = sys.argv[1:]
asked = []
def ask():
    asked.append(1)
    gevent.sleep(0.1)
    return holdfast.Password(open(path).read(), 60)
engine = holdfast.create_engine(url, holdfast_password=ask, pool_size=20)
def read(number):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {number}, SLEEP(0.05)")).one()[0]
found = [greenlet.get(timeout=60) for greenlet in [gevent.spawn(read, number) for number in range(20)]]
command = holdfast.create_engine(url, holdfast_password_command=["cat", path])
with command.connect() as connection:
    found.append(connection.execute(text("SELECT 20")).scalar())
print(found == list(range(21)), len(asked))
"""


@pytest.mark.slow
def test_greenlets_ask_once(account: Account, secret: Path) -> None:
    secret.write_text(account.password)
    url = account.server.url("pymysql", user=account.name, password="").render_as_string(hide_password=False)
    program = [sys.executable, "-W", "error", "-c", GREENLETS, url, str(secret)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "True 1", done.stderr[-3000:]
