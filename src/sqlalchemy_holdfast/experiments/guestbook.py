"""The application: a guestbook, as small as one can be. Nothing in it knows of holdfast."""

from __future__ import annotations

from sqlalchemy import URL, Engine, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from .contenders import STOCK

__all__ = ["Base", "Entry", "Guestbook", "WrongAnswer", "make_tables"]


class Base(DeclarativeBase):
    """The guestbook's tables."""


class Entry(Base):
    """What a visitor wrote."""

    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    book: Mapped[str] = mapped_column(String(80), index=True)
    visitor: Mapped[str] = mapped_column(String(80))


class WrongAnswer(Exception):
    """Raised when the database gave an answer, and it is not the right one."""


class Guestbook:
    """One site with its own engine, and its own book in the common table."""

    def __init__(self, engine: Engine, book: str) -> None:
        self.engine = engine
        self.book = book

    def request(self, visitor: str) -> None:
        """Do what one visit does: sign the book, and show who signed last.

        :raises WrongAnswer: the page would show somebody else.
        """
        with Session(self.engine) as session:
            session.add(Entry(book=self.book, visitor=visitor))
            session.commit()
            last = select(Entry.visitor).where(Entry.book == self.book).order_by(Entry.id.desc()).limit(1)
            if (seen := session.scalar(last)) != visitor:
                raise WrongAnswer(f"{visitor} signed, the page says {seen}")


def make_tables(url: URL) -> None:
    """Make the guestbook's tables, empty."""
    engine = STOCK.engine(url)
    try:
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
    finally:
        engine.dispose()
