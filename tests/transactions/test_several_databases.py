"""`holdfast.run` with several databases, in two phases, and with others than MySQL and MariaDB."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, Calls, Entry, Names, fail, kill


@pytest.mark.parametrize("plugin", [False, True])
def test_other_databases_are_committed_once_and_never_repeated(plugin: bool) -> None:
    engine = create_engine("sqlite://" + ("?plugin=holdfast" if plugin else ""))
    Entry.metadata.create_all(engine)
    make = sessionmaker(engine)
    holdfast.run(make, lambda session: session.add(Entry(name="a")))
    current = scoped_session(make)
    current.execute(insert(Entry).values(name="b"))
    holdfast.run(current, lambda session: session.add(Entry(name="c")))
    calls = []

    def broken(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": "no"})
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(OperationalError):
        holdfast.run(engine, broken)
    assert len(calls) == 1
    with make() as session:
        assert list(session.scalars(select(Entry.name))) == ["a", "b", "c"]
    current.remove()
    engine.dispose()


def test_an_engine_that_is_not_held_is_committed_once_and_never_repeated(
    server: Server, driver: str, stock: EngineFactory, entries: Names
) -> None:
    engine = stock(server.url(driver))
    assert holdfast.run(engine, Calls()) == 1
    calls = Calls(fail(1213))
    with pytest.raises(DBAPIError):
        holdfast.run(engine, calls)
    assert calls.count == 1
    assert entries() == ["call 1"]


@pytest.mark.filterwarnings("ignore:transaction already deassociated")  # SQLAlchemy's, for the one that was committed
def test_two_databases_are_repeated_until_the_commit_begins_and_not_after(
    server: Server, proxy: Proxy, one: Engine, held: EngineFactory, entries: Names
) -> None:
    other = held(server.url("mysqldb", host=proxy.host, port=proxy.port))
    make = sessionmaker(one)
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        for engine in (one, other):
            session.connection(bind_arguments={"bind": engine}).execute(WRITE, {"name": "x"})
        if len(calls) == 1:
            kill(server)(session.connection(bind_arguments={"bind": other}))
        session.connection(bind_arguments={"bind": other}).execute(text("SELECT 1"))

    holdfast.run(make, unit)
    assert len(calls) == 2
    assert entries() == ["x", "x"]
    proxy.cut_at("COMMIT", delivered=False)
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(make, unit)
    assert len(calls) == 3
    commits: list[Connection] = []

    def lose_the_second(connection: Connection) -> None:
        commits.append(connection)
        if len(commits) == 2:
            kill(server)(connection)

    for engine in (one, other):
        event.listen(engine, "commit", lose_the_second)
    with pytest.raises(holdfast.CommitOutcomeUnknown):  # this COMMIT was not sent, the first one was done
        holdfast.run(make, unit)
    assert len(calls) == 4
    with pytest.raises(InvalidRequestError, match="one database"):
        holdfast.run(make, unit, verify=True)


def test_a_two_phase_session_is_repeated_until_it_is_prepared_and_not_after(
    server: Server, one: Engine, entries: Names
) -> None:
    make = sessionmaker(one, twophase=True)
    calls = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.add(Entry(name="a"))
        session.flush()
        if len(calls) == 1:
            kill(server)(session.connection())
        session.execute(text("SELECT 1"))

    holdfast.run(make, unit)
    assert len(calls) == 2
    assert entries() == ["a"]
    event.listen(one, "commit_twophase", lambda connection, xid, is_prepared: kill(server)(connection))
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(make, unit)
    assert len(calls) == 3
    for *_, xid in server.execute("XA RECOVER"):
        server.execute("XA ROLLBACK %s", (xid,))
