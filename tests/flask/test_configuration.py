"""Older spellings of settings, and settings that come too late."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy
from tests.flask.conftest import the_engine


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
