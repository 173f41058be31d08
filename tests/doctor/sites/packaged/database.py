"""Its engine."""

from __future__ import annotations

import os

import sqlalchemy_holdfast as holdfast

engine = holdfast.create_engine(os.environ["DATABASE_URL"])
