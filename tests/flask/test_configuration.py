"""Older spellings of settings, and settings that come too late."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.flask import SQLAlchemy
from tests.flask.conftest import the_engine
from tests.urls.helpers import assert_kept_secret, said


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


def test_the_older_pool_settings_are_nothing_for_a_pool_that_does_not_take_them(app: Flask) -> None:
    app.config.update(SQLALCHEMY_POOL_SIZE=3, SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool})
    with pytest.warns(DeprecationWarning, match="pool_size"):
        db = SQLAlchemy(app)
    assert isinstance(the_engine(db, app).pool, NullPool)


def test_no_password_of_the_engine_options_is_printed(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.config.update(SQLALCHEMY_POOL_SIZE=3, SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"password": "S3CRET"}})
    with pytest.warns(DeprecationWarning, match="'pool_size': 3") as warned:
        SQLAlchemy(app)
    assert "S3CRET" not in caplog.text + str(warned[0].message)


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
    assert {record.name for record in caplog.records} == {"holdfast.flask"}, "below the logger holdfast"
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


def test_a_wrong_setting_is_refused_when_the_application_starts(app: Flask) -> None:
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"holdfast_probe_timout": 3}
    with pytest.raises(holdfast.SettingError, match="probe_timeout"):
        SQLAlchemy(app)


NO_DATABASE = [
    (None, RuntimeError, "SQLALCHEMY_DATABASE_URI is None"),
    ("", DatabaseURLError, "SQLALCHEMY_DATABASE_URI: The database URL is empty"),
    ("  \n", DatabaseURLError, "SQLALCHEMY_DATABASE_URI: The database URL is empty"),
    ("jdbc:mysql://h/d", DatabaseURLError, "which is Java's way to write it"),
    ("MySQL+PyMySQL://me:Kx7qZv9w@h/d", DatabaseURLError, "SQLALCHEMY_DATABASE_URI: SQLAlchemy knows no database"),
    ("postgres://me:Kx7qZv9w@h/d", DatabaseURLError, "write postgresql://"),
    ("h/d", DatabaseURLError, "it has no ://"),
    (5, DatabaseURLError, "A database URL is a text or a sqlalchemy.URL, not int"),
    ("mysql+pymysql://me:Kx7qZv9w@h/d?plugins=holdfast", DatabaseURLError, "Write plugin=holdfast."),
    ("mysql+pymysql://me:Kx7qZv9w@h/d?plugin=holdfst", DatabaseURLError, "Did you mean plugin=holdfast?"),
]


@pytest.mark.parametrize(("value", "kind", "sentence"), NO_DATABASE, ids=repr)
def test_what_is_no_database_uri_is_named(value: object, kind: type[Exception], sentence: str) -> None:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = value
    with pytest.raises(kind) as caught:
        SQLAlchemy(app)
    assert sentence in str(caught.value)
    assert page("errors/database-url-error") in str(caught.value)
    assert_kept_secret("Kx7qZv9w", *said(caught.value))


def test_what_is_no_database_uri_in_the_binds_is_named() -> None:
    for value in ("", {"url": ""}):
        app = Flask("site")
        app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", SQLALCHEMY_BINDS={"other": value})
        with pytest.raises(DatabaseURLError, match=r"SQLALCHEMY_BINDS\['other'\]: The database URL is empty"):
            SQLAlchemy(app)


def test_no_uri_is_well_where_there_are_binds() -> None:
    app = Flask("site")
    app.config.update(SQLALCHEMY_DATABASE_URI=None, SQLALCHEMY_BINDS={"other": "sqlite://"})
    SQLAlchemy(app)


def test_without_any_setting_flask_sqlalchemy_s_own_error_comes() -> None:
    with pytest.raises(RuntimeError, match="Either 'SQLALCHEMY_DATABASE_URI' or 'SQLALCHEMY_BINDS' must be set"):
        SQLAlchemy(Flask("site"))
