"""The site of the requests, for a prefork server. It may ask the database something while it is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import create_engine, text

import sqlalchemy_holdfast as holdfast
from tests.budget.request import serve

engine = create_engine(os.environ["LIMITED_URL"], **json.loads(os.environ["LIMITED_OPTIONS"]))

if os.environ["LIMITED_IMPORT"]:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    word = environ["PATH_INFO"].strip("/")
    if word == "counters":
        found = {"pid": os.getpid(), "counters": dict(holdfast.status(engine).counters.as_dict())}
        answer = json.dumps(found).encode()
    else:
        answer = serve(engine, int(word)).line()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
