"""holdfast_uncommitted_warning: a line whose rows are rolled back for want of a commit() is named, and no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.pool import uncommitted
from tests.conftest import EngineFactory

Log = Callable[[], list[str]]
INSERT = text("INSERT INTO ledger VALUES (:id, 4711)")


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int]


@pytest.fixture
def watched(server: Server, table: str, driver: str, held: EngineFactory) -> Engine:
    return held(server.url(driver), holdfast_uncommitted_warning=True)


@pytest.fixture
def warned(log: Log) -> Log:
    """What was warned of."""
    return lambda: [line for line in log() if "was rolled back: " in line]


def rows(server: Server) -> int:
    return int(server.execute("SELECT COUNT(*) FROM ledger", database="test")[0][0])


# -- what is a mistake -------------------------------------------------------------------------------------------------


def a_session_that_is_closed(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Row(id=1, value=4711))
        session.flush()


def a_session_that_is_removed(engine: Engine) -> None:
    registry = scoped_session(sessionmaker(engine))
    registry.add(Row(id=1, value=4711))
    registry.flush()
    registry.remove()


def a_connection_that_is_closed(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"id": 1})
        connection.execute(text("SELECT 1")).all()


def many_rows(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(insert(Row), [{"id": 1, "value": 4711}, {"id": 2, "value": 4711}])


def one_after_a_commit(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
        connection.commit()
        connection.execute(INSERT, {"id": 1})


def one_before_a_savepoint_that_is_rolled_back(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Row(id=1, value=4711))
        session.flush()
        nested = session.begin_nested()
        session.execute(INSERT, {"id": 2})
        nested.rollback()


def one_in_a_savepoint_that_is_released(engine: Engine) -> None:
    with Session(engine) as session, session.begin_nested():
        session.execute(INSERT, {"id": 2})


def one_after_ddl(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS another (id INT)"))
        connection.execute(text("/* from a form */ REPLACE INTO ledger VALUES (1, 4711)"))


MISTAKES = (
    a_session_that_is_closed,
    a_session_that_is_removed,
    a_connection_that_is_closed,
    many_rows,
    one_after_a_commit,
    one_before_a_savepoint_that_is_rolled_back,
    one_in_a_savepoint_that_is_released,
    one_after_ddl,
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda function: function.__name__)
def test_the_line_is_named_once(
    server: Server, watched: Engine, warned: Log, mistake: Callable[[Engine], None]
) -> None:
    for _ in range(2):
        mistake(watched)
    (line,) = warned()
    assert rows(server) == 0, "what the warning says is so"
    assert "INTO ledger" in line
    assert f"sent by {__file__}, line " in line
    assert f", in {mistake.__name__}, was rolled back: the session or connection was closed without commit()." in line
    assert "call commit() first" in line
    assert "4711" not in line
    assert "holdfast_uncommitted_warning=false" in line
    assert line.endswith(page("errors/uncommitted"))


def test_each_line_is_named(watched: Engine, warned: Log) -> None:
    a_session_that_is_closed(watched)
    a_connection_that_is_closed(watched)
    assert len(warned()) == 2


def test_what_is_remembered_has_an_end(watched: Engine, warned: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncommitted, "_MOST_PLACES", 1)
    a_session_that_is_closed(watched)
    a_connection_that_is_closed(watched)
    assert len(warned()) == 1


# -- what is none ------------------------------------------------------------------------------------------------------


def reads(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(text("SELECT * FROM ledger FOR UPDATE")).all()


def a_commit(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Row(id=1, value=4711))
        session.commit()
        session.execute(text("SELECT * FROM ledger")).all()


def the_drivers_own_commit(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"id": 1})
        connection.connection.commit()
        connection.execute(text("SELECT * FROM ledger")).all()


def begin_and_commit(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(INSERT, {"id": 1})


def a_rollback_of_the_session(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Row(id=1, value=4711))
        session.flush()
        session.rollback()


def a_rollback_of_the_connection(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"id": 1})
        connection.rollback()


def a_rollback_of_the_transaction(engine: Engine) -> None:
    """As fixtures of tests have it, around a session that takes its own commits for such."""
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Row(id=1, value=4711))
            session.commit()
            session.add(Row(id=2, value=4711))
            session.flush()
        transaction.rollback()


def a_rollback_as_text(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"id": 1})
        connection.execute(text("ROLLBACK"))


def an_exception_on_its_way(engine: Engine) -> None:
    try:
        with Session(engine) as session:
            session.execute(INSERT, {"id": 1})
            raise KeyError
    except KeyError:
        pass


def an_exception_and_a_finally(engine: Engine) -> None:
    session = Session(engine)
    try:
        try:
            session.execute(INSERT, {"id": 1})
            raise KeyError
        finally:
            session.close()
    except KeyError:
        pass


def an_error_of_the_database(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(INSERT, {"id": 1})
        with pytest.raises(IntegrityError):
            session.execute(INSERT, {"id": 1})


def autocommit(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(INSERT, {"id": 1})


def autocommit_as_text(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET autocommit = 1"))
        connection.execute(INSERT, {"id": 1})
        connection.execute(text("SET autocommit = 0"))


def a_savepoint_that_is_rolled_back(engine: Engine) -> None:
    with Session(engine) as session:
        nested = session.begin_nested()
        session.execute(INSERT, {"id": 1})
        nested.rollback()


def a_savepoint_that_failed(engine: Engine) -> None:
    with Session(engine) as session:
        try:
            with session.begin_nested():
                session.execute(INSERT, {"id": 1})
                raise KeyError
        except KeyError:
            pass


def savepoints_as_text(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SAVEPOINT one"))
        connection.execute(INSERT, {"id": 1})
        connection.execute(text("ROLLBACK WORK TO one"))


def ddl(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"id": 1})
        connection.execute(text("CREATE TABLE IF NOT EXISTS another (id INT)"))


def no_row_at_all(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM ledger WHERE id = 99"))


def a_temporary_table(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS found (id INT)"))
        connection.execute(text("INSERT INTO found VALUES (1)"))
        connection.execute(text("SELECT * FROM found")).all()


def a_unit_of_run(engine: Engine) -> None:
    holdfast.run(engine, lambda connection: connection.execute(INSERT, {"id": 1}))

    def fails(session: Session) -> None:
        session.execute(INSERT, {"id": 2})
        raise KeyError

    with pytest.raises(KeyError):
        holdfast.run(sessionmaker(engine), fails)


def two_phases(engine: Engine) -> None:
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(INSERT, {"id": 1})
        transaction.prepare()
        transaction.commit()


def one_that_is_given_up(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(INSERT, {"id": 1})
        session.invalidate()


NONE = (
    reads,
    a_commit,
    the_drivers_own_commit,
    begin_and_commit,
    a_rollback_of_the_session,
    a_rollback_of_the_connection,
    a_rollback_of_the_transaction,
    a_rollback_as_text,
    an_exception_on_its_way,
    an_exception_and_a_finally,
    an_error_of_the_database,
    autocommit,
    autocommit_as_text,
    a_savepoint_that_is_rolled_back,
    a_savepoint_that_failed,
    savepoints_as_text,
    ddl,
    no_row_at_all,
    a_temporary_table,
    a_unit_of_run,
    two_phases,
    one_that_is_given_up,
)


@pytest.mark.parametrize("right", NONE, ids=lambda function: function.__name__)
def test_nothing_is_said_of(watched: Engine, warned: Log, right: Callable[[Engine], None]) -> None:
    right(watched)
    assert warned() == []


@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])  # mysqlclient does not tell
def test_nor_of_a_table_without_transactions(server: Server, watched: Engine, warned: Log) -> None:
    server.execute("CREATE OR REPLACE TABLE ledger (id INT, value INT) ENGINE=MyISAM", database="test")
    with watched.connect() as connection:
        connection.execute(INSERT, {"id": 1})
    assert rows(server) == 1
    assert warned() == []


def test_nor_where_others_use_the_same_connection(server: Server, table: str, held: EngineFactory, warned: Log) -> None:
    engine = held(server.url("pymysql"), poolclass=StaticPool, holdfast_uncommitted_warning=True)
    a_session_that_is_closed(engine)
    assert warned() == []


# -- on and off --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"holdfast_uncommitted_warning": False}], ids=["by itself", "off"])
def test_it_is_off_unless_asked_for(
    server: Server, table: str, held: EngineFactory, warned: Log, options: dict[str, Any]
) -> None:
    engine = held(server.url("pymysql"), **options)
    assert not engine._has_events, "nobody listens to statements, which would cost time"
    for mistake in MISTAKES:
        mistake(engine)
    assert warned() == []


def test_a_listener_is_told_of_it(watched: Engine) -> None:
    told: list[Any] = []
    holdfast.status(watched).listen(told.append)
    a_session_that_is_closed(watched)
    assert [one.facts["where"].partition(",")[0] for one in told if one.name == "never_committed"] == [__file__]


def test_an_exception_of_somebody_else_is_no_reason(watched: Engine, warned: Log) -> None:
    """One that was dealt with before the session began."""
    try:
        raise KeyError
    except KeyError:
        pass
    assert sys.exc_info() == (None, None, None)
    a_session_that_is_closed(watched)
    assert len(warned()) == 1


def test_a_listener_of_the_applications_does_not_hide_it(watched: Engine, warned: Log) -> None:
    def hears(connection: Connection) -> None:
        pass

    event.listen(watched, "rollback", hears)
    a_session_that_is_closed(watched)
    assert len(warned()) == 1
