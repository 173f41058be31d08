"""What must hold, besides the statement's own harmlessness, for a lost connection to go unnoticed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.pool import first_statement
from tests.pool.first_statement.conftest import Cut, Scene, outcome, settle

READ = "SELECT id FROM guests"
INSERT = "INSERT INTO innodb VALUES (1)"
CUTS: tuple[Cut, ...] = (Scene.cut_before, Scene.cut_before_reply)
by_cut = pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)

Log = Callable[[], list[str]]


@contextlib.contextmanager
def behind_an_unanswered_rollback(scene: Scene) -> Iterator[Connection]:
    """A checkout of a connection on which the reply to the last one's ROLLBACK is still on its way."""
    engine = scene.shared_engine()
    scene.proxy.delay = 0.02
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        with engine.connect() as connection:
            pending: Any = connection.connection.dbapi_connection
            assert pending._holdfast.pending
            yield connection
    finally:
        scene.proxy.delay = 0


# -- when it goes unnoticed --------------------------------------------------------------------------------------------


@by_cut
def test_an_orm_session_reads_and_goes_on_in_the_same_transaction(scene: Scene, cut: Cut) -> None:
    engine = scene.shared_engine()
    with Session(engine) as session:
        cut(scene, session.connection())
        assert session.execute(text(READ)).scalars().all() == [1, 2, 3]
        session.execute(text(INSERT))
        session.commit()
    assert scene.rows("innodb") == 1


@by_cut
@pytest.mark.parametrize("options", [{"stream_results": True}, {"yield_per": 2}, {"no_parameters": True}], ids=str)
def test_every_row_comes_once_however_they_are_fetched(scene: Scene, cut: Cut, options: dict[str, Any]) -> None:
    engine = scene.engine()
    with engine.connect().execution_options(**options) as connection:
        cut(scene, connection)
        assert [tuple(row) for row in connection.exec_driver_sql(READ)] == [(1,), (2,), (3,)]
    assert holdfast.status(engine).counters.statements_repeated == (cut is not Scene.cut_before)


@pytest.mark.parametrize("driver", ["mysqldb"])
def test_a_streamed_result_that_is_cut_off_after_its_first_rows_raises(scene: Scene) -> None:
    engine = scene.engine()
    tables = ", ".join(f"guests AS g{number}" for number in range(7))  # 6 MB, more than is under way at a time
    with engine.connect().execution_options(stream_results=True, max_row_buffer=1) as connection:
        result = connection.execute(text(f"SELECT g0.name, g1.name, g2.name FROM {tables}"))
        assert result.fetchone() is not None
        scene.proxy.drop()
        with pytest.raises(DBAPIError):
            result.fetchall()
    assert holdfast.status(engine).counters.statements_repeated == 0


@pytest.mark.parametrize("driver", ["mysqldb"])
def test_a_statement_that_meets_an_unread_result_does_not_cost_that_result_its_connection(scene: Scene) -> None:
    """2014: refused by the driver, before the statement is sent, when the first one's rows have not been read."""
    engine = scene.shared_engine()
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True, max_row_buffer=1).execute(text(READ))
        assert result.fetchone() == (1,)
        assert outcome(connection, READ) == "raised"
    assert scene.changes() == {Cause.LOST_IN_USE: 1}


@pytest.mark.parametrize("repeated", [True, False])
def test_a_statement_behind_an_unanswered_rollback_is_treated_alike(scene: Scene, repeated: bool) -> None:
    with behind_an_unanswered_rollback(scene) as connection:
        scene.proxy.truncate_reply(0)
        assert outcome(connection, READ if repeated else INSERT) == ("succeeded" if repeated else "raised")
    assert scene.rows("innodb") == 0


def test_a_raw_connection_is_replaced_before_its_first_cursor(scene: Scene) -> None:
    engine = scene.shared_engine()
    with engine.connect() as connection:
        scene.cut_before(connection)
        cursor = connection.connection.cursor()
        cursor.execute(INSERT)
        cursor.close()
        connection.connection.commit()
    assert scene.rows("innodb") == 1


def test_a_two_phase_transaction_may_begin_on_a_new_connection(scene: Scene) -> None:
    engine = scene.shared_engine()
    with engine.connect() as connection:
        scene.cut_before(connection)
        transaction = connection.begin_twophase()
        connection.execute(text(INSERT))
        transaction.prepare()
        transaction.commit()
    assert scene.rows("innodb") == 1


@by_cut
@pytest.mark.parametrize("pool", [None, NullPool])
def test_the_pool_is_as_it_was_afterwards(scene: Scene, cut: Cut, pool: Any) -> None:
    engine = scene.engine(poolclass=pool)
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "succeeded"
        ours = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    state: Any = engine.pool
    if pool is None:
        assert (state.checkedin(), state.checkedout()) == (1, 0)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT CONNECTION_ID()")).scalar_one() == ours
    assert holdfast.status(engine).counters.connects == 2 + (pool is NullPool)


@by_cut
def test_checkout_listeners_set_the_new_connection_up(scene: Scene, cut: Cut) -> None:
    """One that does so once for each connection, and has nothing to send for one that it knows."""
    engine = scene.engine()

    @event.listens_for(engine, "checkout")
    def set_up(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        if "set up" not in record.info:
            cursor = dbapi_connection.cursor()
            cursor.execute("SET time_zone = '+05:00'")
            cursor.close()
            record.info["set up"] = True

    settle(engine)
    with engine.connect() as connection:
        cut(scene, connection)
        hours = connection.execute(text("SELECT TIMESTAMPDIFF(HOUR, UTC_TIMESTAMP(), NOW())")).scalar_one()
    assert hours == 5


@by_cut
def test_one_line_says_what_happened(scene: Scene, cut: Cut, log: Log) -> None:
    engine = scene.shared_engine()
    before = len(log())
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "succeeded"
    (line,) = log()[before:]
    assert ("nothing had been sent" if cut is Scene.cut_before else "was repeated on a new one") in line


# -- when it does not --------------------------------------------------------------------------------------------------


@by_cut
@pytest.mark.parametrize("first", ["SELECT 1", "SET @last = 1", "CREATE TEMPORARY TABLE own (n INT)", "COMMIT"])
def test_what_is_not_first_raises(scene: Scene, cut: Cut, first: str) -> None:
    engine = scene.engine()
    with engine.connect() as connection:
        connection.execute(text(first))
        connection.commit()
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"
    assert holdfast.status(engine).counters.statements_repeated == 0


@by_cut
def test_what_comes_after_a_statement_behind_an_unanswered_rollback_raises(scene: Scene, cut: Cut) -> None:
    with behind_an_unanswered_rollback(scene) as connection:
        connection.execute(text("SELECT 1"))
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


def test_after_what_a_listener_sent_before_the_statement_it_raises(scene: Scene) -> None:
    engine = scene.engine()

    @event.listens_for(engine, "before_cursor_execute")
    def set_up(connection: Any, cursor: Any, statement: str, *arguments: Any) -> None:
        if statement == READ:
            other = connection.connection.cursor()
            other.execute("SET @tenant = 1")
            other.close()
            scene.cut_before_reply(connection)

    with engine.connect() as connection:
        assert outcome(connection, READ) == "raised"


@by_cut
def test_after_what_a_checkout_listener_sent_it_raises(scene: Scene, cut: Cut) -> None:
    engine = scene.engine()

    @event.listens_for(engine, "checkout")
    def set_up(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute("SET @tenant = 1")
        cursor.close()

    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


@by_cut
@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED"])
def test_after_an_isolation_level_was_set_for_the_checkout_it_raises(scene: Scene, cut: Cut, level: str) -> None:
    engine = scene.shared_engine()
    with engine.connect().execution_options(isolation_level=level) as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


@by_cut
def test_a_detached_connection_raises(scene: Scene, cut: Cut) -> None:
    engine = scene.shared_engine()
    with engine.connect() as connection:
        connection.detach()
        detached: Any = connection.connection.dbapi_connection
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"
    with contextlib.suppress(Exception):
        detached.close()


@by_cut
def test_a_transaction_that_an_earlier_checkout_left_open_is_not_lost_in_silence(scene: Scene, cut: Cut) -> None:
    engine = scene.engine(pool_reset_on_return=None)
    raw = engine.raw_connection()
    raw.cursor().execute(INSERT)
    raw.close()
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"
    assert scene.rows("innodb") == 0


@by_cut
def test_a_shared_connection_raises(scene: Scene, cut: Cut) -> None:
    engine = scene.engine(poolclass=StaticPool)
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


@by_cut
def test_switched_off_it_raises(scene: Scene, cut: Cut) -> None:
    engine = scene.engine(holdfast_replay=False)
    with engine.connect() as connection:
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"


def autocommit_by_argument(scene: Scene) -> Engine:
    return scene.engine(connect_args={"autocommit": True})


def autocommit_by_listener(scene: Scene) -> Engine:
    engine = scene.engine()

    @event.listens_for(engine, "connect")
    def set_up(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute("SET autocommit = 1")
        cursor.close()

    engine.dispose()
    settle(engine)
    return engine


def serializable(scene: Scene) -> Engine:
    return scene.engine(isolation_level="SERIALIZABLE")


@pytest.mark.parametrize(
    "make",
    [autocommit_by_argument, autocommit_by_listener, serializable],
    ids=lambda make: make.__name__,
)
def test_a_read_that_was_sent_raises_where_it_commits_or_locks(scene: Scene, make: Callable[[Scene], Engine]) -> None:
    engine = make(scene)
    with engine.connect() as connection:
        scene.proxy.reset_counts()
        scene.cut_before_reply(connection)
        assert outcome(connection, READ) == "raised"
    assert scene.sent(READ) == 1


def test_a_read_that_took_long_is_not_repeated(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scene.shared_engine()
    monkeypatch.setattr(first_statement, "_SECONDS", 0.0)
    with engine.connect() as connection:
        scene.cut_before_reply(connection)
        assert outcome(connection, READ) == "raised"


@by_cut
def test_a_checkout_gets_one_new_connection_and_no_more(scene: Scene, cut: Cut) -> None:
    engine = scene.engine()
    again: list[Any] = []

    @event.listens_for(engine, "checkout")
    def cut_again(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        again.append(dbapi_connection)
        if len(again) == 2:
            scene.proxy.truncate_reply(0)

    with engine.connect() as connection:
        scene.proxy.reset_counts()
        cut(scene, connection)
        assert outcome(connection, READ) == "raised"
    assert len(again) == 2
    assert scene.sent(READ) == 1, "or not at all the second time: what was cut was the question about autocommit"


@by_cut
def test_when_no_new_connection_can_be_had_the_error_is_that_of_a_lost_one(scene: Scene, cut: Cut) -> None:
    engine = scene.engine(holdfast_wait_for_server=False)
    with engine.connect() as connection:
        cut(scene, connection)
        scene.proxy.refuse()
        assert outcome(connection, READ) == "raised"
        scene.proxy.restore()
        connection.rollback()
        assert outcome(connection, READ) == "succeeded"
    with engine.connect() as connection:
        assert outcome(connection, READ) == "succeeded"
    state: Any = engine.pool
    assert (state.checkedin(), state.checkedout()) == (1, 0)


def test_a_listener_that_executes_statements_itself_is_left_alone(scene: Scene) -> None:
    engine = scene.engine()
    seen = []

    @event.listens_for(engine, "do_execute")
    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        seen.append(statement)
        cursor.execute(statement, parameters)
        return True

    with engine.connect() as connection:
        scene.cut_before_reply(connection)
        assert outcome(connection, READ) == "raised"
    assert seen == [READ]


def test_a_server_error_is_not_a_reason_to_repeat(scene: Scene) -> None:
    engine = scene.engine()
    with engine.connect() as connection:
        scene.proxy.reset_counts()
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT nothing FROM guests"))
    assert scene.sent("SELECT nothing FROM guests") == 1
    assert holdfast.status(engine).counters.replaced == {}


def test_mates_of_a_connection_that_was_lost_are_asked_before_they_are_used(scene: Scene) -> None:
    engine = scene.engine()
    with engine.connect() as first, engine.connect() as second:
        second.execute(text("SELECT 1"))
        second.close()
        scene.cut_before_reply(first)
        assert outcome(first, READ) == "succeeded"
        with engine.connect() as mate:
            assert outcome(mate, READ) == "succeeded"
    counters = holdfast.status(engine).counters
    assert counters.probes == 1
    assert counters.replaced == {Cause.LOST_IN_USE: 1}
