"""Sessions, connections and cursors that a child inherited: it can end them, and it cannot do the parent's work."""

from __future__ import annotations

import contextlib
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import URL, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from sqlalchemy_holdfast.lab import Server
from tests.fork.children import in_child
from tests.fork.conftest import ParentFactory
from tests.fork.helpers import insert, listed, outside, refused
from tests.fork.parents import TABLE, server_id


@pytest.mark.parametrize("how", ["close", "rollback", "remove", "invalidate", "reset"])
def test_an_inherited_session_is_ended_quietly_and_then_works(url: URL, parent: ParentFactory, how: str) -> None:
    one = parent("idle")
    registry = scoped_session(sessionmaker(one.engine))
    insert(registry(), one.number)

    def child() -> int:
        getattr(registry() if how != "remove" else registry, how)()
        mine = server_id(registry())
        insert(registry(), -one.number)
        registry().commit()
        registry.remove()
        return mine

    assert in_child(child) != one.id
    assert outside(one, one.number) == 0
    assert outside(one, -one.number) == 1
    assert server_id(registry()) == one.id
    registry().commit()
    assert outside(one, one.number) == 1
    registry.remove()


def test_the_child_cannot_commit_what_the_parent_began(parent: ParentFactory) -> None:
    one = parent("in_transaction")
    pid = os.getpid()

    def child() -> str:
        assert one.session is not None
        message = refused(one.session.commit, pid)
        one.session.rollback()
        one.session.execute(text("SELECT 1"))
        one.session.commit()
        one.session.close()
        return message

    assert "belong to the parent process" in in_child(child)
    one.judge()


@pytest.mark.parametrize("through", ["session", "connection"])
def test_a_statement_on_what_was_inherited_runs_on_a_connection_of_the_childs(
    parent: ParentFactory, ledger: Server, through: str
) -> None:
    one = parent("in_transaction")

    def child() -> int:
        assert one.session is not None
        assert one.connection is not None
        inherited: Any = one.session if through == "session" else one.connection
        mine = server_id(inherited)
        insert(inherited, -one.number)
        assert server_id(inherited) == mine
        one.session.rollback()
        one.session.close()
        one.session = one.connection = None
        gc.collect()
        assert not listed(ledger, {mine}), "one more than the pool's size is not kept"
        return mine

    assert in_child(child) != one.id
    assert outside(one, -one.number) == 0
    assert one.rows() == 0
    one.judge()


HALVES: dict[str, Callable[[Any, Any], object]] = {
    "commit()": lambda session, connection: session.commit(),
    "commit() of the connection": lambda session, connection: connection.commit(),
    "the driver's commit()": lambda session, connection: connection.connection.commit(),
    "COMMIT": lambda session, connection: session.execute(text("COMMIT")),
    "a statement that commits": lambda session, connection: session.execute(text("/* x */ CREATE TABLE half (id INT)")),
    "a raw cursor": lambda session, connection: connection.connection.cursor().execute("COMMIT"),
    "AUTOCOMMIT": lambda session, connection: session.execute(text("SET autocommit = 1")),
}


@pytest.mark.parametrize("commit", HALVES.values(), ids=HALVES)
def test_a_child_does_not_commit_its_half_of_a_parents_transaction(
    parent: ParentFactory, commit: Callable[[Any, Any], object]
) -> None:
    """What the parent did is not in the child's part. The parent can commit it, and the child begin anew."""
    one = parent("in_transaction")

    def child() -> None:
        session, connection = one.session, one.connection
        insert(session, -one.number)
        with pytest.raises(Exception, match="parent process began this transaction") as caught:
            commit(session, connection)
        assert "2006" in str(caught.value)
        assert session is not None
        session.rollback()
        insert(session, -one.number)
        session.commit()

    in_child(child)
    assert outside(one, -one.number) == 1, "what the child has begun itself, once"
    assert one.rows() == 0
    one.judge()


def test_objects_that_a_session_had_not_sent_yet_are_not_committed_twice(url: URL, parent: ParentFactory) -> None:
    """The child's commit() sends them before it commits, on a connection of its own; and so does the parent's."""
    one = parent("idle")

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = TABLE
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[int]

    session = Session(one.engine)
    session.add(Row(id=one.number * 1000 + 1, value=1))
    session.flush()
    session.add(Row(id=one.number * 1000 + 2, value=1))

    def child() -> None:
        with pytest.raises(OperationalError, match="parent process began this transaction"):
            session.commit()
        session.rollback()
        session.close()

    in_child(child)
    assert outside(one, one.number * 1000 + 2) == 0
    session.commit()
    session.close()
    assert outside(one, one.number * 1000 + 2) == 1
    one.judge()


@pytest.mark.parametrize("read", [True, False], ids=["read", "AUTOCOMMIT"])
def test_what_the_parent_changed_nothing_in_can_be_committed(url: URL, parent: ParentFactory, read: bool) -> None:
    one = parent("idle")
    engine = one.engine if read else one.engine.execution_options(isolation_level="AUTOCOMMIT")
    session = Session(engine)
    if read:
        session.execute(text(f"SELECT COUNT(*) FROM {TABLE}"))
    else:
        insert(session, one.number)

    def child() -> None:
        insert(session, -one.number)
        session.commit()
        session.close()

    in_child(child)
    session.close()
    assert outside(one, -one.number) == 1
    one.judge()


def test_an_inherited_connection_whose_server_refuses_works_once_it_does_not(parent: ParentFactory, url: URL) -> None:
    one = parent("in_transaction")

    def child() -> int:
        assert one.session is not None
        refusing = True

        @event.listens_for(one.engine, "do_connect")
        def refuse(*arguments: Any) -> None:
            if refusing:
                raise one.engine.dialect.loaded_dbapi.OperationalError(2003, "refused")

        with pytest.raises(OperationalError):
            one.session.execute(text("SELECT 1"))
        refusing = False
        one.session.rollback()
        mine = server_id(one.session)
        one.session.close()
        return mine

    assert in_child(child) != one.id
    one.judge()


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE", "READ COMMITTED"])
@pytest.mark.parametrize("of", ["connection", "engine", "options"])
def test_the_isolation_level_survives_on_the_replacement(url: URL, parent: ParentFactory, level: str, of: str) -> None:
    one = parent("idle", **({"isolation_level": level} if of == "engine" else {}))
    source = one.engine.execution_options(isolation_level=level) if of == "options" else one.engine
    connection = source.connect()
    if of == "connection":
        connection = connection.execution_options(isolation_level=level)
    connection.execute(text("SELECT 1"))

    def child() -> Any:
        insert(connection, -one.number)
        if level == "AUTOCOMMIT":
            assert outside(one, -one.number) == 1, "a write in AUTOCOMMIT is committed"
            shown: Any = level
        else:
            inner: Any = connection.connection.dbapi_connection
            shown = one.engine.dialect.get_isolation_level(inner)
        connection.close()
        with one.engine.connect() as other:
            own = one.engine.dialect.get_isolation_level(cast(Any, other.connection.dbapi_connection))
        return shown, own

    shown, own = in_child(child)
    assert shown == level
    if of != "engine":
        assert own == "REPEATABLE READ", "the level was that connection's alone"
    assert server_id(connection) == one.id
    connection.close()


def test_a_level_can_be_set_on_an_inherited_connection(parent: ParentFactory) -> None:
    one = parent("idle")
    connection = one.engine.connect()

    def child() -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        insert(connection, -one.number)
        assert outside(one, -one.number) == 1
        connection.close()

    in_child(child)
    connection.close()
    one.judge()


def test_leaving_a_begin_block_in_the_child_raises_and_the_parents_commit_works(parent: ParentFactory) -> None:
    one = parent("idle")
    pid = os.getpid()

    def child() -> str:
        return refused(lambda: block.__exit__(None, None, None), pid)

    block = one.engine.begin()
    connection = block.__enter__()
    insert(connection, one.number)
    in_child(child)
    assert outside(one, one.number) == 0
    block.__exit__(None, None, None)
    assert outside(one, one.number) == 1
    one.judge()


@pytest.mark.parametrize("how", ["session.close", "session.rollback", "nested.rollback"])
def test_an_inherited_savepoint_is_ended_quietly(parent: ParentFactory, how: str) -> None:
    one = parent("in_transaction")
    assert one.session is not None
    nested = one.session.begin_nested()
    insert(one.session, -one.number)

    def child() -> None:
        assert one.session is not None
        {
            "session.close": one.session.close,
            "session.rollback": one.session.rollback,
            "nested.rollback": nested.rollback,
        }[how]()
        one.session.close()
        assert server_id(one.session) != one.id
        one.session.close()

    in_child(child)
    nested.rollback()
    one.judge()
    assert outside(one, -one.number) == 0, "the parent's savepoint could be rolled back"


def test_releasing_an_inherited_savepoint_is_an_error(parent: ParentFactory) -> None:
    one = parent("in_transaction")
    assert one.session is not None
    nested = one.session.begin_nested()
    insert(one.session, -one.number)  # sends SAVEPOINT

    def child() -> None:
        with pytest.raises(DBAPIError):
            nested.commit()

    in_child(child)
    nested.commit()
    one.judge()


def test_a_detached_connection_raises_the_clear_error(parent: ParentFactory, ledger: Server) -> None:
    one = parent("idle")
    connection = one.engine.connect()
    connection.detach()
    mine = server_id(connection)
    pid = os.getpid()

    def child() -> None:
        refused(lambda: connection.execute(text("SELECT 1")), pid)
        with contextlib.suppress(DBAPIError):
            connection.rollback()
        connection.close()

    in_child(child)
    assert server_id(connection) == mine
    connection.close()


def test_a_cursor_opened_before_the_fork_raises_the_clear_error(parent: ParentFactory) -> None:
    one = parent("idle")
    raw: Any = one.engine.raw_connection()
    cursor = raw.cursor()
    pid = os.getpid()

    def child() -> str:
        with pytest.raises(one.engine.dialect.loaded_dbapi.Error) as caught:
            cursor.execute("SELECT 1")
        own = raw.cursor()
        own.execute("SELECT CONNECTION_ID()")
        assert own.fetchone()[0] != one.id
        own.close()
        raw.close()
        return str(caught.value)

    assert str(pid) in in_child(child)
    cursor.execute("SELECT CONNECTION_ID()")
    assert cursor.fetchone()[0] == one.id
    cursor.close()
    raw.close()


def test_a_driver_connection_that_is_told_to_reconnect_becomes_the_childs(parent: ParentFactory, driver: str) -> None:
    if driver == "mysqldb":
        pytest.skip("mysqlclient has no way to reconnect")
    one = parent("idle")
    raw: Any = one.engine.raw_connection()

    def child() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            raw.driver_connection.ping(reconnect=True)
        cursor = raw.cursor()
        cursor.execute("SELECT CONNECTION_ID()")
        mine = int(cursor.fetchone()[0])
        raw.commit()
        raw.close()
        return mine

    assert in_child(child, destructors_may_fail=True) != one.id  # PyMySQL leaves its old socket to the collector
    raw.close()
    one.judge()
