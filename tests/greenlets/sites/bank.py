"""A site whose engine is made at its import: one row that everybody changes, and a ledger of who did."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["BANK_URL"], pool_size=5, max_overflow=5)
with engine.connect() as _connection:
    _connection.execute(text("SELECT 1"))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    what, _, name = environ["PATH_INFO"].strip("/").partition("/")
    try:
        if what == "add":
            with engine.begin() as connection:
                connection.execute(text("UPDATE account SET value = value + 1 WHERE id = 1"))
                connection.execute(text("INSERT INTO ledger VALUES (:name)"), {"name": name})
                answer = connection.execute(text("SELECT :name"), {"name": name}).scalar_one()
        else:
            with engine.connect() as connection:
                answer = connection.execute(text("SELECT :name"), {"name": name}).scalar_one()
    except Exception as error:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [repr(error).encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(answer).encode()]
