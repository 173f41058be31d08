"""A connection lost while COMMIT is under way: what was done is found out or said to be unknown, and never guessed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import (
    Attempt,
    Commit,
    Reason,
    commits_table,
    create_commit_table,
    prune_commits,
)
from tests.conftest import EngineFactory, eventually
from tests.transactions.conftest import WRITE, Entry, assert_lost_commits_are_settled, names, with_schema

Names = Callable[[], list[str]]


class Unit:
    """Write one row, and say which call it was."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, connection: Connection) -> int:
        self.calls += 1
        connection.execute(WRITE, {"name": f"call {self.calls}"})
        return self.calls


@pytest.fixture
def unit() -> Unit:
    return Unit()


def tokens(server: Server) -> int:
    return int(server.execute("SELECT COUNT(*) FROM holdfast_commits", database="test")[0][0])


# -- without verification --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [True, False], ids=["reply lost", "COMMIT lost"])
def test_without_verification_it_is_said_to_be_unknown(
    proxy: Proxy, engine: Engine, entries: Names, unit: Unit, delivered: bool, log: Callable[[], list[str]]
) -> None:
    proxy.cut_at("COMMIT", delivered=delivered)
    with pytest.raises(holdfast.CommitOutcomeUnknown, match="may or may not") as caught:
        holdfast.run(engine, unit)
    error = caught.value
    assert unit.calls == 1
    assert entries() == (["call 1"] if delivered else [])
    assert error.token is None
    assert isinstance(error.__cause__, DBAPIError)
    assert error.orig is error.__cause__.orig
    assert [attempt.commit for attempt in error.holdfast_attempts] == [Commit.UNKNOWN]  # type: ignore[attr-defined]
    assert holdfast.status(engine).counters.commits_unknown == 1
    assert any("whether a COMMIT was done is not known" in line for line in log())
    assert holdfast.run(engine, unit) == 2  # the engine goes on


def test_an_error_in_reply_to_commit_that_refuses_it(
    server: Server, engine: Engine, entries: Names, unit: Unit
) -> None:
    """read_only is switched on between the last statement and COMMIT: 1290, and the unit is begun again."""
    seen: list[Attempt] = []

    def then_read_only(connection: Connection) -> int:
        number = unit(connection)
        if number == 1:
            server.execute("SET GLOBAL read_only = 1")
        return number

    def restore(attempt: Attempt) -> None:
        seen.append(attempt)
        server.execute("SET GLOBAL read_only = 0")

    try:
        assert holdfast.run(engine, then_read_only, on_retry=restore) == 2
    finally:
        server.execute("SET GLOBAL read_only = 0")
    assert [(attempt.reason, attempt.commit) for attempt in seen] == [(Reason.READ_ONLY, Commit.REFUSED)]
    assert entries() == ["call 2"]


@pytest.mark.slow
def test_a_commit_that_waits_behind_a_read_lock_is_refused_by_1205(server: Server, one: Engine, unit: Unit) -> None:
    seen: list[Attempt] = []
    with one.connect() as locker:

        def impatient(connection: Connection) -> int:
            connection.execute(text("SET SESSION lock_wait_timeout = 1"))
            number = unit(connection)
            if number == 1:
                locker.execute(text("FLUSH TABLES WITH READ LOCK"))
            return number

        def unlock(attempt: Attempt) -> None:
            seen.append(attempt)
            locker.execute(text("UNLOCK TABLES"))

        assert holdfast.run(one, impatient, on_retry=unlock) == 2
    assert [(attempt.reason, attempt.commit) for attempt in seen] == [(Reason.LOCK_TIMEOUT, Commit.REFUSED)]
    assert names(server) == ["call 2"]


class Killed:
    """Makes a COMMIT wait behind FLUSH TABLES WITH READ LOCK, and ends the waiting with KILL QUERY: 1317."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.locker: Any = pymysql.connect(unix_socket=server.socket, user="root")

    def first_commit(self, engine: Engine) -> None:
        """Kill this engine's next COMMIT."""
        event.listen(engine, "commit", self.lock, once=True)

    def lock(self, connection: Connection) -> None:
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        self.locker.query("FLUSH TABLES WITH READ LOCK")
        threading.Thread(target=self.kill, args=(number,)).start()

    def kill(self, number: int) -> None:
        while not any(process.id == number and process.info == "COMMIT" for process in self.server.processlist()):
            time.sleep(0.01)
        self.server.execute(f"KILL QUERY {number}")

    def unlock(self, *rest: object) -> None:
        self.locker.query("UNLOCK TABLES")


@pytest.fixture
def killed(server: Server) -> Iterator[Killed]:
    killed = Killed(server)
    yield killed
    killed.locker.close()


@pytest.mark.slow
def test_a_commit_that_is_killed_is_not_known(engine: Engine, unit: Unit, killed: Killed) -> None:
    """1317 and its like do not say what became of it."""
    killed.first_commit(engine)
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(engine, unit)
    assert unit.calls == 1


@pytest.mark.slow
def test_a_commit_that_is_killed_can_be_settled_with_a_pool_of_one_connection(
    server: Server, driver: str, held: EngineFactory, entries: Names, unit: Unit, killed: Killed
) -> None:
    """Its connection is well, and is in the way."""
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_timeout=0.2)
    killed.first_commit(engine)
    assert holdfast.run(engine, unit, verify=True, deadline=60, on_retry=killed.unlock) == 2
    assert entries() == ["call 2"]


@pytest.mark.slow
def test_what_became_of_an_earlier_commit_is_not_the_next_units_question(
    server: Server, held: EngineFactory, entries: Names, unit: Unit, killed: Killed
) -> None:
    engine = held(server.url("pymysql"), pool_size=1, max_overflow=0)
    killed.first_commit(engine)
    with pytest.raises(OperationalError, match="1317"), engine.begin() as connection:
        unit(connection)
    killed.unlock()

    def deadlock_first(connection: Connection) -> int:
        number = unit(connection)
        if number == 2:
            connection.execute(text("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1213"))
        return number

    assert holdfast.run(engine, deadlock_first) == 3
    assert entries() == ["call 3"]


# -- with verification -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_knows", [True, False], ids=["server knows", "server does not know"])
@pytest.mark.parametrize("delivered", [True, False], ids=["reply lost", "COMMIT lost"])
def test_with_verification_the_server_is_asked(
    proxy: Proxy, engine: Engine, entries: Names, unit: Unit, delivered: bool, server_knows: bool
) -> None:
    """Also where the server still has the old session, in the middle of its transaction, and waits for its COMMIT."""
    holdfast.run(engine, unit, verify=True)
    proxy.cut_at("COMMIT", delivered=delivered, server_knows=server_knows)
    seen: list[Attempt] = []
    began = time.monotonic()
    assert holdfast.run(engine, unit, verify=True, on_retry=seen.append) == (2 if delivered else 3)
    assert time.monotonic() - began < 4.5, "innodb_lock_wait_timeout is 5 s"
    assert entries() == (["call 1", "call 2"] if delivered else ["call 1", "call 3"])
    expected = [] if delivered else [(Reason.LOST, Commit.NOT_DONE)]
    assert [(attempt.reason, attempt.commit) for attempt in seen] == expected
    assert holdfast.status(engine).counters.commits_verified == 1
    assert holdfast.status(engine).counters.commits_unknown == 0


def test_it_is_settled_with_a_pool_of_one_connection(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, entries: Names, unit: Unit
) -> None:
    url = server.url(driver, host=proxy.host, port=proxy.port)
    engine = held(url, pool_size=1, max_overflow=0, pool_timeout=20)
    for delivered in (True, False):
        proxy.cut_at("COMMIT", delivered=delivered)
        holdfast.run(engine, unit, verify=True)
    assert entries() == ["call 1", "call 3"]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_what_a_settled_unit_returns_can_be_used(proxy: Proxy, one: Engine, entries: Names) -> None:
    def add(session: Session) -> Entry:
        entry = Entry(name="a")
        session.add(entry)
        session.flush()
        return entry

    proxy.cut_at("COMMIT", delivered=True)
    entry = holdfast.run(sessionmaker(one, expire_on_commit=False), add, verify=True)
    assert (entry.name, entries()) == ("a", ["a"])
    current = scoped_session(sessionmaker(one))
    proxy.cut_at("COMMIT", delivered=True)
    entry = holdfast.run(current, add, verify=True)
    assert entry in current()
    entry.name = "b"  # it is known to be in the database: an UPDATE
    current.commit()
    assert entries() == ["a", "b"]
    current.delete(entry)
    current.commit()
    assert entries() == ["a"]
    current.remove()


def test_a_verified_run_inside_makes_the_outer_one_verified(
    proxy: Proxy, one: Engine, entries: Names, unit: Unit
) -> None:
    proxy.cut_at("COMMIT", delivered=True)
    holdfast.run(one, lambda connection: holdfast.run(one, unit, verify=True))
    assert entries() == ["call 1"]


def test_a_unit_that_sends_nothing_writes_no_token(server: Server, one: Engine) -> None:
    before = tokens(server)
    holdfast.run(one, lambda connection: None, verify=True)
    holdfast.run(sessionmaker(one), lambda session: None, verify=True)
    assert tokens(server) == before


def test_over_a_unix_socket(server: Server, driver: str, held: EngineFactory, entries: Names, unit: Unit) -> None:
    """There a session cannot be told by its port; which server it is, and since when, is asked."""
    engine = held(server.url(driver, transport="unix"))
    holdfast.run(engine, unit, verify=True)

    def lost(connection: Connection) -> int:
        number = unit(connection)
        if number == 2:
            connection.connection.dbapi_connection._holdfast.give_up("cut")  # type: ignore[union-attr]
        return number

    assert holdfast.run(engine, lost, verify=True) == 3
    assert entries() == ["call 1", "call 3"]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_server_that_is_restarted_in_the_middle_of_commit(
    driver: str, held: EngineFactory, unit: Unit, end: str
) -> None:
    with Server() as server, Proxy.for_server(server) as proxy:
        with_schema(server)
        engine = held(server.url(driver, host=proxy.host, port=proxy.port))

        def restart() -> None:
            # Not before: behind a relay, a session is not told from one of a server that has only just been started.
            eventually(lambda: "COMMIT" in proxy.statements)
            getattr(server, end)()
            server.start()

        for delivered in (True, False):
            proxy.reset_counts()
            proxy.cut_at("COMMIT", delivered=delivered, server_knows=False)
            restarted = threading.Thread(target=restart)
            restarted.start()
            holdfast.run(engine, unit, verify=True)
            restarted.join()
        assert names(server) == ["call 1", f"call {unit.calls}"]


# -- what cannot be decided ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_another_server_only_there_counts(held: EngineFactory, unit: Unit, monkeypatch: Any) -> None:
    """As after a failover to a replica, which may be behind: that it has no such row proves nothing."""
    monkeypatch.setattr("sqlalchemy_holdfast.transactions.running._ASK_AT_LEAST", 0.2)
    with Server() as first, Server() as second, Proxy.for_server(first) as proxy:
        for server in (first, second):
            with_schema(server)
        engine = held(first.url("pymysql", host=proxy.host, port=proxy.port))
        holdfast.run(engine, unit, verify=True)

        def fail_over(connection: Connection) -> int:
            number = unit(connection)
            proxy.cut_at("COMMIT", delivered=True)
            proxy._target = lambda: (second.host, second.port)
            proxy._relay.target = proxy._target  # type: ignore[union-attr]
            return number

        with pytest.raises(holdfast.CommitOutcomeUnknown) as caught:
            holdfast.run(engine, fail_over, verify=True, deadline=0.5)
        assert unit.calls == 2
        assert names(first) == ["call 1", "call 2"]
        token = caught.value.token
        assert token is not None
        assert token in str(caught.value)
        assert first.execute("SELECT 1 FROM test.holdfast_commits WHERE token = UNHEX(%s)", (token,)) == [(1,)]


@pytest.mark.slow
def test_while_the_old_session_lives_it_is_not_decided(
    server: Server, proxy: Proxy, one: Engine, entries: Names, unit: Unit, monkeypatch: Any
) -> None:
    """Where the session cannot be ended: its transaction keeps the token's row locked, and nothing is concluded."""
    monkeypatch.setattr("sqlalchemy_holdfast.transactions.running._ASK_AT_LEAST", 0.2)
    monkeypatch.setattr("sqlalchemy_holdfast.transactions.lost_sessions.kill", lambda connection, lost: None)
    proxy.cut_at("COMMIT", delivered=False, server_knows=False)
    with pytest.raises(holdfast.CommitOutcomeUnknown):
        holdfast.run(one, unit, verify=True, deadline=0.5)
    assert entries() == []
    proxy.restore()  # the session ends
    monkeypatch.undo()
    assert unit.calls == 1


@pytest.mark.slow
def test_a_network_that_goes_silent_at_commit(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, entries: Names, unit: Unit
) -> None:
    """The COMMIT is held somewhere on its way, and would arrive later. The session that waits for it is ended."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), connect_args={"read_timeout": 1})

    # New connections are silent, too, until the network heals; what it held is then delivered.
    healer = threading.Timer(2.5, proxy.restore)

    def silent(connection: Connection) -> int:
        number = unit(connection)
        if number == 1:
            proxy.blackhole()
            healer.start()
        return number

    result = holdfast.run(engine, silent, verify=True)
    healer.join()
    assert entries() == [f"call {result}"]


# -- the table -------------------------------------------------------------------------------------------------


def test_a_missing_table_is_named_with_the_command_that_makes_it(
    server: Server, driver: str, held: EngineFactory, unit: Unit
) -> None:
    server.execute("CREATE OR REPLACE DATABASE bare")
    server.execute("CREATE TABLE bare.entry (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40))")
    engine = held(server.url(driver, database="bare"))
    with pytest.raises(ProgrammingError, match="holdfast commits create"):
        holdfast.run(engine, unit, verify=True)
    assert server.execute("SELECT COUNT(*) FROM bare.entry") == [(0,)]
    create_commit_table(engine)
    create_commit_table(engine)
    assert holdfast.run(engine, unit, verify=True) == 2
    server.execute("DROP DATABASE bare")


def test_old_rows_are_pruned_and_young_ones_never(server: Server, one: Engine) -> None:
    server.execute("TRUNCATE TABLE holdfast_commits", database="test")
    ages = [0, 1, 119, 121, *range(180, 180 + 1500)]
    values = ", ".join(f"(UNHEX(MD5('{n}')), UTC_TIMESTAMP() - INTERVAL {age} MINUTE)" for n, age in enumerate(ages))
    server.execute(f"INSERT INTO holdfast_commits VALUES {values}", database="test")
    with pytest.raises(ValueError, match="at least 2:00:00"):
        prune_commits(one, timedelta(minutes=119))
    assert prune_commits(one, timedelta(hours=2)) == 1501
    assert prune_commits(one) == 0
    assert tokens(server) == 3


def test_the_table_can_be_part_of_the_applications_metadata() -> None:
    copy = commits_table.to_metadata(Entry.metadata)
    try:
        assert [column.name for column in copy.columns] == ["token", "created"]
    finally:
        Entry.metadata.remove(copy)


@pytest.mark.mysql
@pytest.mark.slow
def test_on_mysql(mysql_server: Server, driver: str, held: EngineFactory, unit: Unit) -> None:
    with_schema(mysql_server)
    mysql_server.execute("TRUNCATE TABLE entry", database="test")
    with Proxy.for_server(mysql_server) as proxy:
        engine = held(mysql_server.url(driver, host=proxy.host, port=proxy.port))
        assert_lost_commits_are_settled(mysql_server, engine, proxy, unit)
