"""`holdfast.run` with the ORM: sessions of its own, the current session, objects made before."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.transactions.conftest import WRITE, Entry, Names, kill


def test_each_attempt_has_a_new_session(server: Server, engine: Engine, entries: Names) -> None:
    sessions = []

    def unit(session: Session) -> None:
        sessions.append(session)
        session.add(Entry(name=f"attempt {len(sessions)}"))
        session.flush()
        if len(sessions) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(sessionmaker(engine), unit)
    assert entries() == ["attempt 2"]
    assert sessions[0] is not sessions[1]
    assert not any(session.in_transaction() for session in sessions)


@pytest.mark.parametrize("current", [False, True], ids=["sessionmaker", "scoped_session"])
def test_an_object_made_before_is_written_once(server: Server, engine: Engine, entries: Names, current: bool) -> None:
    """Written by the first attempt it has an identity; that must not outlive the rollback."""
    entry = Entry(name="made before")
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(entry)
        session.flush()
        if len(calls) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    make: Any = sessionmaker(engine)
    holdfast.run(scoped_session(make) if current else make, unit)
    assert len(calls) == 2
    assert entries() == ["made before"]


def test_the_current_session_goes_on_with_right_state(server: Server, engine: Engine, entries: Names) -> None:
    current = scoped_session(sessionmaker(engine))
    current.add(Entry(id=1, name="a"))
    current.commit()
    known = current.get(Entry, 1)  # a transaction that has only read
    assert known is not None
    seen: list[str] = []

    def unit(session: Session) -> None:
        assert session is current()
        assert known in session
        seen.append(known.name)
        known.name = f"changed {len(seen)}"
        session.add(Entry(name="new"))
        session.flush()
        if len(seen) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(current, unit)
    assert seen == ["a", "a"], "the first attempt's change was seen in the second"
    assert entries() == ["changed 2", "new"]
    assert known in current()
    assert known.name == "changed 2"
    current.add(Entry(name="later"))
    current.commit()  # refused inside of a unit, and not after it
    assert entries()[-1] == "later"
    current.remove()


def test_a_current_session_with_changes_is_refused_and_left_alone(engine: Engine, entries: Names) -> None:
    current = scoped_session(sessionmaker(engine))
    current.add(Entry(name="pending"))
    with pytest.raises(InvalidRequestError, match="changes that were made before"):
        holdfast.run(current, lambda session: None)
    current.flush()
    with pytest.raises(InvalidRequestError, match="in a transaction that may have changed"):
        holdfast.run(current, lambda session: None)
    current.commit()
    assert entries() == ["pending"]
    current.execute(insert(Entry).values(name="by Core"))
    with pytest.raises(InvalidRequestError, match="in a transaction that may have changed"):
        holdfast.run(current, lambda session: None)
    current.commit()
    assert entries() == ["pending", "by Core"]
    current.remove()


def test_an_error_after_the_commit_does_not_repeat_the_unit(server: Server, one: Engine, entries: Names) -> None:
    """A listener to after_commit may use the database as well, and lose its connection."""
    make = sessionmaker(one)
    calls = []

    def after_commit(session: Session) -> None:
        with one.connect() as connection:
            kill(server)(connection)
            connection.execute(WRITE, {"name": "no"})

    event.listen(make, "after_commit", after_commit)

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(Entry(name="once"))

    with pytest.raises(OperationalError):
        holdfast.run(make, unit)
    assert len(calls) == 1
    assert entries() == ["once"]


def test_no_listener_stays_behind(make: sessionmaker[Session]) -> None:
    current = scoped_session(make)
    for _ in range(3):
        holdfast.run(current, lambda session: session.execute(text("SELECT 1")).scalar())
    assert len(current().dispatch.after_begin) == 0
    current.remove()
