"""A Server lives as long as its Python process, whatever happens to threads and children; and not longer."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server, ServerFailed
from tests.lab.helpers import environment, eventually, exists, python

pytestmark = pytest.mark.slow

OWNER = """
import os, sys, time
from sqlalchemy_holdfast.lab import Server
server = Server().start()
{more}
print(server.pid, server.directory, flush=True)
{then}
"""


def run_owner(more: str = "", then: str = "sys.stdin.read()") -> tuple[subprocess.Popen[str], int, Path]:
    """Start a Python process that owns a server; return it, the server's process id and its directory."""
    owner = subprocess.Popen(
        python(OWNER.format(more=more, then=then)),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid, directory = owner.stdout.readline().split()
    return owner, int(pid), Path(directory)


def close(owner: subprocess.Popen[str]) -> None:
    for pipe in (owner.stdin, owner.stdout):
        if pipe is not None:
            pipe.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_survives_when_the_owner_is_killed(number: signal.Signals) -> None:
    owner, pid, directory = run_owner()
    assert exists(pid)
    owner.send_signal(number)
    owner.wait()
    eventually(lambda: not exists(pid) and not directory.exists(), 5)
    close(owner)


def test_nothing_survives_when_the_owner_is_killed_while_a_forked_child_of_it_lives() -> None:
    owner, pid, directory = run_owner(
        then="child = os.fork()\nif child == 0:\n    time.sleep(60)\n    os._exit(0)\n"
        "print(child, flush=True)\nsys.stdin.read()"
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        owner.kill()
        owner.wait()
        eventually(lambda: not exists(pid) and not directory.exists(), 5)
        assert exists(child)
    finally:
        os.kill(child, signal.SIGKILL)
        close(owner)


def test_nothing_survives_when_the_owner_is_killed_while_the_server_is_stopped() -> None:
    owner, _, directory = run_owner(then="server.stop(); print('stopped', flush=True); sys.stdin.read()")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "stopped\n"
    assert directory.exists()
    owner.kill()
    owner.wait()
    eventually(lambda: not directory.exists(), 5)
    close(owner)


@pytest.mark.parametrize("then", ["", "raise SystemExit(3)", "del server", "1 / 0"])
def test_nothing_survives_when_the_owner_ends_without_closing(then: str) -> None:
    owner, pid, directory = run_owner(then=f"sys.stderr = open(os.devnull, 'w')\n{then}")
    owner.wait(20)
    assert (exists(pid), directory.exists()) == (False, False)
    close(owner)


def test_a_forked_child_that_ends_leaves_the_server_alone() -> None:
    owner, pid, directory = run_owner(
        more="child = os.fork()\nif child == 0:\n    server.close()\n    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    assert exists(pid)
    assert directory.exists()
    owner.communicate()
    eventually(lambda: not exists(pid) and not directory.exists(), 5)


def test_a_forked_child_may_use_the_server_and_not_stop_it(server: Server) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if server.running and server.execute("SELECT 1") == [(1,)]:
                try:
                    server.stop()
                except ServerFailed:
                    code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert server.execute("SELECT 1") == [(1,)]


def test_a_server_outlives_the_thread_that_started_it() -> None:
    server = Server()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    pid = server.pid
    try:
        assert server.execute("SELECT 1") == [(1,)]
        assert server.pid == pid
    finally:
        server.close()


def test_when_the_supervisor_is_killed_the_server_goes_with_it_and_the_owner_is_told() -> None:
    with Server() as server:
        pid, process = server.pid, server._process
        assert pid is not None
        assert process is not None
        process._guard.kill()
        eventually(lambda: not exists(pid) or not server.running)
        assert not server.running
        with pytest.raises(ServerFailed, match="supervises"):
            server.start()
    assert not server.directory.exists()


def test_a_server_that_ends_by_itself_is_seen_to_have_ended() -> None:
    with Server() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not server.running)
        assert server.start().execute("SELECT 1") == [(1,)]
