"""`from sqlalchemy_holdfast.flask import SQLAlchemy`: Flask-SQLAlchemy's class, held, and what older ones could do."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flask_sqlalchemy
import pytest
from flask import Flask, Response, g, has_app_context
from flask.globals import app_ctx
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Server

NUMBER = text("SELECT CONNECTION_ID()")


def uri(server: Server, driver: str, **query: str) -> str:
    if driver == "mysqlconnector":
        query["use_pure"] = "1"
    return server.url(driver, query=query).render_as_string(hide_password=False)


@pytest.fixture
def app(server: Server, driver: str) -> Flask:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
    return app


@pytest.fixture(autouse=True)
def dispose() -> Iterator[Callable[[SQLAlchemy, Flask], None]]:
    used: list[tuple[SQLAlchemy, Flask]] = []
    yield lambda db, app: used.append((db, app))
    for db, app in used:
        with app.app_context():
            for engine in db.engines.values():
                engine.dispose()


def the_engine(db: SQLAlchemy, app: Flask) -> Engine:
    with app.app_context():
        return db.engine


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
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        db.session.add(Entry(id=7))
        db.session.commit()
        assert server.execute("SELECT id FROM entry", database="test") == [(7,)]
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


# -- the page's older spellings ------------------------------------------------------------------------------------


def test_the_older_pool_settings_are_honoured_and_the_new_form_is_printed(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.config.update(
        SQLALCHEMY_POOL_RECYCLE=280,
        SQLALCHEMY_POOL_SIZE=3,
        SQLALCHEMY_POOL_TIMEOUT=11,
        SQLALCHEMY_MAX_OVERFLOW=2,
    )
    form = "SQLALCHEMY_ENGINE_OPTIONS = {'pool_size': 3, 'pool_timeout': 11, 'pool_recycle': 280, 'max_overflow': 2}"
    with pytest.warns(DeprecationWarning, match="The new form") as warned:
        db = SQLAlchemy(app)
    assert form in str(warned[0].message)
    assert warned[0].filename == __file__
    assert form in caplog.text
    pool: Any = the_engine(db, app).pool
    assert (pool._recycle, pool.size(), pool._timeout, pool._max_overflow) == (280, 3, 11, 2)


def test_the_new_form_goes_before_the_older_one(app: Flask) -> None:
    app.config.update(SQLALCHEMY_POOL_RECYCLE=280, SQLALCHEMY_ENGINE_OPTIONS={"pool_recycle": 100})
    with pytest.warns(DeprecationWarning, match="'pool_recycle': 100"):
        db = SQLAlchemy(app)
    assert the_engine(db, app).pool._recycle == 100


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


def test_the_pages_hack_works_outside_of_a_context(app: Flask) -> None:
    db = SQLAlchemy(app)
    with app.app_context():
        db.session.execute(text("SELECT 1"))
    db.session.close()
    db.get_engine(app).dispose()
    with app.app_context():
        assert db.session.execute(text("SELECT 1")).scalar() == 1
        db.session.close()
        db.get_engine(app).dispose()


def test_the_session_can_be_invalidated(app: Flask) -> None:
    db = SQLAlchemy(app)
    with app.app_context():
        before = db.session.execute(NUMBER).scalar()
        db.session.invalidate()  # type: ignore[attr-defined]
        assert db.session.execute(NUMBER).scalar() != before
    the_engine(db, app).dispose()


# -- settings that come too late -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SQLALCHEMY_ENGINE_OPTIONS", {"pool_recycle": 280}),
        ("SQLALCHEMY_DATABASE_URI", "sqlite://"),
        ("SQLALCHEMY_POOL_RECYCLE", 280),
        ("SQLALCHEMY_BINDS", {"a": "sqlite://"}),
    ],
)
def test_a_setting_that_comes_too_late_is_named(
    app: Flask, name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    db = SQLAlchemy(app)
    app.config[name] = value
    with pytest.warns(RuntimeWarning, match=f"{name} changed after"):
        the_engine(db, app)
    assert "password" not in caplog.text
    assert f"{name} changed after" in caplog.text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        the_engine(db, app)  # said once


def test_also_when_it_comes_after_the_engine_was_used(app: Flask) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def home() -> str:
        return "home"

    the_engine(db, app)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_recycle"] = 280
    with pytest.warns(RuntimeWarning, match="SQLALCHEMY_ENGINE_OPTIONS changed after"):
        assert app.test_client().get("/").text == "home"


# -- the session ends with the request ---------------------------------------------------------------------------------


def site(app: Flask, db: SQLAlchemy, table: str) -> None:
    @app.get("/")
    def home() -> str:
        g.seen = g.get("seen", 0) + 1
        return f"{db.session.execute(text(f'SELECT COUNT(*) FROM {table}')).scalar()} {id(db.session())} {g.seen}"


def test_a_request_ends_its_session_where_a_context_was_pushed_at_module_level(
    app: Flask, server: Server, table: str
) -> None:
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():  # stands for a module's app.app_context().push()
        outer = db.session()
        assert db.session.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0
        client = app.test_client()
        for number in range(3):
            count, session, seen = client.get("/").text.split()
            assert count == str(number), "an old snapshot"
            assert session != str(id(outer))
            assert seen == str(number + 1), "flask.g is the outer context's, as in Flask"
            server.execute(f"INSERT INTO {table} VALUES ({number}, 0)", database="test")
        assert db.session() is outer
        assert db.engine.pool.checkedout() == 1  # type: ignore[attr-defined]
        db.session.remove()
        db.engine.dispose()


def test_a_request_that_fails_ends_its_session_too(app: Flask, table: str) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        raise ValueError("half done")

    with app.app_context():
        for _ in range(3):
            assert app.test_client().get("/").status_code == 500
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert db.session.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0
        db.session.remove()
        db.engine.dispose()


def test_a_streamed_answer_is_made_with_the_requests_session_which_then_ends(app: Flask) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> Response:
        def parts() -> Iterator[str]:
            for number in range(3):
                yield f"{db.session.execute(text(f'SELECT {number}')).scalar()} {id(db.session())}\n"

        return Response(parts())

    with app.app_context():
        outer = db.session()
        answer = app.test_client().get("/")
        lines = answer.text.splitlines()
        answer.close()
        assert [line.split()[0] for line in lines] == ["0", "1", "2"]
        assert len({line.split()[1] for line in lines} - {str(id(outer))}) == 1
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        db.engine.dispose()


def test_a_request_inside_a_request_and_one_amid_uncommitted_work_share_the_session(app: Flask, table: str) -> None:
    """A script's or a test's own client must not wait for the row locks of the code that calls it."""
    db = SQLAlchemy(app)
    site(app, db, table)

    @app.get("/outer")
    def outer() -> str:
        db.session.execute(text(f"INSERT INTO {table} VALUES (7, 7)"))
        return app.test_client().get("/").text

    assert app.test_client().get("/outer").text.startswith("1 ")
    with app.app_context():
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        assert app.test_client().get("/").text.startswith(f"1 {id(db.session())} ")
        db.session.commit()
        assert app.test_client().get("/").text.startswith("1 ")
        db.session.remove()
        db.engine.dispose()


def test_a_session_that_has_failed_outside_of_requests_costs_no_request(app: Flask, table: str, server: Server) -> None:
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():
        server.kill_connection(int(db.session.execute(NUMBER).scalar() or 0))
        with contextlib.suppress(DBAPIError):
            db.session.execute(text("SELECT 1"))
        assert app.test_client().get("/").text.startswith("0 ")
        db.session.remove()
        db.engine.dispose()


def test_with_another_database_nothing_is_changed() -> None:
    """SQLite in memory has one connection for all sessions: a second session's end would undo the first one's work."""
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        return str(id(db.session()))

    with app.app_context():
        assert app.test_client().get("/").text == str(id(db.session()))
        db.engine.dispose()


def test_a_view_may_push_a_context_and_forget_it(app: Flask) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        app.app_context().push()
        return str(db.session.execute(text("SELECT 5")).scalar())

    with contextlib.ExitStack() as stack:
        stack.enter_context(app.app_context())
        assert app.test_client().get("/").text == "5"
        stack.pop_all()
    for engine in db.engines.values():
        engine.dispose()
    while has_app_context():
        app_ctx._get_current_object().pop()  # type: ignore[attr-defined]


def test_no_password_of_the_engine_options_is_printed(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.config.update(SQLALCHEMY_POOL_SIZE=3, SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"password": "S3CRET"}})
    with pytest.warns(DeprecationWarning, match="'pool_size': 3") as warned:
        SQLAlchemy(app)
    assert "S3CRET" not in caplog.text + str(warned[0].message)


def test_the_older_pool_settings_are_nothing_for_a_pool_that_does_not_take_them(app: Flask) -> None:
    app.config.update(SQLALCHEMY_POOL_SIZE=3, SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool})
    with pytest.warns(DeprecationWarning, match="pool_size"):
        db = SQLAlchemy(app)
    assert isinstance(the_engine(db, app).pool, NullPool)


def test_stock_flask_sqlalchemy_reads_an_old_snapshot_there(app: Flask, server: Server, table: str) -> None:
    db = flask_sqlalchemy.SQLAlchemy(app)
    site(app, db, table)  # type: ignore[arg-type]
    with app.app_context():
        counts = []
        for number in range(3):
            counts.append(app.test_client().get("/").text.split()[0])
            server.execute(f"INSERT INTO {table} VALUES ({number}, 0)", database="test")
        assert counts == ["0", "0", "0"]
        db.session.remove()
        db.engine.dispose()


def test_a_test_shares_its_session_with_its_requests_as_in_flask_sqlalchemy(app: Flask, table: str) -> None:
    app.testing = True
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        assert app.test_client().get("/").text.startswith(f"1 {id(db.session())} ")
        db.session.rollback()
        db.session.remove()
        db.engine.dispose()


# -- what is not documented ---------------------------------------------------------------------------------------


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


def test_a_wrong_setting_is_refused_when_the_application_starts(app: Flask) -> None:
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"holdfast_probe_timout": 3}
    with pytest.raises(holdfast.SettingError, match="probe_timeout"):
        SQLAlchemy(app)
