"""A FastAPI site in one file: notes, each with a number.

    cd examples
    pip install '..[pymysql]' fastapi uvicorn
    uvicorn fastapi_site:app          # SQLite, in the file notes.db
    DATABASE_URL='mysql+pymysql://user:password@localhost/test' uvicorn fastapi_site:app

Try it at http://127.0.0.1:8000/docs.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqlalchemy_holdfast as holdfast


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


class NewNote(BaseModel):
    text: str = Field(min_length=1, max_length=200)


class StoredNote(NewNote, from_attributes=True):
    id: int


# The same as sqlalchemy.create_engine() with ?plugin=holdfast in the URL.
engine = holdfast.create_engine(os.environ.get("DATABASE_URL") or "sqlite:///notes.db")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


OwnSession = Annotated[Session, Depends(get_session)]
app = FastAPI(title="Notes", lifespan=lifespan)


# Ordinary functions, not `async def`: FastAPI then runs them in threads, where they may wait for the database.


@app.get("/notes", response_model=list[StoredNote])
def list_notes(session: OwnSession) -> list[Note]:
    return list(session.scalars(select(Note).order_by(Note.id.desc()).limit(50)))


@app.get("/notes/{number}", response_model=StoredNote)
def get_note(number: int, session: OwnSession) -> Note:
    note = session.get(Note, number)
    if note is None:
        raise HTTPException(404, "there is no note with this number")
    return note


@app.post("/notes", response_model=StoredNote, status_code=201)
def add_note(new: NewNote, session: OwnSession) -> Note:
    note = Note(text=new.text)
    session.add(note)
    session.commit()
    return note
