"""What people do against forks with stock SQLAlchemy is harmless with holdfast in place.

The recipes are SQLAlchemy's ("Using Connection Pools with Multiprocessing or os.fork()") and those of everybody's
questions and answers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.orm import Session

from tests.fork.children import in_child
from tests.fork.conftest import ParentFactory
from tests.fork.parents import STATES, Parent, server_id
from tests.fork.script import Task, run_script

Recipe = Callable[[Parent], Callable[[], None]]
"""Prepares the parent and returns what is called first thing in the child."""


def nothing() -> None:
    """Nothing at all."""


def compare_process_ids(parent: Parent) -> Callable[[], None]:
    @event.listens_for(parent.engine, "connect")
    def connect(dbapi_connection: Any, connection_record: Any) -> None:
        connection_record.info["pid"] = os.getpid()

    @event.listens_for(parent.engine, "checkout")
    def checkout(dbapi_connection: Any, connection_record: Any, connection_proxy: Any) -> None:
        pid = os.getpid()
        # connections made before the listener was added are the parent's too
        if connection_record.info.setdefault("pid", parent.pid) != pid:
            connection_record.dbapi_connection = connection_proxy.dbapi_connection = None
            raise DisconnectionError(
                f"Connection record belongs to pid {connection_record.info['pid']}, attempting to check out in {pid}"
            )

    return nothing


def dispose_keeping_first(parent: Parent) -> Callable[[], None]:
    return lambda: parent.engine.dispose(close=False)


def dispose_first(parent: Parent) -> Callable[[], None]:
    return lambda: parent.engine.dispose()


def close_and_dispose(parent: Parent) -> Callable[[], None]:
    def hack() -> None:
        session = parent.session or Session(parent.engine)
        session.close()
        parent.engine.dispose()

    return hack


RECIPES: tuple[Recipe, ...] = (compare_process_ids, dispose_keeping_first, dispose_first, close_and_dispose)


def work(parent: Parent) -> tuple[int, int]:
    """What a child does afterwards: the first unit's server session, and the second's."""
    with parent.engine.begin() as connection:
        first = server_id(connection)
    with parent.engine.begin() as connection:
        return first, server_id(connection)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda function: function.__name__)
def test_a_recipe_harms_neither_parent_nor_child(parent: ParentFactory, recipe: Recipe, state: str) -> None:
    one = parent(state)
    before = recipe(one)

    def child() -> tuple[int, int]:
        before()
        ids = work(one)
        one.forget()
        return ids

    # PyMySQL's destructor of a half-read result raises when it cannot read the rest
    first, second = in_child(child, destructors_may_fail=state == "half_read")
    assert first == second != one.id
    one.judge()
    if one.session is None:
        assert work(one) == (one.id, one.id)


_in_child_first: list[Callable[[], object]] = []
"""What the one at-fork hook of this module calls: a hook cannot be taken back."""


def _hook() -> None:
    for function in _in_child_first:
        function()


os.register_at_fork(after_in_child=_hook)


@pytest.mark.parametrize("close", [True, False], ids=["close", "keep"])
@pytest.mark.parametrize("state", STATES)
def test_disposing_in_an_at_fork_hook_is_harmless(parent: ParentFactory, state: str, close: bool) -> None:
    """Hooks run in the order of their registration: this one after holdfast's."""
    one = parent(state)

    def dispose() -> None:
        one.engine.dispose(close=close)

    _in_child_first.append(dispose)
    try:
        first, second = in_child(lambda: work(one))
    finally:
        _in_child_first.remove(dispose)
    assert first == second != one.id
    one.judge()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close", "keep"])
def test_disposing_in_a_hook_that_runs_before_holdfasts_is_harmless(url: URL, how: str) -> None:
    task = Task(url.render_as_string(hide_password=False), actions=("use_engine",), endings=("os._exit",), own_hook=how)
    verdicts = run_script(task)
    assert len(verdicts) == 3
    assert {case: wrong for case, wrong in verdicts.items() if wrong} == {}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda function: function.__name__)
def test_stock_sqlalchemy_breaks_the_parent_with_each_of_them(parent: ParentFactory, recipe: Recipe) -> None:
    """So the tests above can fail."""
    one = parent("in_transaction", plugins=[])
    before = recipe(one)

    def child() -> None:
        before()
        work(one)
        one.forget()

    in_child(child, destructors_may_fail=True)
    with pytest.raises((AssertionError, DBAPIError)):
        one.judge()
    with contextlib.suppress(DBAPIError):
        one.close()
    one.closed = True
