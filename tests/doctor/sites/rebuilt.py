"""A second engine from the first one's URL, which has lost the plugin."""

from __future__ import annotations

import os

import sqlalchemy

import sqlalchemy_holdfast as holdfast

engine = holdfast.create_engine(os.environ["DATABASE_URL"])


def reports() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(engine.url)


second = reports()
