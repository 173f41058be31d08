"""A statement interrupted by an exception leaves its reply unread: who reads it?

The exception is a soft time limit, such as task queues have: a signal handler that raises. It strikes while
mysql-connector-python waits for the reply, which the driver then takes for the reply to its next command, and so on:
from there on every reply is somebody else's. A ping is answered with the reply before it, and passes.

PyMySQL closes its connection when it is interrupted, and mysqlclient lets the handler run only after the reply.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from .contenders import HOLDFAST, PRE_PING, STOCK, Contender
from .stage import Stage

__all__ = ["DRIVER", "Answer", "run"]

DRIVER = "mysqlconnector"
"""The driver that does not notice."""

_SEATS = range(1, 61)
_LIMIT = 0.1
_JOB = text("DO SLEEP(0.3)")
_FIRST = 41
"""The seat that the first visitor after the interruption asks for."""


Story = Literal["book", "read"]
Outcome = Literal["right", "wrong", "error"]
Visit = Callable[[Stage, Engine, int], tuple[str, str]]


class SoftTimeLimit(Exception):
    """Raised by the signal handler."""


@dataclass(frozen=True)
class Answer:
    """One request after the interruption."""

    story: Story
    """What the visitors do: book a seat, or look up who has it."""
    timeouts: int
    """How many jobs had been interrupted before."""
    contender: str
    asked: str
    told: str
    """What the application was told."""
    truth: str
    """What is in the database."""
    outcome: Outcome

    @property
    def bad(self) -> int:
        """1 if the application was told anything but what is in the database."""
        return int(self.outcome != "right")


def run(stage: Stage, contenders: Sequence[Contender] = (STOCK, PRE_PING, HOLDFAST)) -> list[Answer]:
    """Interrupt, then let visitors come. Without mysql-connector-python nothing is run.

    Must be called in the main thread, which is the one that signals interrupt.
    """
    if DRIVER not in stage.drivers:
        return []
    stage.let_connections_idle()
    visitors = stage.rounds(5, 3)
    rows: list[Answer] = []
    stories: tuple[tuple[Story, int, Visit], ...] = (("book", 1, _book), ("read", 5, _read))
    for story, timeouts, visit in stories:
        for contender in contenders:
            stage.say(f"{contender.name}: jobs to interrupt: {timeouts}")
            _make_seats(stage)
            engine = contender.engine(stage.server.url(DRIVER))
            try:
                visit(stage, engine, 1)
                for _ in range(timeouts):
                    _job(engine)
                for seat in range(_FIRST, _FIRST + visitors):
                    told, truth = visit(stage, engine, seat)
                    outcome = _outcome(told, truth)
                    asked = f"seat {seat}"
                    rows.append(Answer(story, timeouts, contender.name, asked, told, truth, outcome))
            finally:
                engine.dispose()
    return rows


def _outcome(told: str, truth: str) -> Outcome:
    if told.startswith("error"):
        return "error"
    return "right" if told == truth else "wrong"


def _make_seats(stage: Stage) -> None:
    execute = stage.server.execute
    execute("DROP TABLE IF EXISTS seat", database="test")
    execute("CREATE TABLE seat (number INT PRIMARY KEY, guest VARCHAR(40))", database="test")
    places = ", ".join("(%s, NULL)" for _ in _SEATS)
    execute(f"INSERT INTO seat VALUES {places}", list(_SEATS), database="test")


def _book(stage: Stage, engine: Engine, seat: int) -> tuple[str, str]:
    """Book a free seat; return what the visitor is told and what is true."""
    try:
        with Session(engine) as session:
            update = text("UPDATE seat SET guest = :guest WHERE number = :seat AND guest IS NULL")
            booked = session.execute(update, {"guest": f"visitor {seat}", "seat": seat}).rowcount  # type: ignore[attr-defined]
            session.commit()
        told = "booked" if booked else "already taken"
    except Exception as error:
        told = _error(error)
    guest = stage.server.execute("SELECT guest FROM seat WHERE number = %s", (seat,), database="test")[0][0]
    return told, "booked" if guest == f"visitor {seat}" else "free" if guest is None else f"taken by {guest}"


def _read(stage: Stage, engine: Engine, seat: int) -> tuple[str, str]:
    """Look up a seat's guest; return what the visitor is shown and what is true."""
    stage.server.execute("UPDATE seat SET guest = %s WHERE number = %s", (f"visitor {seat}", seat), database="test")
    try:
        with Session(engine) as session:
            told = str(session.scalar(text("SELECT guest FROM seat WHERE number = :seat"), {"seat": seat}))
    except Exception as error:
        told = _error(error)
    return told, f"visitor {seat}"


def _error(error: Exception) -> str:
    return f"error: {type(getattr(error, 'orig', None) or error).__name__}"


def _job(engine: Engine) -> None:
    """Do a job that takes longer than it may, and give it up as an application would."""
    try:
        with _soft_time_limit(_LIMIT), Session(engine) as session:
            session.execute(_JOB)
            session.commit()
    except Exception:
        pass  # the job has failed, the worker goes on


@contextmanager
def _soft_time_limit(seconds: float) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise SoftTimeLimit(f"the job took longer than {seconds:g} s")

    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
