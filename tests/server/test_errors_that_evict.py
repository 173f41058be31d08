"""An error of a server that is not one to go on with: its connection ends its work, and is replaced afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, connection_id
from tests.server.conftest import Set
from tests.server.error_cases import RETIRED, WSREP, Case, by_driver, failing, number_of, rule_of


@by_driver(RETIRED)
def test_a_retired_connection_ends_its_work_and_is_replaced_when_it_is_returned(
    case: Case, driver: str, scene: Set, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    ours = scene(case, driver, held)
    with ours.engine.connect() as connection:
        before = number_of(connection)
        with pytest.raises(DBAPIError) as caught:
            case.fail(ours, connection)
        error = caught.value
        assert not error.connection_invalidated
        assert not connection.invalidated
        connection.commit()
        connection.execute(text("INSERT INTO ledger VALUES (1, 1)"))
        connection.commit()
        assert number_of(connection) == before
        connection.rollback()
    assert connection_id(ours.engine) != before
    assert ours.server.execute("SELECT id FROM ledger", database="test") == [(1,)]

    assert error.orig is not None
    assert rule_of(error.orig) is case.rows[0]
    counters = holdfast.status(ours.engine).counters
    assert counters.replaced == {Cause.EVICTED: 1}
    assert counters.disconnects_recognised == 0
    (line,) = (line for line in log() if Cause.EVICTED in line)
    assert __file__ in line, "and where in the application"


@by_driver([case for case in RETIRED if case.through == "server"])
def test_stock_raises_the_same_and_keeps_the_connection(
    case: Case, driver: str, scene: Set, held: EngineFactory, stock: EngineFactory
) -> None:
    theirs = scene(case, driver, stock)
    before = connection_id(theirs.engine)
    expected = failing(case, theirs)
    assert connection_id(theirs.engine) == before
    error = failing(case, scene(case, driver, held))
    assert type(error) is type(expected)
    assert type(error.orig) is type(expected.orig)
    assert str(error) == str(expected)


def test_what_was_written_before_the_error_can_still_be_committed(
    server: Server, driver: str, held: EngineFactory, table: str
) -> None:
    engine = held(server.url(driver))
    with engine.connect() as connection:
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1047, MESSAGE_TEXT = '{WSREP}'")
        connection.execute(text(f"INSERT INTO {table} VALUES (2, 2)"))
        connection.commit()
    assert server.execute(f"SELECT id FROM {table} ORDER BY id", database="test") == [(1,), (2,)]
    assert holdfast.status(engine).counters.replaced == {Cause.EVICTED: 1}
