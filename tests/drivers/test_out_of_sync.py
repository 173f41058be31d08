"""A connection with a reply nobody read gives every later request somebody else's answer. A ping does not notice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id, eventually, read


class SoftTimeLimit(Exception):
    """What task queues raise in a task that runs too long: not the driver's, and not the end of the process."""


@pytest.fixture
def visits(server: Server) -> Iterator[None]:
    server.execute("CREATE OR REPLACE TABLE visit (id INT AUTO_INCREMENT PRIMARY KEY, n INT)", database="test")
    server.execute("INSERT INTO visit (id, n) VALUES (1000, 0)", database="test")
    yield
    server.execute("DROP TABLE visit", database="test")


def interrupt_by_signal(connection: Connection, server: Server) -> None:
    """The driver waits for the reply to an UPDATE; a signal handler raises."""

    def handler(number: int, frame: object) -> None:
        raise SoftTimeLimit

    main = threading.get_ident()

    def interrupt() -> None:
        eventually(lambda: any("UPDATE visit" in (process.info or "") for process in server.processlist()))
        signal.pthread_kill(main, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, handler)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        # A driver written in C comes back to Python, and to the handler, with the reply.
        seconds = 5 if connection.dialect.driver == "mysqldb" else 60
        connection.execute(text(f"UPDATE visit SET n = SLEEP({seconds})"))
    finally:
        interrupting.join()
        signal.signal(signal.SIGALRM, before)


def interrupt_after_sending(connection: Connection) -> None:
    """The statement has been sent; an exception comes before its reply is read."""
    driver_connection: Any = connection.connection.driver_connection
    statement = b"UPDATE visit SET n = n + 1"
    if hasattr(driver_connection, "send_query"):
        driver_connection.send_query(statement)
    elif hasattr(driver_connection, "_execute_command"):
        driver_connection._execute_command(3, statement)
    else:
        driver_connection._send_cmd(3, statement, expect_response=False)
    raise SoftTimeLimit


def told_id(engine: Engine) -> tuple[int, int]:
    """Insert a visit; return the id that the driver reports and the id that the row has."""
    with engine.connect() as connection:
        told = connection.execute(text("INSERT INTO visit (n) VALUES (77)")).lastrowid
        connection.commit()
    with engine.connect() as connection:
        return told, connection.execute(text("SELECT MAX(id) FROM visit")).scalar_one()


@pytest.mark.usefixtures("visits")
def test_with_pre_ping_the_next_request_gets_a_wrong_answer_and_with_holdfast_the_right_one(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory, log: Callable[[], list[str]]
) -> None:
    url = server.url(driver)
    pinging, ours = stock(url, pool_pre_ping=True), held(url)
    for engine in (pinging, ours):
        read(engine)
        with pytest.raises(SoftTimeLimit), engine.connect() as connection:
            interrupt_after_sending(connection)
    with pinging.connect() as connection:
        wrong = connection.execute(text("INSERT INTO visit (n) VALUES (77)")).lastrowid
        connection.invalidate()
    assert wrong == 0, "stock told the application the id from the reply to another command"
    told, real = told_id(ours)
    assert told == real > 1000
    assert holdfast.status(ours).counters.replaced == {Cause.INTERRUPTED: 1}
    line = next(line for line in log() if Cause.INTERRUPTED in line)
    assert "test_out_of_sync.py" in line
    assert "test_with_pre_ping" in line, "the log names the place that returned it"


@pytest.mark.usefixtures("visits")
def test_an_exception_while_a_statement_is_in_flight_costs_the_connection(
    server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver))
    victim = connection_id(engine)
    with pytest.raises(SoftTimeLimit), engine.connect() as connection:
        interrupt_by_signal(connection, server)
    server.kill_connection(victim)  # it would keep its locks until it wakes up
    told, real = told_id(engine)
    assert told == real
    assert connection_id(engine) != victim
    assert holdfast.status(engine).counters.replaced == {Cause.INTERRUPTED: 1}
    assert server.execute("SELECT n FROM visit WHERE id = 1000", database="test") == [(0,)], "it was not committed"


@pytest.mark.usefixtures("visits")
def test_work_cannot_go_on_behind_an_interrupted_statement(server: Server, driver: str, held: EngineFactory) -> None:
    """The application catches the exception and goes on with the same connection."""
    engine = held(server.url(driver))
    with engine.connect() as connection:
        with pytest.raises(SoftTimeLimit):
            interrupt_after_sending(connection)
        connection.rollback()
        with pytest.raises(Exception, match="interrupted") as caught:
            connection.execute(text("SELECT 5"))
        assert caught.value.connection_invalidated  # type: ignore[attr-defined]
        connection.rollback()
        assert connection.execute(text("SELECT 5")).scalar() == 5


def test_result_sets_nobody_read_cost_the_connection(server: Server, held: EngineFactory) -> None:
    engine = held(server.url("mysqldb"))
    fairy = engine.raw_connection()
    raw: Any = fairy.driver_connection
    raw.query(b"SELECT 1; SELECT 2; SELECT 3")
    raw.store_result()
    fairy.close()
    assert read(engine, 9) == 9
    assert sum(holdfast.status(engine).counters.replaced.values()) == 1


def test_bytes_that_nobody_asked_for_cost_the_connection(server: Server, driver: str, held: EngineFactory) -> None:
    """A command sent past the driver: its reply waits in the socket of an idle connection."""
    engine = held(server.url(driver))
    fairy = engine.raw_connection()
    state = fairy.dbapi_connection._holdfast  # type: ignore[union-attr]
    while state.pending:
        assert fairy.dbapi_connection._holdfast_check() is None  # type: ignore[union-attr]
    os.write(state.fd, b"\x01\x00\x00\x00\x0e")  # COM_PING
    assert state.events(5.0)
    fairy.close()
    assert read(engine, 9) == 9
    assert holdfast.status(engine).counters.replaced == {Cause.OUT_OF_SYNC: 1}


def test_an_interrupted_thread_does_not_disturb_the_others(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), pool_size=4)
    answers: list[Any] = []

    def work(number: int) -> None:
        for round_ in range(20):
            try:
                with engine.connect() as connection:
                    if round_ % 5 == 0:
                        connection.connection.dbapi_connection._holdfast.in_flight = True  # type: ignore[union-attr]
                        raise SoftTimeLimit
                    value = number * 100 + round_
                    answers.append(connection.execute(text(f"SELECT {value}")).scalar() == value)
            except SoftTimeLimit:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 64
    assert holdfast.status(engine).counters.replaced == {Cause.INTERRUPTED: 16}


def test_a_read_timeout_of_the_connector_costs_a_raw_connection_too(server: Server, held: EngineFactory) -> None:
    options = {"read_timeout": 1}
    engine = held(server.url("mysqlconnector"), pool_size=1, max_overflow=0, connect_args=options)
    fairy = engine.raw_connection()
    with pytest.raises(Exception, match=r"timed out|3024"):
        fairy.cursor().execute("DO SLEEP(2)")
    fairy.close()
    assert read(engine, 11) == 11
