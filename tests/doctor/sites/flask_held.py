"""The same with holdfast's class, in debug mode, with a factory."""

from __future__ import annotations

import os
import warnings

from flask import Flask

from sqlalchemy_holdfast.flask import SQLAlchemy

db = SQLAlchemy()


def create_app(size: int = 2, debug: bool = True) -> Flask:
    app = Flask(__name__)
    app.debug = debug
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    app.config["SQLALCHEMY_ECHO"] = True
    app.config["SQLALCHEMY_POOL_SIZE"] = size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        db.init_app(app)
    return app
