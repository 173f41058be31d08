"""`from sqlalchemy_holdfast.flask import SQLAlchemy`: Flask-SQLAlchemy's class, held."""

from __future__ import annotations

import inspect
from typing import Any

import flask_sqlalchemy
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Server
from tests.flask.conftest import the_engine, uri


@pytest.mark.parametrize("late", [False, True], ids=["SQLAlchemy(app)", "init_app"])
def test_both_ways_to_initialise_give_a_held_engine(app: Flask, late: bool) -> None:
    if late:
        db = SQLAlchemy()
        db.init_app(app)
    else:
        db = SQLAlchemy(app)
    with app.app_context():
        assert db.session.execute(text("SELECT 5")).scalar() == 5
        assert holdfast.status(db).active
        assert holdfast.status(db).counters.checkouts == 1
    the_engine(db, app).dispose()


def test_it_is_flask_sqlalchemys_class(app: Flask) -> None:
    assert issubclass(SQLAlchemy, flask_sqlalchemy.SQLAlchemy)
    db = SQLAlchemy(app)
    assert app.extensions["sqlalchemy"] is db


def test_a_plugin_named_in_the_uri_as_well_and_other_plugins_are_kept(server: Server, driver: str) -> None:
    choices: tuple[dict[str, Any], ...] = ({}, {"plugins": ["holdfast"]}, {"plugins": []})
    for options in choices:
        app = Flask("site")
        app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver, plugin="holdfast")
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        assert holdfast.status(the_engine(SQLAlchemy(app), app)).active


def test_a_database_of_another_kind_gets_no_plugin() -> None:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    app.config.update(SQLALCHEMY_POOL_SIZE=3)
    with pytest.warns(DeprecationWarning, match="SQLALCHEMY_POOL_SIZE"):
        engine = the_engine(SQLAlchemy(app), app)
    assert not holdfast.status(engine).active
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_each_bind_has_its_own_options(server: Server, driver: str) -> None:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
    app.config["SQLALCHEMY_BINDS"] = {
        "archive": {"url": uri(server, driver), "pool_size": 2, "holdfast_probe_timeout": 3},
        "local": "sqlite://",
        "plain": uri(server, driver),
    }
    db = SQLAlchemy(app, engine_options={"holdfast_probe_after_idle": 17})
    with app.app_context():
        engines = dict(db.engines)
    engines.pop("local").dispose()
    settings = {key: holdfast.status(engine).settings for key, engine in engines.items()}
    assert {key: one.probe_timeout for key, one in settings.items()} == {None: 5, "archive": 3, "plain": 5}
    assert {one.probe_after_idle for one in settings.values()} == {17}
    assert engines["archive"].pool.size() == 2  # type: ignore[attr-defined]
    for engine in engines.values():
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()


def test_one_extension_serves_several_applications(server: Server, driver: str) -> None:
    db = SQLAlchemy()
    engines = set()
    for number in range(3):
        app = Flask(f"site{number}")
        app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
        db.init_app(app)
        with app.app_context():
            assert db.session.execute(text(f"SELECT {number}")).scalar() == number
            engines.add(db.engine)
    assert len(engines) == 3
    for engine in engines:
        engine.dispose()


def test_models_work_and_are_in_the_shell(app: Flask, server: Server) -> None:
    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(app, model_class=Base)

    class Entry(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "shell_entry"
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        db.session.add(Entry(id=7))
        db.session.commit()
        assert server.execute("SELECT id FROM shell_entry", database="test") == [(7,)]
        db.drop_all()
        db.engine.dispose()
        assert {"db", "Entry"} <= app.make_shell_context().keys()


def test_a_model_base_with_dataclasses_works_on_every_sqlalchemy(app: Flask) -> None:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    before = dict(vars(Base))
    db = SQLAlchemy(app, model_class=Base)

    class Visit(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        name: Mapped[str]

    assert Visit(name="Ada").name == "Ada"
    assert dict(vars(Base)).keys() == before.keys()


def test_get_engine_takes_an_application_a_bind_key_or_nothing(server: Server, driver: str, app: Flask) -> None:
    app.config["SQLALCHEMY_BINDS"] = {"archive": {"url": uri(server, driver), "poolclass": NullPool}}
    db = SQLAlchemy(app)
    default, archive = db.get_engine(app), db.get_engine(app, "archive")  # outside of a context, as the page has it
    assert default is not archive
    assert db.get_engine(app, bind="archive") is archive
    with app.app_context():
        assert db.get_engine() is default
        assert db.get_engine("archive") is archive
        assert db.get_engine(bind="archive") is archive
        assert db.get_engine(bind_key="archive") is archive
        with pytest.raises(KeyError):
            db.get_engine("nowhere")
    with pytest.raises(RuntimeError):
        db.get_engine()


def test_the_methods_of_flask_sqlalchemys_that_are_replaced_exist() -> None:
    """They are "internal" there: a release that changes one fails here."""
    expected = {
        "_apply_driver_defaults": ["self", "options", "app"],
        "_make_engine": ["self", "bind_key", "options", "app"],
        "_make_scoped_session": ["self", "options"],
        "_make_session_factory": ["self", "options"],
        "_make_declarative_base": ["self", "model_class", "disable_autonaming"],
    }
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(flask_sqlalchemy.SQLAlchemy, name)).parameters) == parameters
    assert callable(flask_sqlalchemy.session._app_ctx_id)
