"""Sockets of a parent: no program gets them, and a child that closes its copies of them harms nobody."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read
from tests.fork.children import in_child
from tests.fork.conftest import TRANSPORTS, ParentFactory
from tests.fork.helpers import listed
from tests.fork.parents import server_id


@pytest.mark.parametrize("state", ["idle", "in_transaction"])
def test_a_process_without_a_free_descriptor_leaves_its_parents_connections_alone(
    parent: ParentFactory, state: str
) -> None:
    import resource

    one = parent(state)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    end, start = os.pipe()
    spare: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limits[1]), limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        pid = os.fork()
        if pid == 0:
            try:
                for descriptor in spare:
                    os.close(descriptor)
                with one.engine.connect() as connection:
                    server_id(connection)
                one.forget()
                os.write(start, b"done")
            finally:
                os._exit(0)
    finally:
        for descriptor in spare:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.waitpid(pid, 0)
    os.close(start)
    with os.fdopen(end, "rb") as answer:
        assert answer.read() == b"done"
    one.judge()


def sockets_of(driver_connection: Any) -> int:
    for path in ("fileno", "_sock.fileno", "_socket.sock.fileno"):
        found = driver_connection
        try:
            for name in path.split("."):
                found = getattr(found, name)
        except AttributeError:
            continue
        return int(found())
    raise AssertionError("no socket")


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_a_program_that_is_started_does_not_get_the_connections(
    request: pytest.FixtureRequest, parent: ParentFactory, transport: str
) -> None:
    server: Server = request.getfixturevalue("tls_ledger" if transport == "tls" else "ledger")
    one = parent("idle")
    assert not os.get_inheritable(sockets_of(one.driver_connection))
    program = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        close_fds=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        program.stdout.readline()
        one.driver_connection = None
        one.engine.dispose()
        gc.collect()
        assert not listed(server, {one.id}), "the program keeps the parent's session open"
    finally:
        program.stdin.close()
        program.wait(60)
        program.stdout.close()


@pytest.mark.parametrize("transport", ["tcp", "TLS"])
def test_a_child_whose_program_dies_of_sigpipe_is_not_killed_by_a_drivers_farewell(
    server: Server, tls_server: Server, driver: str, held: EngineFactory, transport: str
) -> None:
    """Command-line programs set SIGPIPE back to its default."""
    which = tls_server if transport == "TLS" else server
    engine = held(which.url(driver, query={"ssl_ca": which.tls_ca or ""} if transport == "TLS" else None))
    session = Session(engine)
    session.execute(text("SELECT 1")).scalar()
    read(engine)

    def child() -> list[Any]:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        answers = [session.execute(text("SELECT 2")).scalar(), read(engine, 3)]
        session.close()
        engine.dispose()
        gc.collect()
        return answers

    assert in_child(child) == [2, 3]
    session.close()


@pytest.mark.slow
def test_a_child_of_many_connections_can_drop_them_all(driver: str, held: EngineFactory) -> None:
    """More last words than fit into one socket that nobody reads."""
    with Server(options={"max_connections": 400}) as server:
        engine = held(server.url(driver), pool_size=300, max_overflow=0)
        connections = [engine.connect() for _ in range(300)]

        def child() -> int:
            for connection in connections:
                connection.close()
            engine.dispose()
            gc.collect()
            return int(read(engine, 3))

        assert in_child(child) == 3
        for number, connection in enumerate(connections):
            assert connection.execute(text(f"SELECT {number}")).scalar() == number
            connection.close()
        engine.dispose()
