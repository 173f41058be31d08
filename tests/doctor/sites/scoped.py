"""A scoped session that no request ends."""

from __future__ import annotations

import os

from flask import Flask
from sqlalchemy.orm import scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast

app = Flask(__name__)
engine = holdfast.create_engine(os.environ["DATABASE_URL"])
session = scoped_session(sessionmaker(engine))
