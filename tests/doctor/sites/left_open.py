"""A session at module level that nobody closes."""

from __future__ import annotations

import os

from sqlalchemy import text
from sqlalchemy.orm import Session

import sqlalchemy_holdfast as holdfast

engine = holdfast.create_engine(os.environ["DATABASE_URL"])
session = Session(engine)
session.execute(text("SELECT 1"))
