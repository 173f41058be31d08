"""A Flask site with one page that makes one query, as a unit of work."""

from __future__ import annotations

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, select

from sqlalchemy_holdfast.experiments.contenders import Contender
from sqlalchemy_holdfast.experiments.guestbook import Base, Entry
from sqlalchemy_holdfast.experiments.waits import Ready, Unit

__all__ = ["FLASK_READ"]


def _prepare(url: URL, contender: Contender) -> Ready:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = contender.url(url)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = dict(contender.options)
    db = SQLAlchemy(app, model_class=Base)

    @app.route("/")
    def page() -> str:
        return ", ".join(entry.visitor for entry in db.session.scalars(select(Entry).limit(5)))

    client = app.test_client()

    def request() -> None:
        assert client.get("/").status_code == 200

    def dispose() -> None:
        with app.app_context():
            db.engine.dispose()

    return Ready(request, dispose)


FLASK_READ = Unit("flask_read", "Flask read", _prepare)
