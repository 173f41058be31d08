"""A fork at chosen moments: ``moments MOMENT...``. Prints what went wrong, in child or parent, by moment."""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import fork
from tests.fork.children import in_child
from tests.fork.parents import server_id

engine: Engine
"""A new one for each moment."""


def units() -> list[int]:
    """Use the engine three times, and all of its places at once; return the server's ids."""
    ids = set()
    for number in range(3):
        with engine.connect() as connection:
            assert connection.execute(text(f"SELECT {number}")).scalar() == number
            ids.add(server_id(connection))
    connections = [engine.connect() for _ in range(3)]
    ids |= {server_id(connection) for connection in connections}
    for connection in connections:
        connection.close()
    return sorted(ids)


class Threads:
    """Threads that have a connection in the middle of a transaction while the main thread forks."""

    def __init__(self, count: int, *, scoped: bool) -> None:
        self.session = scoped_session(sessionmaker(engine)) if scoped else None
        self.local = threading.local()
        self.barrier = threading.Barrier(count + 1, timeout=60)
        self.go_on = threading.Event()
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self.threads:
            thread.start()
        self.barrier.wait()

    def _id(self) -> int:
        # Only thread-local storage keeps it: that is cleared in a child before its at-fork hooks run.
        if self.session is not None:
            return server_id(self.session)
        if not hasattr(self.local, "connection"):
            self.local.connection = engine.connect()
        return server_id(self.local.connection)

    def _work(self) -> None:
        mine = self._id()
        self.barrier.wait()
        self.go_on.wait()
        try:
            if self._id() != mine:
                self.wrong.append("a thread of the parent's got another session of the server")
            if self.session is not None:
                self.session.remove()
            else:
                self.local.connection.close()
        except DBAPIError as error:
            self.wrong.append(f"a thread of the parent's: {error}")

    def judge(self) -> list[str]:
        self.go_on.set()
        for thread in self.threads:
            thread.join()
        return self.wrong


def in_the_parent(connection: Connection, mine: int) -> list[str]:
    try:
        now = server_id(connection)
    except Exception as error:
        return [f"parent: {type(error).__name__}: {error}"]
    return [] if now == mine else ["the parent's session on the server is not the same"]


def locks_held() -> list[str]:
    """Fork in one thread while a second holds every lock of the pool's and others are in a transaction."""
    units()
    threads = Threads(3, scoped=False)
    pool: Any = engine.pool
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._pool.mutex, pool._overflow_lock:
            held.set()
            release.wait()

    found: list[str] = []

    def forks() -> None:
        try:
            in_child(units)
        except AssertionError as error:
            found.append(str(error))

    holder, forker = threading.Thread(target=hold), threading.Thread(target=forks)
    holder.start()
    held.wait()
    forker.start()
    forker.join()
    release.set()
    holder.join()
    return found + threads.judge()


def while_connecting(*, first: bool, at: tuple[float, ...]) -> list[str]:
    """Fork at several moments while a second thread is connecting, through a slow proxy."""
    found: list[str] = []
    for moment in at:
        fresh = create_engine(os.environ["FORK_TEST_URL"], plugins=["holdfast"], holdfast_leak_warning=None)
        if not first:
            with fresh.connect() as connection:
                server_id(connection)
        kept = fresh.connect() if not first else None
        answers: list[int] = []

        def connects(fresh: Any = fresh, answers: list[int] = answers) -> None:
            with fresh.connect() as connection:
                answers.append(server_id(connection))

        def child(fresh: Any = fresh) -> tuple[int, Any, Any]:
            with fresh.connect() as connection:
                number = server_id(connection)
                level = connection.default_isolation_level
            return number, fresh.dialect.server_version_info, level

        thread = threading.Thread(target=connects)
        thread.start()
        time.sleep(moment)  # not a wait for an event: the moment is what is tried out
        try:
            number, version, level = in_child(child, 10)
            if not version or not level:
                found.append(f"after {moment} s: the child's dialect was never initialised: {version}, {level}")
            thread.join()
            if number in answers:
                found.append(f"after {moment} s: parent and child had the same session of the server")
        except AssertionError as error:
            found.append(f"after {moment} s: {str(error)[-600:]}")
        thread.join()
        if len(answers) != 1:
            found.append(f"after {moment} s: the parent's thread could not connect")
        if kept is not None:
            kept.close()
        fresh.dispose()
    return found


def connecting() -> list[str]:
    return while_connecting(first=False, at=(0.005, 0.03, 0.055))


def first_connection() -> list[str]:
    return while_connecting(first=True, at=(0.1, 0.15, 0.175, 0.2, 0.225))


def reply_pending() -> list[str]:
    """Fork while the reply to a deferred ROLLBACK is on its way."""
    with engine.connect() as connection:
        mine = server_id(connection)
    deferred = holdfast.status(engine).counters.rollbacks_deferred
    ids = in_child(units)
    found = [] if deferred else ["no ROLLBACK was deferred"]
    with engine.connect() as connection:
        found += in_the_parent(connection, mine)
    return found + ["shared"] * (mine in ids)


def in_a_checkout() -> list[str]:
    """Fork in a listener, in the middle of a checkout; the child goes on with that checkout."""
    with engine.connect() as connection:
        mine = server_id(connection)
    pids: list[int] = []
    end, start = os.pipe()

    def forks(*_: object) -> None:
        if not pids:
            pids.append(os.fork())

    event.listen(engine, "checkout", forks)
    try:
        with engine.connect() as connection:
            mine_now = server_id(connection)
        answer = [mine_now, *(units() if not pids[0] else [])]
    except BaseException as error:
        if not pids[0]:
            os.write(start, json.dumps(str(error)).encode())
            os._exit(1)
        raise
    if not pids[0]:
        os.write(start, json.dumps(answer).encode())
        os._exit(0)
    os.close(start)
    _, status = os.waitpid(pids[0], 0)
    child = json.loads(os.read(end, 65536))
    found = [] if status == 0 else [f"the child ended with {status}: {child}"]
    if status == 0 and mine in child:
        found.append("the child got the parent's session of the server")
    return found + ([] if mine_now == mine else ["the parent got another session of the server"])


def in_a_signal_handler() -> list[str]:
    """Fork in a SIGALRM handler in the middle of a query: one child works in the handler, one returns from it."""
    found: list[str] = []
    children: list[int] = []
    end, start = os.pipe()

    def handler(*_: object) -> None:
        try:
            in_child(units)
        except AssertionError as error:
            found.append(str(error))
        children.append(os.fork())

    # A warning would say that the parent may have changed something: SLEEP() is not known to only read.
    logging.getLogger("holdfast").setLevel(logging.ERROR)
    signal.signal(signal.SIGALRM, handler)
    with engine.connect() as connection:
        mine = server_id(connection)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        said = "fine"
        answer = None
        try:
            answer = connection.execute(text("SELECT 4711 + SLEEP(0.4)")).scalar()
            mine_now = server_id(connection)
        except DBAPIError as error:
            if children and children[0]:
                found.append(f"parent: {error}")
            mine_now = -1
            connection.rollback()
        if not children[0]:
            try:
                if mine in (ids := units()):
                    said = f"the parent's session of the server: {ids}"
                if server_id(connection) == mine:
                    said = "the parent's session of the server, on the inherited connection"
            except Exception as error:
                said = repr(error)
            os.write(start, said.encode())
            os._exit(0)
        os.close(start)
        os.waitpid(children[0], 0)
        said = os.read(end, 65536).decode()
        if said != "fine":
            found.append(f"child: {said}")
        if (answer, mine_now) != (4711, mine):
            found.append(f"the parent's query was answered with {answer} by {mine_now}, not by {mine}")
        return found + in_the_parent(connection, mine)


def no_descriptor_left() -> list[str]:
    """Fork a process that has used up its file descriptors: the child must not touch what it could not replace."""
    connection = engine.connect()
    mine = server_id(connection)
    end, start = os.pipe()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    fill = []
    try:
        while True:
            fill.append(os.dup(end))
    except OSError:
        pass
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in fill:
                os.close(descriptor)
            connection.rollback()
            connection.close()
            os.write(start, b"shared" if mine in units() else b"fine")
        except BaseException as error:
            os.write(start, repr(error).encode())
        os._exit(0)
    for descriptor in fill:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.waitpid(pid, 0)
    said = os.read(end, 65536).decode()
    found = in_the_parent(connection, mine)
    return found if said == "fine" else [*found, f"child: {said}"]


class _Stop(BaseException):
    """What a signal's handler raises."""


class _InTheHook:
    """Something that happens while holdfast's at-fork hook runs."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        fork.watch(self)

    def leave_to_parent(self) -> None:
        self.act()

    def start_anew(self) -> None:
        pass


def hook_interrupted() -> list[str]:
    """Have an exception from a signal handler (SIGTERM, a time limit) arrive while the at-fork hook runs."""

    raised: list[int] = []

    def stop() -> None:
        if not raised:  # a signal arrives once
            raised.append(1)
            raise _Stop

    connection = engine.connect()
    mine = server_id(connection)
    keep = [
        _InTheHook(stop) for _ in range(64)
    ]  # the order is not known: most often one of them comes before the engine

    def child() -> list[int]:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        connection.rollback()
        connection.close()
        return units()

    # The interpreter reports what a hook raises, and goes on.
    devnull, stderr = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(devnull, 2)
    try:
        ids = in_child(child)
    finally:
        os.dup2(stderr, 2)
    assert keep
    return in_the_parent(connection, mine) + ["shared"] * (mine in ids)


def hook_collects() -> list[str]:
    """Have the garbage collector run in the hook: what only other threads' storage kept is garbage in the child."""
    threads = Threads(5, scoped=True)  # more than the pool keeps: it closes what is returned above that
    keep = [_InTheHook(gc.collect) for _ in range(64)]
    gc.disable()
    found: list[str] = []
    try:
        in_child(units)
    except AssertionError as error:
        found.append(str(error))
    assert keep
    return found + threads.judge()


MOMENTS = (
    locks_held,
    connecting,
    first_connection,
    reply_pending,
    in_a_checkout,
    in_a_signal_handler,
    no_descriptor_left,
    hook_interrupted,
    hook_collects,
)


def tried(moment: Callable[[], list[str]]) -> list[str]:
    global engine
    engine = create_engine(
        os.environ["FORK_TEST_URL"],
        plugins=["holdfast"],
        pool_size=3,
        max_overflow=2,
        pool_timeout=3,
        holdfast_leak_warning=None,  # connections are left to the garbage collector on purpose
    )
    found = moment()
    if replaced := dict(holdfast.status(engine).counters.replaced):
        found.append(f"the parent's connections were replaced: {replaced}")
    engine.dispose()
    gc.enable()
    return found


if __name__ == "__main__":
    known = {moment.__name__: moment for moment in MOMENTS}
    print(json.dumps({name: tried(known[name]) for name in sys.argv[1:]}))
