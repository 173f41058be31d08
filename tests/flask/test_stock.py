"""Stock Flask-SQLAlchemy and Flask-SQLAlchemy-Lite with nothing but `?plugin=holdfast` in the URI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask_sqlalchemy
import flask_sqlalchemy_lite
import pytest
from flask import Flask
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.counters import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import wait_until_ended


def with_flask_sqlalchemy(app: Flask, uri: str) -> tuple[Any, Any]:
    class Base(DeclarativeBase):
        pass

    app.config["SQLALCHEMY_DATABASE_URI"] = uri
    db = flask_sqlalchemy.SQLAlchemy(app, model_class=Base)

    class Visit(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)

    return db, Visit


def with_flask_sqlalchemy_lite(app: Flask, uri: str) -> tuple[Any, Any]:
    class Base(DeclarativeBase):
        pass

    class Visit(Base):
        __tablename__ = "visit"
        id: Mapped[int] = mapped_column(primary_key=True)

    app.config["SQLALCHEMY_ENGINES"] = {"default": uri}
    return flask_sqlalchemy_lite.SQLAlchemy(app), Visit


@pytest.fixture(params=[with_flask_sqlalchemy, with_flask_sqlalchemy_lite], ids=["Flask-SQLAlchemy", "Lite"])
def site(request: pytest.FixtureRequest, server: Server, driver: str) -> Iterator[tuple[Flask, Engine]]:
    """A site that writes at POST and reads at GET, and its engine."""
    query = {"plugin": "holdfast", **({"use_pure": "1"} if driver == "mysqlconnector" else {})}
    app = Flask("site")
    db, visit = request.param(app, server.url(driver, query=query).render_as_string(hide_password=False))

    @app.post("/")
    def write() -> str:
        db.session.add(visit())
        db.session.commit()
        return "written"

    @app.get("/")
    def read() -> str:
        return str(db.session.scalar(select(func.count()).select_from(visit)))

    with app.app_context():
        engine: Engine = db.engine
    visit.metadata.create_all(engine)
    yield app, engine
    visit.metadata.drop_all(engine)
    engine.dispose()


def end_idle_connection(server: Server, engine: Engine) -> None:
    """Have the server end the pool's one connection, and wait until that has arrived."""
    with engine.connect() as connection:
        idle = connection.connection.driver_connection
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    server.kill_connection(number)
    wait_until_ended(idle)


def test_no_request_fails_when_the_server_ends_the_idle_connection(site: tuple[Flask, Engine], server: Server) -> None:
    app, engine = site
    client = app.test_client()
    assert client.post("/").status_code == 200
    assert client.get("/").text == "1"
    hold = holdfast.status(engine)
    assert hold.active
    assert hold.counters.replaced == {}

    end_idle_connection(server, engine)
    assert client.get("/").text == "1"
    end_idle_connection(server, engine)
    assert client.post("/").status_code == 200

    assert server.execute("SELECT COUNT(*) FROM visit", database="test") == [(2,)]
    assert hold.counters.replaced == {Cause.CLOSED: 2}
