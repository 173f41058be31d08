"""A guestbook: one page with a form and what was written last. README.md says how to run it."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_migrate import Migrate  # type: ignore[import-untyped]
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqlalchemy_holdfast.flask import SQLAlchemy


class Base(DeclarativeBase):
    pass


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL") or "sqlite:///guestbook.db"
db = SQLAlchemy(app, model_class=Base)
Migrate(app, db, directory=str(Path(__file__).with_name("migrations")))

SHOWN = 50
NAME_LENGTH = 60
MESSAGE_LENGTH = 500


def now() -> datetime:
    """The time in UTC, as a column without a time zone takes it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Entry(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "entry"
    __table_args__ = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    message: Mapped[str] = mapped_column(String(MESSAGE_LENGTH))
    written_at: Mapped[datetime | None] = mapped_column(default=now)  # the oldest have none: migration 0002


@app.get("/")
def show() -> str:
    return page()


@app.post("/")
def write() -> ResponseReturnValue:
    name, message = (" ".join(request.form.get(field, "").split()) for field in ("name", "message"))
    if not name or not message:
        return page("Please fill in your name and a message."), 400
    if len(name) > NAME_LENGTH or len(message) > MESSAGE_LENGTH:
        return page(f"That is too long: {NAME_LENGTH} characters for a name, {MESSAGE_LENGTH} for a message."), 400
    db.session.add(Entry(name=name, message=message))
    db.session.commit()
    return redirect(url_for("show"), 303)  # so that reloading the page does not write it again


def page(error: str = "") -> str:
    entries = db.session.scalars(select(Entry).order_by(Entry.id.desc()).limit(SHOWN)).all()
    return render_template(
        "guestbook.html",
        entries=entries,
        error=error,
        form=request.form,
        name_length=NAME_LENGTH,
        message_length=MESSAGE_LENGTH,
    )
