"""A Flask site with a page from the database, a static file, and a health check that needs no database."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask
from sqlalchemy import text

from sqlalchemy_holdfast.flask import SQLAlchemy

app = application = Flask(__name__, static_folder=str(Path(__file__).parent / "static"))
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
if "WAIT_ALL" in os.environ:
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"holdfast_max_waiting_for_server": "off"}
    app.config["HOLDFAST_503"] = False
db = SQLAlchemy(app)


@app.get("/number/<int:number>")
def number(number: int) -> str:
    return str(db.session.execute(text("SELECT :number"), {"number": number}).scalar())


@app.get("/health")
def health() -> str:
    return "well"
