"""An engine without holdfast has a connection when the import ends; a hook mends that."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])


def read_settings() -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


read_settings()
os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
