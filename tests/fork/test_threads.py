"""A process with threads may fork at any moment: no lock, no reply and no session of another process is in the way."""

from __future__ import annotations

import pytest
from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.fork.conftest import url_for
from tests.fork.scripts.running import LONG, THREADS_TABLE, run

FORKS = 200 if LONG else 67  # 200 in all, over the drivers

AT_ONCE = (
    "locks_held",
    "in_a_checkout",
    "in_a_signal_handler",
    "no_descriptor_left",
    "hook_interrupted",
    "hook_collects",
)


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_children_of_eight_busy_threads_work_and_the_threads_never_notice(server: Server, driver: str) -> None:
    server.execute(f"CREATE OR REPLACE TABLE {THREADS_TABLE} (number BIGINT, pid INT) ENGINE=InnoDB", database="test")
    said = run("busy_threads", url_for(server, driver), str(FORKS), seconds=160)
    assert said.pop("units") > FORKS
    assert said.pop("ids_of_children") >= FORKS
    assert said.pop("descriptors_grown_in_a_child") <= 0
    assert said == {
        "children_failed": [],
        "ids_in_two_processes": {},
        "wrong": [],
        "errors": [],
        "rows_are_right": True,
        "replaced": {},
    }


def verdicts(url: URL, *moments: str) -> dict[str, list[str]]:
    """What went wrong, by moment."""
    said: dict[str, list[str]] = run("moments", url, *moments)
    assert set(said) == set(moments)
    return {moment: wrong for moment, wrong in said.items() if wrong}


@pytest.mark.slow
def test_a_fork_at_a_bad_moment_harms_nobody(server: Server, driver: str) -> None:
    assert verdicts(url_for(server, driver), *AT_ONCE) == {}


@pytest.mark.slow
def test_a_fork_while_the_network_is_slow_harms_nobody(server: Server, proxy: Proxy, driver: str) -> None:
    proxy.delay = 0.02
    url = url_for(server, driver).set(host=proxy.host, port=proxy.port)
    assert verdicts(url, "connecting", "first_connection", "reply_pending") == {}
