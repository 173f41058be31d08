"""`holdfast.run`: which losses and errors make it call its function again, how often, and how long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import Attempt, Commit, Reason
from tests.conftest import EngineFactory, read
from tests.transactions.conftest import WRITE, Calls, Names, fail, kill


def test_a_lost_connection(server: Server, engine: Engine, entries: Names, log: Callable[[], list[str]]) -> None:
    calls = Calls(kill(server))
    assert holdfast.run(engine, calls) == 2
    assert entries() == ["call 2"]
    assert holdfast.status(engine).counters.units_repeated == {Reason.LOST: 1}
    assert any("a unit of work is begun again" in line and "connection lost" in line for line in log())


def test_a_connection_that_is_found_closed_when_it_is_to_commit(server: Server, engine: Engine, entries: Names) -> None:
    """Nothing was sent then, and that is known: no COMMIT of unknown outcome."""
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": f"call {len(calls)}"})
        if not calls:
            kill(server)(connection)
        calls.append(1)

    holdfast.run(engine, unit)
    assert entries() == ["call 1"]


def test_a_real_deadlock(engine: Engine, entries: Names) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a'), (2, 'b')"))
    both = threading.Barrier(2)
    calls: list[int] = []

    def swap(first: int, second: int) -> None:
        waits = [True]

        def unit(connection: Connection) -> None:
            calls.append(first)
            connection.execute(text("UPDATE entry SET name = CONCAT(name, '.') WHERE id = :id"), {"id": first})
            if waits.pop() if waits else False:
                both.wait(60)
            connection.execute(text("UPDATE entry SET name = CONCAT(name, '.') WHERE id = :id"), {"id": second})

        holdfast.run(engine, unit)

    threads = [threading.Thread(target=swap, args=order) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries() == ["a..", "b.."]
    assert len(calls) == 3
    assert holdfast.status(engine).counters.units_repeated == {Reason.DEADLOCK: 1}


@pytest.mark.slow
def test_a_real_lock_timeout_undoes_the_whole_unit(server: Server, one: Engine, entries: Names) -> None:
    with one.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a')"))
    other = one.connect()
    other.execute(text("SELECT * FROM entry WHERE id = 1 FOR UPDATE"))

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
        connection.execute(WRITE, {"name": "new"})
        connection.execute(text("UPDATE entry SET name = 'changed' WHERE id = 1"))

    holdfast.run(one, unit, on_retry=lambda attempt: other.rollback())
    other.close()
    assert entries() == ["changed", "new"]
    assert holdfast.status(one).counters.units_repeated == {Reason.LOCK_TIMEOUT: 1}


def test_a_server_that_became_read_only(engine: Engine, server: Server, entries: Names) -> None:
    server.execute("SET GLOBAL read_only = 1")
    try:
        holdfast.run(engine, Calls(), on_retry=lambda attempt: server.execute("SET GLOBAL read_only = 0"))
    finally:
        server.execute("SET GLOBAL read_only = 0")
    assert entries() == ["call 1"] or entries() == ["call 2"]
    assert holdfast.status(engine).counters.units_repeated == {Reason.READ_ONLY: 1}


REASONS = {
    (1213, ""): Reason.DEADLOCK,
    (1205, ""): Reason.LOCK_TIMEOUT,
    (1020, ""): Reason.CHANGED,
    (3101, ""): Reason.REFUSED,
    (1290, "running with the --read-only option"): Reason.READ_ONLY,
    (1290, "running with the --secure-file-priv option"): None,
    (1792, ""): Reason.READ_ONLY_TRANSACTION,
    (1836, ""): Reason.READ_ONLY,
    (1047, "WSREP has not yet prepared node for application use"): Reason.NOT_READY,
    (1047, "Unknown command"): None,
    (1180, "Got error 149 - Lock deadlock, retry"): Reason.DEADLOCK,
    (1180, "中にエラー149が発生しました"): Reason.DEADLOCK,
    (1180, "Got error 6 - No such device (provider status: Not connected to Primary Component)"): None,
    (1180, "Got error 1490 - something else"): None,
    (3032, "The server is currently in offline mode"): Reason.NOT_READY,
    (6400, "The server is currently in offline mode since 2026"): Reason.NOT_READY,
    (1053, ""): Reason.LOST,
    (1927, ""): Reason.LOST,
    (1064, ""): None,
    (1317, ""): None,
}


@pytest.mark.slow
def test_each_error_of_the_table(engine: Engine) -> None:
    """Sent by the server with SIGNAL: not all of them can be produced here."""
    for (number, message), reason in REASONS.items():
        seen: list[Attempt] = []
        calls = Calls(fail(number, message))
        if reason is None:
            with pytest.raises(DBAPIError, match=str(number)):
                holdfast.run(engine, calls, on_retry=seen.append)
            assert calls.count == 1
        else:
            assert holdfast.run(engine, calls, on_retry=seen.append) == 2
            assert [attempt.reason for attempt in seen] == [reason]


def test_a_record_that_another_transaction_has_changed(one: Engine, server: Server, entries: Names) -> None:
    """1020, with MariaDB's innodb_snapshot_isolation, the default from 11.6 on."""
    with one.begin() as connection:
        connection.execute(text("INSERT INTO entry VALUES (1, 'a')"))

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION innodb_snapshot_isolation = 1"))
        name = connection.execute(text("SELECT name FROM entry WHERE id = 1")).scalar_one()
        if name == "a":
            server.execute("UPDATE entry SET name = 'b' WHERE id = 1", database="test")
        connection.execute(text("UPDATE entry SET name = :name WHERE id = 1"), {"name": name + "!"})

    holdfast.run(one, unit)
    assert entries() == ["b!"]
    assert holdfast.status(one).counters.units_repeated == {Reason.CHANGED: 1}


@pytest.mark.slow
def test_a_server_that_is_restarted(driver: str, held: EngineFactory) -> None:
    with Server() as server:
        server.execute("CREATE TABLE entry (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40))", database="test")
        engine = held(server.url(driver))
        holdfast.run(engine, Calls())
        away = threading.Event()

        def stop(connection: Connection) -> None:
            server.kill()
            threading.Timer(0.3, server.start).start()
            away.set()

        assert holdfast.run(engine, Calls(stop)) == 2
        assert server.execute("SELECT COUNT(*) FROM entry", database="test") == [(2,)]


@pytest.mark.slow
def test_attempts_without_a_connection_do_not_count(server: Server, proxy: Proxy, held: EngineFactory) -> None:
    engine = held(server.url("pymysql", host=proxy.host, port=proxy.port), holdfast_wait_for_server="off")
    proxy.refuse()
    attempts: list[Attempt] = []

    def note(attempt: Attempt) -> None:
        attempts.append(attempt)
        if len(attempts) == 4:
            proxy.restore()

    assert holdfast.run(engine, Calls(), attempts=1, on_retry=note) == 1
    assert {attempt.reason for attempt in attempts} == {Reason.UNREACHABLE}
    assert {attempt.commit for attempt in attempts} == {Commit.NOT_SENT}


@pytest.mark.parametrize(
    ("number", "message"),
    [(1290, "running with the --read-only option"), (1836, ""), (1047, "WSREP has not yet prepared node"), (6400, "")],
)
def test_attempts_on_a_server_that_does_not_take_work_do_not_count(engine: Engine, number: int, message: str) -> None:
    calls = Calls(*[fail(number, message)] * 4)
    assert holdfast.run(engine, calls, attempts=1) == 5


@pytest.mark.parametrize(
    ("number", "message"), [(1290, "running with the --read-only option"), (1047, "WSREP is not ready")]
)
def test_the_deadline_ends_them(engine: Engine, number: int, message: str) -> None:
    calls = Calls(*[fail(number, message)] * 1000)
    read(engine)  # so that the first attempt has no connection to make
    with pytest.raises(DBAPIError, match=str(number)) as caught:
        holdfast.run(engine, calls, attempts=1, deadline=1)
    assert 1 < calls.count < 1000
    attempts = caught.value.holdfast_attempts  # type: ignore[attr-defined]
    assert {attempt.commit for attempt in attempts} == {Commit.NOT_SENT}


def test_a_transaction_that_the_unit_made_read_only_itself_is_not_repeated_until_the_deadline(one: Engine) -> None:
    seen: list[Attempt] = []

    def unit(connection: Connection) -> None:
        connection.execute(text("SET SESSION TRANSACTION READ ONLY"))
        connection.execute(WRITE, {"name": "never"})

    with pytest.raises(DBAPIError, match="1792"):
        holdfast.run(one, unit, attempts=3, on_retry=seen.append)
    assert [attempt.reason for attempt in seen] == [Reason.READ_ONLY_TRANSACTION] * 2


def test_a_wrong_password_is_not_waited_for(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("pymysql", password="wrong"))
    with pytest.raises(OperationalError, match="1045"):
        holdfast.run(engine, Calls())
