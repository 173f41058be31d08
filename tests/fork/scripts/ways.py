"""Every way to fork: ``ways WAY...``. Prints what went wrong, by way.

Before each way the process has a transaction with an uncommitted INSERT, and an idle connection in the pool; after it
both must be there, on the same sessions of the server.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import gc
import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from tests.fork.children import in_child
from tests.fork.parents import server_id
from tests.fork.scripts.running import LONG
from tests.fork.scripts.running import WAYS_TABLE as TABLE

URL = os.environ["FORK_TEST_URL"]
SECONDS = 15.0
engine = create_engine(URL, plugins=["holdfast"], holdfast_leak_warning=None)
"""Made when the module is imported: by each child that is spawned, too."""
session: Session | None = None


def unit(number: int = 1) -> tuple[int, int]:
    """A unit of work with the module's engine, as a child does it; also one that a pool sends to its workers."""
    with engine.connect() as connection:
        answer = int(connection.execute(text(f"SELECT {number}")).scalar_one())
        assert answer == number
        ids = server_id(connection)
    return answer, ids


def use_all() -> list[int]:
    """What a forked child does: use the engine, leave the parent's Session, use the engine."""
    ids = [unit()[1]]
    if session is not None:
        session.close()
    gc.collect()
    return [*ids, unit()[1]]


# -- the ways ---------------------------------------------------------------------------------------------------


def os_fork() -> list[int]:
    return in_child(use_all, SECONDS)


def child_of_a_child() -> list[int]:
    return in_child(lambda: [*use_all(), *in_child(use_all, SECONDS), *use_all()], SECONDS)


def generations() -> list[int]:
    """Fifty, each forked from the one before, each with a connection of its own still checked out."""

    def generation(left: int) -> list[int]:
        connection = engine.connect()
        mine = server_id(connection)
        below = in_child(lambda: generation(left - 1), 60) if left else []
        assert server_id(connection) == mine
        connection.close()
        return [mine, *below]

    ids = in_child(lambda: generation(49), 60)
    assert len(set(ids)) == 50
    return ids


def c_library_fork() -> list[int]:
    """A fork that Python does not know of: no at-fork hook runs."""
    end, start = os.pipe()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        _report_and_end(start)
    return _read(pid, start, end)


def forkpty() -> list[int]:
    return _with_terminal(os.forkpty)


def pty_fork() -> list[int]:
    return _with_terminal(pty.fork)


def plain_subprocess() -> list[int]:
    subprocess.run(["true"], check=True)
    return []


def shell() -> list[int]:
    assert os.system("true") == 0
    return []


def preexec_that_uses_the_engine() -> list[int]:
    subprocess.run(["true"], preexec_fn=unit, check=True)
    return []


def preexec_that_collects() -> list[int]:
    def drop() -> None:
        global session
        session = None
        engine.dispose()
        gc.collect()

    subprocess.run(["true"], preexec_fn=drop, check=True)  # with SIGPIPE at its default, as always in preexec_fn
    return []


def preexec_that_closes() -> list[int]:
    assert session is not None
    subprocess.run(["true"], preexec_fn=session.close, check=True)
    return []


def processes(method: str) -> Callable[[], list[int]]:
    def way() -> list[int]:
        context = multiprocessing.get_context(method)
        ids: list[int] = []
        process: Any = context.Process(target=unit)  # type: ignore[attr-defined]
        process.start()
        process.join(SECONDS)
        assert process.exitcode == 0
        with context.Pool(2) as pool:
            answers = pool.map_async(unit, range(30)).get(SECONDS)
        assert [answer for answer, _ in answers] == list(range(30))
        ids += {number for _, number in answers}
        if method != "fork" and not LONG:  # starting processes takes time, and the executors use the same ones
            return ids
        with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as executor:
            answers = list(executor.map(unit, range(30), timeout=SECONDS))
        assert [answer for answer, _ in answers] == list(range(30))
        return [*ids, *{number for _, number in answers}]

    return way


def daemon(*, close_all: bool) -> Callable[[], list[int]]:
    def way() -> list[int]:
        end, start = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.chdir("/")
            if close_all:  # as python-daemon does
                for descriptor in map(int, os.listdir("/proc/self/fd")):
                    if descriptor > 2 and descriptor != start:
                        try:
                            os.close(descriptor)
                        except OSError:
                            pass
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            _report_and_end(start, daemon_work)
        return _read(pid, start, end)

    return way


def daemon_work() -> list[int]:
    """New connections first: they may get the descriptors that inherited ones had. Then leave the inherited ones."""
    connections = [engine.connect() for _ in range(4)]
    ids = [server_id(connection) for connection in connections]
    files = [os.open(os.devnull, os.O_WRONLY) for _ in range(4)]
    if session is not None:
        session.close()
    gc.collect()
    assert [server_id(connection) for connection in connections] == ids
    for file in files:
        os.close(file)
    return [*ids, *use_all()]


def half_read_result() -> list[int]:
    """The child drops a result that the parent is in the middle of; the parent reads it to its end."""
    connection = engine.connect().execution_options(stream_results=True, max_row_buffer=10)
    result = connection.execute(text("SELECT seq FROM seq_1_to_20000"))
    first = [row[0] for row in result.fetchmany(10)]

    def child() -> list[int]:
        nonlocal connection, result
        connection.close()
        del result, connection
        gc.collect()
        return use_all()

    ids = in_child(child, SECONDS)
    assert first + [row[0] for row in result] == list(range(1, 20001))
    connection.close()
    return ids


def all_places_of_the_pool() -> list[int]:
    """The child's pool is as large as the parent's, and in the same order."""
    small = create_engine(
        URL,
        plugins=["holdfast"],
        pool_size=3,
        max_overflow=0,
        pool_timeout=1,
        pool_use_lifo=True,
        holdfast_leak_warning=None,
    )
    with small.connect() as connection:
        server_id(connection)

    def child() -> list[int]:
        connections = [small.connect() for _ in range(3)]
        ids = [server_id(connection) for connection in connections]
        for connection in connections:
            connection.close()
        with small.connect() as connection:
            assert server_id(connection) == ids[-1]
        return ids

    try:
        return in_child(child, SECONDS)
    finally:
        small.dispose()


def same_process_id() -> list[int]:
    """In a process id namespace of its own a child may have its parent's number."""
    libc = ctypes.PyDLL(None)
    if libc.unshare(0x20000000):  # CLONE_NEWPID
        return []  # not allowed here

    def first() -> list[int]:
        assert os.getpid() == 1
        with engine.connect() as connection:
            mine = server_id(connection)
            connection.rollback()  # nothing is begun: no warning when the child uses it
            libc.unshare(0x20000000)

            def second() -> list[int]:
                assert os.getpid() == 1
                return [server_id(connection), *use_all()]

            ids = in_child(second, SECONDS)
            assert mine not in ids, "two processes with the same number shared a session of the server"
            assert server_id(connection) == mine
        return [mine, *ids]

    return in_child(first, SECONDS)


def many_forks() -> list[int]:
    """Nothing grows in the parent."""
    for _ in range(20):
        in_child(use_all, SECONDS)
    before = _memory(), len(os.listdir("/proc/self/fd"))
    for _ in range(1000 if LONG else 150):
        in_child(lambda: None, SECONDS)
    after = _memory(), len(os.listdir("/proc/self/fd"))
    assert after[1] == before[1], "file descriptors grew"
    assert after[0] - before[0] < 2_000_000, f"memory grew by {after[0] - before[0]} bytes"
    return []


def no_more_descriptors_in_a_child() -> list[int]:
    def child() -> list[int]:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            use_all()
        engine.dispose()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before
        return []

    return in_child(child, SECONDS)


def _memory() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _report_and_end(start: int, work: Callable[[], list[int]] = use_all) -> None:
    try:
        said: Any = work()
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    try:
        os.write(start, json.dumps(said).encode())
    finally:
        os._exit(0)


def _read(pid: int, start: int, end: int) -> list[int]:
    os.close(start)
    os.set_blocking(end, False)
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                said = os.read(end, 65536)
            except BlockingIOError:
                time.sleep(0.002)
                continue
            answer = json.loads(said or b'"the child ended without an answer"')
            assert isinstance(answer, list), answer
            os.waitpid(pid, 0)
            return answer
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError("the child hung")
    finally:
        os.close(end)


def _with_terminal(fork: Callable[[], tuple[int, int]]) -> list[int]:
    end, start = os.pipe()
    pid, terminal = fork()
    if pid == 0:
        _report_and_end(start)
    try:
        return _read(pid, start, end)
    finally:
        os.close(terminal)


WAYS: dict[str, Callable[[], list[int]]] = {
    **{
        way.__name__: way
        for way in (
            os_fork,
            child_of_a_child,
            generations,
            c_library_fork,
            forkpty,
            pty_fork,
            plain_subprocess,
            shell,
            preexec_that_uses_the_engine,
            preexec_that_collects,
            preexec_that_closes,
            half_read_result,
            all_places_of_the_pool,
            same_process_id,
            many_forks,
            no_more_descriptors_in_a_child,
        )
    },
    "multiprocessing_fork": processes("fork"),
    "multiprocessing_spawn": processes("spawn"),
    "multiprocessing_forkserver": processes("forkserver"),
    "daemon": daemon(close_all=False),
    "daemon_that_closes_all": daemon(close_all=True),
}


def tried(way: Callable[[], list[int]], number: int) -> str:
    """Say what went wrong with one way; empty: nothing."""
    global session
    engine.dispose()
    idle, session = engine.connect(), Session(engine)
    ids = server_id(idle), server_id(session)
    session.execute(text(f"INSERT INTO {TABLE} VALUES ({number})"))
    idle.close()
    wrong = []
    try:
        seen = way()
        if set(ids) & set(seen):
            wrong.append("a child used the parent's session of the server")
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {str(error)[-700:]}")
    try:
        with engine.connect() as connection:
            if server_id(connection) != ids[0]:
                wrong.append("the parent's idle connection is not the same")
        if server_id(session) != ids[1]:
            wrong.append("the parent's Session has another session of the server")
        session.commit()
        with outside.connect() as connection:
            if connection.execute(text(f"SELECT COUNT(*) FROM {TABLE} WHERE id = {number}")).scalar() != 1:
                wrong.append("the parent's row is lost")
    except Exception as error:
        wrong.append(f"parent: {type(error).__name__}: {str(error)[-700:]}")
    session.close()
    if holdfast.status(engine).counters.replaced:
        wrong.append(f"the parent's connections were replaced: {holdfast.status(engine).counters.replaced}")
    return "; ".join(wrong)


if __name__ == "__main__":
    outside = create_engine(URL, poolclass=NullPool)
    print(json.dumps({name: tried(WAYS[name], number) for number, name in enumerate(sys.argv[1:])}))
