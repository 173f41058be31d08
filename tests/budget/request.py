"""One request of a site: a read whose answer is known, and for every tenth an entry that is committed.

Each of the two is a transaction in a checkout of its own. What came of a request is an :class:`Outcome`, which says in
which step it failed, so that a refused connection can be told from a statement that was cut off.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqlalchemy_holdfast as holdfast

PAGES = 100
WRITES_EVERY = 10

Step = Literal["checkout", "read", "insert", "commit", "return"]


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str]


@dataclass
class Outcome:
    """What came of one request."""

    number: int
    """The request's own; entered into the ledger by every tenth."""
    pid: int
    """The process that served it."""
    begun: float = 0.0
    """Monotonic seconds, which all processes of a machine share."""
    ended: float = 0.0
    waited: float = 0.0
    """Seconds until there was a connection, both checkouts together."""
    longest: float = 0.0
    """Seconds of the longer checkout."""
    out_since: float = 0.0
    """When the last checkout succeeded."""
    step: Step = "checkout"
    """The last one begun; of a failed request the one that failed."""
    failed: str = ""
    """The driver's error number, "wrong answer", or an exception's class; empty when nothing failed."""
    words: str = ""
    """The error's first words."""
    acknowledged: bool = False
    """Its entry was committed, as far as the client was told."""

    def line(self) -> bytes:
        """Return it as a line of JSON, short enough to be written to a pipe at once (PIPE_BUF)."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: str | bytes) -> Outcome:
        return cls(**json.loads(line))


def writes(number: int) -> bool:
    return number % WRITES_EVERY == 0


def serve(engine: Engine, number: int, *, repeat: bool = False) -> Outcome:
    """Serve one request.

    :param repeat: let ``holdfast.run`` make the entry, which may repeat it.
    """
    outcome = Outcome(number, os.getpid(), begun=time.monotonic())
    try:
        if number % 2:
            _read_by_orm(engine, outcome)
        else:
            _read_by_core(engine, outcome)
        if writes(number) and not outcome.failed:
            if repeat:
                _enter_repeatedly(engine, outcome)
            else:
                _enter(engine, outcome)
    except Exception as error:
        outcome.failed, outcome.words = kind_of(error), str(error)[:300]
    outcome.ended = time.monotonic()
    if outcome.failed and outcome.step == "checkout":
        _out(outcome, outcome.out_since or outcome.begun, outcome.ended)
    return outcome


def _read_by_orm(engine: Engine, outcome: Outcome) -> None:
    begun = time.monotonic()
    with Session(engine) as session:
        session.connection()
        _out(outcome, begun, time.monotonic())
        outcome.step = "read"
        id = outcome.number % PAGES + 1
        page = session.get(Page, id)
        _check(outcome, id, page.words if page is not None else None)
        outcome.step = "return"


def _read_by_core(engine: Engine, outcome: Outcome) -> None:
    begun = time.monotonic()
    with engine.connect() as connection:
        _out(outcome, begun, time.monotonic())
        outcome.step = "read"
        id = outcome.number % PAGES + 1
        _check(outcome, id, connection.scalar(text("SELECT words FROM page WHERE id = :id"), {"id": id}))
        outcome.step = "return"


def _enter(engine: Engine, outcome: Outcome) -> None:
    outcome.step = "checkout"
    begun = time.monotonic()
    with engine.connect() as connection:
        _out(outcome, begun, time.monotonic())
        _insert(connection, outcome)
        outcome.step = "commit"
        connection.commit()
        outcome.acknowledged = True
        outcome.step = "return"


def _enter_repeatedly(engine: Engine, outcome: Outcome) -> None:
    begun = time.monotonic()

    def unit(connection: Connection) -> None:
        nonlocal begun
        _out(outcome, begun, time.monotonic())
        _insert(connection, outcome)
        outcome.step = "commit"
        begun = time.monotonic()

    outcome.step = "checkout"
    holdfast.run(engine, unit, verify=True)
    outcome.acknowledged = True


def _insert(connection: Connection, outcome: Outcome) -> None:
    outcome.step = "insert"
    connection.execute(text("INSERT INTO ledger (token) VALUES (:token)"), {"token": outcome.number})


def _out(outcome: Outcome, begun: float, ended: float) -> None:
    outcome.out_since = ended
    outcome.waited += ended - begun
    outcome.longest = max(outcome.longest, ended - begun)


def _check(outcome: Outcome, id: int, words: str | None) -> None:
    if words != words_of(id):
        outcome.failed, outcome.words = "wrong answer", f"page {id} is said to be {words!r}"


def words_of(page: int) -> str:
    return f"words of page {page}"


def kind_of(error: BaseException) -> str:
    """Return what errors are counted by: the server's or driver's number, else the class."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        number = getattr(error.orig, "errno", None) or next(iter(error.orig.args), None)
        if isinstance(number, int):
            return str(number)
    return type(error).__name__
