"""An error of a connection that is gone: it is recognised, and the connection is replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id, wait_until_ended
from tests.server.conftest import Set
from tests.server.error_cases import LOST, Case, by_driver, failing, number_of, rule_of


@by_driver(LOST)
def test_a_lost_connection_is_known_for_one_and_replaced(
    case: Case, driver: str, scene: Set, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    ours = scene(case, driver, held)
    with ours.engine.connect() as connection:
        before = number_of(connection)
        with pytest.raises(DBAPIError) as caught:
            case.fail(ours, connection)
        error = caught.value
        assert error.connection_invalidated
        assert connection.invalidated
        ours.server.start()
        connection.rollback()
        after = number_of(connection)
        assert after != before or case.through == "own_server", "a started server counts from the beginning"
    assert connection_id(ours.engine) == after, "the new one is kept"

    assert error.orig is not None
    found = rule_of(error.orig)
    assert found is not None
    assert found in case.rows
    counters = holdfast.status(ours.engine).counters
    assert counters.replaced == {Cause.LOST_IN_USE: 1}
    assert counters.connects == 2
    assert counters.disconnects_recognised == (0 if case.known(driver, found) else 1)
    (line,) = (line for line in log() if Cause.LOST_IN_USE in line)
    assert found.meaning in line


@by_driver(LOST)
def test_the_error_has_the_class_that_stock_raises(
    case: Case, driver: str, scene: Set, held: EngineFactory, stock: EngineFactory
) -> None:
    """Where stock does not know the error for a disconnect, it rolls back on the dead connection, and the application
    sees the second error; here the first. Compared is what the driver raised first."""
    theirs = scene(case, driver, stock)
    failing(case, theirs)
    ours = scene(case, driver, held)
    error = failing(case, ours)
    ours.server.start()
    assert ours.first[0][1] is type(error.orig)
    for found, _, known in (ours.first[0], theirs.first[0]):
        assert found in case.rows
        assert known == case.known(driver, found)
    if ours.first[0][0] != theirs.first[0][0]:  # the server was stopped at another moment: compared in other cases
        assert {ours.first[0][0], theirs.first[0][0]} == set(case.rows)
    else:
        assert ours.first[0] == theirs.first[0]


@pytest.mark.parametrize("driver", ["mysqldb", "pymysql", "mysqlconnector"])
def test_a_connection_killed_between_two_statements_raises_what_stock_raises(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    raised = []
    for make in (held, stock):
        engine = make(server.url(driver))
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:  # noqa: PT012
            server.kill_connection(number_of(connection))
            wait_until_ended(connection.connection.driver_connection)
            connection.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
        raised.append(type(caught.value))
    assert raised[0] is raised[1]


@pytest.mark.slow
def test_stock_keeps_a_connection_whose_statement_timed_out(
    server: Server, stock: EngineFactory, held: EngineFactory
) -> None:
    """mysql-connector has closed it; stock SQLAlchemy is not told, so the unit of work cannot go on."""
    failed = []
    for make in (stock, held):
        engine = make(server.url("mysqlconnector"), connect_args={"read_timeout": 1})
        with engine.connect() as connection:
            with pytest.raises(DBAPIError) as caught:
                connection.execute(text("SELECT SLEEP(3)"))
            failed.append(caught.value.connection_invalidated)
            if make is held:
                connection.rollback()
                assert connection.execute(text("SELECT 1")).scalar() == 1
            connection.invalidate()
    assert failed == [False, True]


def test_a_killed_connection_of_the_connector_fails_with_the_class_of_stock(
    server: Server, held: EngineFactory
) -> None:
    engine = held(server.url("mysqlconnector"))
    with engine.connect() as connection:
        server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        wait_until_ended(connection.connection.driver_connection)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    assert connection_id(engine)
