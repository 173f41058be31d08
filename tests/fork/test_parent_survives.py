"""Whatever a forked child does with what it inherited, the parent goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from sqlalchemy import URL

from tests.fork.children import in_child
from tests.fork.conftest import TRANSPORTS, ParentFactory
from tests.fork.parents import STATES, Parent
from tests.fork.script import ACTIONS, Task, run_script


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda function: function.__name__)
def test_the_parent_keeps_session_transaction_and_result(
    parent: ParentFactory, driver: str, transport: str, action: Callable[[Parent], None]
) -> None:
    parents = [parent(state) for state in STATES]

    def child() -> None:
        for one in parents:
            action(one)

    in_child(child)
    for one in parents:
        one.judge()


@pytest.mark.parametrize("state", STATES)
def test_the_parent_survives_a_child_that_is_killed(parent: ParentFactory, state: str) -> None:
    one = parent(state)
    in_child(lambda: None, ending=lambda: os.kill(os.getpid(), signal.SIGKILL))
    one.judge()


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_the_parent_survives_every_way_for_a_scripts_child_to_end(url: URL, driver: str, transport: str) -> None:
    task = Task(url.render_as_string(hide_password=False), actions=("nothing", "use_inherited"))
    judge(task, 18)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "tls"], indirect=True)
def test_without_an_at_fork_hook_the_parent_survives_all_but_a_dropped_half_read_result(
    url: URL, driver: str, transport: str
) -> None:
    """As in uWSGI. Drivers' result objects have destructors of their own, which read what is left."""
    if driver != "mysqlconnector":
        url = url.update_query_dict({"read_timeout": "3"})  # a result that somebody else has read never ends
    task = Task(
        url.render_as_string(hide_password=False),
        actions=("nothing", "use_engine", "use_inherited", "use_and_drop", "drop_everything"),
        endings=("returns",),
        at_fork_hook=False,
        skip=(("half_read", "drop_everything"),),
    )
    judge(task, 14)


def judge(task: Task, cases: int) -> None:
    verdicts = run_script(task)
    assert len(verdicts) == cases
    wrong = {case: what for case, what in verdicts.items() if what}
    assert wrong == {}
