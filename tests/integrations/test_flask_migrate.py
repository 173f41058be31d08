"""Flask-Migrate, with Flask-SQLAlchemy's class and with holdfast's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import flask_sqlalchemy
import pytest
from flask import Flask
from flask_migrate import Migrate, init, migrate, upgrade  # type: ignore[import-untyped]
from sqlalchemy import MetaData, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sqlalchemy_holdfast as holdfast
import sqlalchemy_holdfast.flask
from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch

pytestmark = [
    pytest.mark.usefixtures("logging_as_before"),
    # Flask-Migrate's env.py tries the older spelling first.
    pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning"),
]

CLASSES = (flask_sqlalchemy.SQLAlchemy, sqlalchemy_holdfast.flask.SQLAlchemy)


@pytest.fixture(params=CLASSES, ids=["stock class", "sqlalchemy_holdfast.flask"])
def db(request: pytest.FixtureRequest, url: str, server: Server) -> Iterator[flask_sqlalchemy.SQLAlchemy]:
    class Base(DeclarativeBase):
        metadata = MetaData()

    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db: flask_sqlalchemy.SQLAlchemy = request.param(app, model_class=Base)
    Migrate(app, db)

    class Letter(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        words: Mapped[str] = mapped_column(String(100))

    with app.app_context():
        yield db
    server.execute("DROP TABLE IF EXISTS letter, alembic_version", database="test")


def test_init_migrate_and_upgrade_survive_kills_between_them(
    db: flask_sqlalchemy.SQLAlchemy, tmp_path: Path, watch: Watch
) -> None:
    folder = str(tmp_path / "migrations")
    init(folder)
    migrate(folder, message="letters")
    watch.kill_idle()
    upgrade(folder)
    watch.kill_idle()
    db.session.execute(text("INSERT INTO letter VALUES (1, 'Dear reader')"))
    db.session.commit()
    db.session.remove()
    assert watch.server.execute("SELECT words FROM letter", database="test") == [("Dear reader",)]
    watch.kill_idle()
    assert db.session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    watch.assert_held(1)
    assert watch.engines == [db.engine]  # Flask-Migrate uses the application's own
    assert watch.replaced() == {"closed by the server": 3}


def test_offline_mode_writes_sql_without_a_connection(
    db: flask_sqlalchemy.SQLAlchemy, tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "migrations")
    init(folder)
    migrate(folder, message="letters")
    connects = holdfast.status(db.engine).counters.connects
    capsys.readouterr()
    upgrade(folder, sql=True)
    assert "CREATE TABLE letter" in capsys.readouterr().out
    assert holdfast.status(db.engine).counters.connects == connects
