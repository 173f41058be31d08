"""holdfast.status: what leads to an engine, what is counted, and what is logged of it."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause, Counters
from sqlalchemy_holdfast.lab import Server
from tests.conftest import connection_id, read
from tests.plugin.helpers import Log, kill_idle


def test_of_takes_whatever_has_an_engine(server: Server, engine: Engine) -> None:
    hold = holdfast.status(engine)
    assert hold.active
    copy = engine.execution_options(isolation_level="AUTOCOMMIT")
    assert holdfast.status(copy) is hold
    assert holdfast.status(copy.execution_options(foo=1)) is hold
    assert read(copy, 3) == 3
    with engine.connect() as connection:
        assert holdfast.status(connection) is hold
    with sessionmaker(engine)() as session:
        assert session.execute(text("SELECT 4")).scalar() == 4
        assert holdfast.status(session.get_bind()) is hold
        assert holdfast.status(session.connection()) is hold
    assert hold.counters.connects == 1, "all of them share the pool"


def test_status_takes_what_leads_to_an_engine(engine: Engine) -> None:
    known = holdfast.status(engine)
    for given in (
        sessionmaker(engine),
        scoped_session(sessionmaker(engine)),
        Session(engine),
    ):
        assert holdfast.status(given) is known, given
    with engine.connect() as connection, Session(connection) as session:
        assert holdfast.status(connection) is known
        assert holdfast.status(session) is known


WRONG = [None, 5, "mysql://u:Kx7qZv9w@h/db", Session, Session(), sessionmaker(), object()]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
def test_status_refuses_what_has_no_engine(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"status\(\) .*{type(wrong).__name__}") as caught:
        holdfast.status(wrong)
    assert "engine" in str(caught.value)
    assert "Kx7qZv9w" not in str(caught.value)


def test_the_repr_shows_the_place_and_the_counts_and_no_account(engine: Engine, server: Server) -> None:
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    shown = repr(holdfast.status(engine))
    assert f"127.0.0.1:{server.port}/test is held" in shown
    assert f"replaced: 1 {Cause.CLOSED}" in shown
    assert "@" not in shown
    assert "app" not in shown


def test_the_counters_that_were_read_do_not_change_afterwards(server: Server, engine: Engine) -> None:
    read(engine)
    before = holdfast.status(engine).counters
    kept = pickle.loads(pickle.dumps(before))
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert before == kept
    before.connects = 99
    before.replaced["other"] = 1
    after = holdfast.status(engine).counters
    assert after.connects == 2
    assert after.replaced == {Cause.CLOSED: 1}
    assert after.as_dict() == {
        **{name: value for name, value in vars(after).items() if not isinstance(value, dict)},
        f"replaced: {Cause.CLOSED}": 1,
    }
    assert Counters() == Counters().snapshot()


def test_a_replaced_connection_is_one_checkout(server: Server, engine: Engine) -> None:
    kill_idle(server, engine)
    read(engine)
    assert holdfast.status(engine).counters.checkouts == 2


def test_one_line_for_each_absorbed_event_and_none_for_a_checkout(server: Server, engine: Engine, log: Log) -> None:
    for number in range(5):
        assert read(engine, number) == number
    assert [line for line in log() if "wait_timeout" not in line] == []
    assert len(log()) == 1, "what the server allows, said once"
    for _ in range(3):
        first = kill_idle(server, engine)
        assert connection_id(engine) != first
    lines = [line for line in log() if "replaced a pooled connection" in line]
    assert len(lines) == 3
    assert all("no error reached the application" in line for line in lines)
    assert all(f"127.0.0.1:{server.port}/test" in line for line in log())


def test_what_was_absorbed_is_information_and_never_louder(
    server: Server, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "holdfast")
    first = kill_idle(server, engine)
    assert connection_id(engine) != first
    assert {record.levelno for record in caplog.records if record.name.startswith("holdfast")} == {logging.INFO}
