"""A forked child works with connections of its own, also through objects that it inherited."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import AssertionPool, NullPool, Pool, SingletonThreadPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.fork.children import in_child
from tests.fork.conftest import TRANSPORTS, ParentFactory
from tests.fork.helpers import insert, listed, outside
from tests.fork.parents import server_id

# -- a new checkout --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_a_checkout_in_the_child_has_a_session_of_its_own(parent: ParentFactory, transport: str) -> None:
    one = parent("idle")

    def child() -> tuple[int, int]:
        with one.engine.connect() as connection:
            first = server_id(connection)
        with one.engine.connect() as connection:
            return first, server_id(connection)

    first, second = in_child(child)
    assert first != one.id
    assert first == second, "the child pools its connection"
    one.judge()


def test_counters_start_anew_and_tell_how_many_were_left(parent: ParentFactory) -> None:
    one = parent("idle", pool_size=3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(one.engine.connect()).execute(text("SELECT 1"))

    def child() -> Any:
        before = holdfast.status(one.engine).counters
        with one.engine.connect() as connection:
            server_id(connection)
        after = holdfast.status(one.engine).counters
        return before.replaced, before.checkouts, after.replaced, after.checkouts, after.connects

    inherited = {Cause.INHERITED: 3}
    assert in_child(child) == (inherited, 0, inherited, 1, 1)
    counters = holdfast.status(one.engine).counters
    assert counters.replaced == {}
    assert counters.connects == 3


def test_one_line_is_logged_when_the_child_connects(parent: ParentFactory) -> None:
    one = parent("idle")

    def child() -> list[str]:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("holdfast")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        for _ in range(3):
            with one.engine.connect() as connection:
                server_id(connection)
        with one.engine.connect() as first, one.engine.connect() as second:
            assert server_id(first) != server_id(second)
        return lines

    (line,) = in_child(child)
    assert "1 connection" in line
    assert "parent" in line


def test_a_pool_whose_one_place_the_parent_holds_is_free_in_the_child(parent: ParentFactory) -> None:
    one = parent("in_transaction", pool_size=1, max_overflow=0)

    def child() -> float:
        start = time.monotonic()
        with one.engine.connect() as connection:
            assert server_id(connection) != one.id
        return time.monotonic() - start

    assert in_child(child) < 25, "the default of pool_timeout is 30 s"
    one.judge()


def test_every_place_of_the_pool_is_usable_in_the_child(parent: ParentFactory) -> None:
    one = parent("in_transaction", pool_size=2, max_overflow=1, pool_timeout=1)
    with one.engine.connect() as connection:
        server_id(connection)  # one idle, one checked out

    def child() -> Any:
        pool: Any = one.engine.pool
        assert one.session is not None
        one.session.execute(text("SELECT 1"))
        with contextlib.ExitStack() as stack:
            ids = {server_id(stack.enter_context(one.engine.connect())) for _ in range(3)}
            during = pool.checkedout()
            one.session.close()
            assert pool.checkedout() == during, "what was inherited has no place in the new pool"
        return len(ids), during, pool.checkedout(), pool.checkedin()

    assert in_child(child) == (3, 3, 0, 2)


def test_an_engine_that_never_connected_and_one_made_in_the_child_work(url: URL) -> None:
    unused = create_engine(url, plugins=["holdfast"])

    def child() -> Any:
        own = create_engine(url, plugins=["holdfast"])
        with unused.connect() as first, own.connect() as second:
            different = server_id(first) != server_id(second)
        counters = holdfast.status(unused).counters.replaced, holdfast.status(own).counters.replaced
        own.dispose()
        return different, counters

    assert in_child(child) == (True, ({}, {}))
    unused.dispose()


def test_an_sqlite_engine_is_not_touched() -> None:
    engine = create_engine("sqlite://", plugins=["holdfast"], poolclass=StaticPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (id INT)"))
    pool = engine.pool

    def child() -> Any:
        with engine.connect() as connection:
            return engine.pool is pool, connection.execute(text("SELECT COUNT(*) FROM t")).scalar()

    assert in_child(child) == (True, 0)
    engine.dispose()


@pytest.mark.parametrize("poolclass", [StaticPool, NullPool, AssertionPool, SingletonThreadPool])
@pytest.mark.parametrize("state", ["idle", "in_transaction"])
def test_engines_with_every_other_pool_work(
    parent: ParentFactory, ledger: Server, poolclass: type[Pool], state: str
) -> None:
    one = parent(state, poolclass=poolclass)

    def child() -> set[int]:
        ids = set()
        if one.session is not None:
            with pytest.raises(OperationalError):
                one.session.commit()
            one.session.rollback()
            ids.add(server_id(one.session))
            insert(one.session, -one.number)
            one.session.commit()
            one.session.close()
        for _ in range(2):
            with one.engine.begin() as connection:
                ids.add(server_id(connection))
        one.engine.dispose()
        del connection
        one.forget_connections()
        assert one.id not in ids
        assert not listed(ledger, ids), "the child left a session open"
        return ids

    in_child(child)
    if poolclass is NullPool and state == "idle":
        return  # there is no connection to keep
    one.judge()
    assert one.session is None or outside(one, -one.number) == 1


# -- generations -----------------------------------------------------------------------------------------------


def test_a_childs_connections_survive_the_grandchild(parent: ParentFactory) -> None:
    one = parent("in_transaction")

    def child() -> dict[str, int]:
        assert one.session is not None
        own = one.engine.connect()
        mine = server_id(own)
        insert(own, -one.number)
        pooled = one.engine.connect()
        idle = server_id(pooled)
        pooled.close()

        def grandchild() -> Any:
            assert one.session is not None
            counters = holdfast.status(one.engine).counters
            ids = {server_id(one.session), server_id(own)}
            with one.engine.connect() as connection:
                ids.add(server_id(connection))
            one.session.close()
            own.close()
            one.engine.dispose()
            one.forget()
            return ids, counters.replaced[Cause.INHERITED]

        ids, left = in_child(grandchild)
        assert len(ids) == 3
        assert not ids & {one.id, mine, idle}
        assert left >= 2
        assert server_id(own) == mine
        with one.engine.connect() as connection:
            assert server_id(connection) == idle
        own.commit()
        own.close()
        one.session.close()
        return holdfast.status(one.engine).counters.replaced

    assert in_child(child) == {Cause.INHERITED: 1}
    assert outside(one, -one.number) == 1
    one.judge()
