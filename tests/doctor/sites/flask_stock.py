"""Flask-SQLAlchemy's own class, with settings of its version 2."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["SQLALCHEMY_POOL_RECYCLE"] = 280
db = SQLAlchemy(app)
