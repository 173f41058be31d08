"""What became of a unit's COMMIT is the unit's own knowledge, and what is unknown is never repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import Attempt, Commit
from tests.conftest import EngineFactory, wait_until_ended
from tests.transactions.conftest import WRITE, Calls

Names = Callable[[], list[str]]


def lose(server: Server, connection: Connection) -> None:
    """Have a connection lost by the statement that it sends next."""
    number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    server.kill_connection(number)
    wait_until_ended(connection.connection.dbapi_connection)


def commits(proxy: Proxy) -> int:
    return sum(statement == "COMMIT" for statement in proxy.statements)


# -- COMMIT was answered, and an error came after it -----------------------------------------------------------------


@pytest.fixture(params=["sessionmaker", "scoped_session"])
def target(request: pytest.FixtureRequest, engine: Engine) -> Any:
    make = sessionmaker(engine)
    return make if request.param == "sessionmaker" else scoped_session(make)


class LosesAfterwards:
    """A listener that uses the engine after the COMMIT, on the connection that it was sent on, and loses it."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self.server = server
        self.engine = engine
        self.calls = 0

    def __call__(self, *args: Any) -> None:
        self.calls += 1
        with self.engine.connect() as connection:
            lose(self.server, connection)
            connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("name", ["after_commit", "after_transaction_end"])
def test_an_acknowledged_commit_is_not_done_again(
    server: Server, engine: Engine, target: Any, entries: Names, name: str
) -> None:
    listener = LosesAfterwards(server, engine)
    event.listen(target, name, listener, once=name == "after_transaction_end")
    with pytest.raises(OperationalError) as caught:
        holdfast.run(target, lambda session: session.execute(WRITE, {"name": "once"}))
    assert entries() == ["once"]
    assert listener.calls == 1
    assert not isinstance(caught.value, holdfast.CommitOutcomeUnknown)


def test_nor_when_another_thread_has_the_connection_by_then(
    server: Server, held: EngineFactory, entries: Names
) -> None:
    """The other one has begun a transaction on it when the first is asked what became of its COMMIT."""
    engine = held(server.url("pymysql"), pool_size=1, max_overflow=0)
    begun, over = threading.Event(), threading.Event()

    def other() -> None:
        with engine.connect() as connection:
            connection.execute(WRITE, {"name": "other"})
            begun.set()
            assert over.wait(30)

    thread = threading.Thread(target=other)

    class HandsOver(Session):
        def commit(self) -> None:
            super().commit()
            thread.start()
            assert begun.wait(30)
            raise OperationalError("SELECT 1", None, pymysql.err.OperationalError(2013, "as told"))

    with pytest.raises(OperationalError, match="as told"):
        holdfast.run(sessionmaker(engine, class_=HandsOver), lambda session: session.execute(WRITE, {"name": "once"}))
    over.set()
    thread.join()
    assert entries() == ["once"]


# -- CommitOutcomeUnknown of somebody else ---------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False], ids=["the same engine", "another engine"])
def test_an_unknown_commit_of_an_inner_unit_is_not_done_again(
    server: Server, proxy: Proxy, engine: Engine, held: EngineFactory, entries: Names, same: bool
) -> None:
    inner_engine = engine if same else held(engine.url)
    calls: list[int] = []

    def unit(session: Session) -> None:
        calls.append(1)
        session.execute(text("SELECT 1"))
        proxy.cut_at("COMMIT", delivered=True, server_knows=True)
        holdfast.run(inner_engine, lambda connection: connection.execute(WRITE, {"name": "inner"}))

    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(sessionmaker(engine), unit)
    assert calls == [1]
    assert entries() == ["inner"]


def test_it_does_not_invite_others_to_do_it_again(proxy: Proxy, engine: Engine, entries: Names) -> None:
    """Code that repeats looks at `connection_invalidated`."""
    proxy.cut_at("COMMIT", delivered=True, server_knows=True)
    with pytest.raises(holdfast.CommitOutcomeUnknown) as caught:
        holdfast.run(engine, Calls())
    assert not caught.value.connection_invalidated
    assert entries() == ["call 1"]


# -- errors of other connections -------------------------------------------------------------------------------------


def fails_elsewhere(server: Server, other: Engine, number: int) -> Callable[[Any], None]:
    """Write on another connection, commit that, and fail there."""

    def act(subject: Any) -> None:
        with other.begin() as connection:
            connection.execute(WRITE, {"name": "elsewhere"})
        with other.connect() as connection:
            if number:
                connection.execute(text(f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}"))
            lose(server, connection)
            connection.execute(text("INSERT INTO entry (name) VALUES ('never')"))

    return act


@pytest.mark.parametrize("number", [0, 1213, 1205, 1047], ids=["lost", "deadlock", "lock timeout", "not ready"])
@pytest.mark.parametrize("same", [True, False], ids=["the same engine", "another engine"])
@pytest.mark.parametrize("kind", ["engine", "sessionmaker"])
def test_an_error_of_another_connection_is_raised(
    server: Server, one: Engine, held: EngineFactory, entries: Names, number: int, same: bool, kind: str
) -> None:
    """What was done there besides is not known here, and would be done twice."""
    target: Any = one if kind == "engine" else sessionmaker(one)
    act = fails_elsewhere(server, one if same else held(one.url), number)
    calls: list[int] = []

    def unit(subject: Any) -> None:
        calls.append(1)
        subject.execute(WRITE, {"name": "unit"})
        act(subject)

    with pytest.raises(DBAPIError):
        holdfast.run(target, unit)
    assert calls == [1]
    assert entries() == ["elsewhere"]


@pytest.mark.parametrize("kind", ["engine", "sessionmaker"])
def test_a_connect_of_the_functions_own_that_fails_is_raised(
    server: Server, held: EngineFactory, entries: Names, kind: str
) -> None:
    """It goes to the unit's own engine, and is not the unit's."""
    one = held(server.url("pymysql"), holdfast_wait_for_server=0.5)
    target: Any = one if kind == "engine" else sessionmaker(one)
    calls: list[int] = []
    refuse: list[int] = []

    @event.listens_for(one, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> None:
        if refuse:
            raise dialect.loaded_dbapi.OperationalError(2003, "Can't connect to MySQL server (as told)")

    def unit(subject: Any) -> None:
        calls.append(1)
        subject.execute(WRITE, {"name": "unit"})
        refuse.append(1)
        with one.begin() as connection:
            connection.execute(WRITE, {"name": "besides"})

    one.dispose()
    with pytest.raises(OperationalError, match="as told"):
        holdfast.run(target, unit)
    assert calls == [1]
    assert entries() == []


@pytest.mark.parametrize("kind", ["engine", "sessionmaker", "scoped_session"])
def test_a_connect_of_the_units_own_that_fails_is_tried_again(
    server: Server, held: EngineFactory, entries: Names, kind: str
) -> None:
    engine = held(server.url("pymysql"), holdfast_wait_for_server="off")
    make = sessionmaker(engine)
    target: Any = {"engine": engine, "sessionmaker": make, "scoped_session": scoped_session(make)}[kind]
    tries: list[int] = []

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise dialect.loaded_dbapi.OperationalError(2003, "Can't connect to MySQL server (as told)")

    attempts: list[Attempt] = []
    holdfast.run(target, lambda subject: subject.execute(WRITE, {"name": "Ada"}), on_retry=attempts.append)
    assert entries() == ["Ada"]
    assert [attempt.commit for attempt in attempts] == [Commit.NOT_SENT, Commit.NOT_SENT]


# -- a raw cursor ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False], ids=["raw cursor", "connection"])
def test_a_deadlock_that_the_function_catches_is_not_half_a_unit(engine: Engine, entries: Names, raw: bool) -> None:
    """The server has undone what came before; the function goes on without knowing."""
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": f"first {len(calls)}"})
        if len(calls) == 1:
            told = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"
            try:
                if raw:
                    connection.connection.cursor().execute(told)
                else:
                    connection.execute(text(told))
            except Exception:
                pass
        connection.execute(WRITE, {"name": f"second {len(calls)}"})

    holdfast.run(engine, unit)
    assert entries() == ["first 2", "second 2"]


def test_a_session_that_was_rolled_back_and_begun_anew_is_known(
    server: Server, proxy: Proxy, engine: Engine, entries: Names
) -> None:
    """The function rolls back after a loss and goes on with another connection, whose COMMIT loses its reply."""
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(WRITE, {"name": "lost"})
        lose(server, connection)
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1"))
        connection.rollback()
        connection.execute(WRITE, {"name": "after"})
        proxy.cut_at("COMMIT", delivered=True, server_knows=True)

    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(engine, unit)
    assert calls == [1]
    assert entries() == ["after"]
    assert commits(proxy) == 1
