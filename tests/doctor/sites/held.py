"""Nothing is wrong: an engine that is held, used at import and closed again."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"] + "?plugin=holdfast", pool_size=3)

with engine.connect() as connection:
    connection.execute(text("SELECT 1"))


def app(environ: object, start_response: object) -> list[bytes]:
    return [b""]
