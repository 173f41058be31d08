"""Two engines for one database."""

from __future__ import annotations

import os

import sqlalchemy_holdfast as holdfast

users = holdfast.create_engine(os.environ["DATABASE_URL"])
orders = holdfast.create_engine(os.environ["DATABASE_URL"])
forgotten = holdfast.create_engine(os.environ["DATABASE_URL"])
del forgotten
