"""A FastAPI site with a page from the database, a static file, and a health check that needs no database."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from sqlalchemy_holdfast.asgi import HoldfastMiddleware

app = FastAPI()
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
if "WAIT_ALL" in os.environ:
    engine = create_engine(os.environ["DATABASE"], plugins=["holdfast"], holdfast_max_waiting_for_server="off")
else:
    engine = create_engine(os.environ["DATABASE"], plugins=["holdfast"])
    app.add_middleware(HoldfastMiddleware)


@app.get("/number/{number}", response_class=PlainTextResponse)
def number(number: int) -> str:
    with Session(engine) as session:
        return str(session.execute(text("SELECT :number"), {"number": number}).scalar())


@app.get("/health", response_class=PlainTextResponse)
def health() -> str:
    return "well"
