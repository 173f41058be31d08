"""However a process forks, the child works and the parent keeps its transaction, its session and its pool."""

from __future__ import annotations

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.fork.conftest import url_for
from tests.fork.scripts.running import WAYS_TABLE, run

QUICK = (
    "os_fork",
    "child_of_a_child",
    "c_library_fork",
    "forkpty",
    "pty_fork",
    "plain_subprocess",
    "shell",
    "preexec_that_uses_the_engine",
    "preexec_that_collects",
    "preexec_that_closes",
    "daemon",
    "daemon_that_closes_all",
    "half_read_result",
    "all_places_of_the_pool",
    "no_more_descriptors_in_a_child",
)
OTHER_TRANSPORTS = (
    "os_fork",
    "c_library_fork",
    "preexec_that_collects",
    "preexec_that_closes",
    "daemon_that_closes_all",
    "half_read_result",
)
MULTIPROCESSING = ("multiprocessing_fork", "multiprocessing_spawn", "multiprocessing_forkserver")


def verdicts(server: Server, driver: str, transport: str, *ways: str) -> dict[str, str]:
    """What went wrong, by way."""
    server.execute(f"CREATE OR REPLACE TABLE {WAYS_TABLE} (id INT PRIMARY KEY) ENGINE=InnoDB", database="test")
    said: dict[str, str] = run("ways", url_for(server, driver, transport), *ways)
    assert set(said) == set(ways)
    return {way: wrong for way, wrong in said.items() if wrong}


@pytest.mark.slow
def test_no_way_to_fork_reaches_the_parent(server: Server, driver: str) -> None:
    assert verdicts(server, driver, "tcp", *QUICK) == {}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tls", "unix"])
def test_over_tls_and_a_unix_socket_the_parent_is_as_safe(
    server: Server, tls_server: Server, driver: str, transport: str
) -> None:
    assert verdicts(tls_server if transport == "tls" else server, driver, transport, *OTHER_TRANSPORTS) == {}


@pytest.mark.slow
def test_multiprocessing_and_executors_work_with_an_engine_of_the_module(server: Server, driver: str) -> None:
    assert verdicts(server, driver, "tcp", *MULTIPROCESSING) == {}


@pytest.mark.slow
def test_fifty_generations_and_many_forks_share_and_leak_nothing(server: Server, driver: str) -> None:
    assert verdicts(server, driver, "tcp", "generations", "many_forks") == {}


@pytest.mark.slow
def test_a_child_with_its_parents_process_id_is_a_child(server: Server, driver: str) -> None:
    """Containers in containers: in a new namespace a child may have the number 1, as its parent has."""
    assert verdicts(server, driver, "tcp", "same_process_id") == {}
