"""Code that is not holdfast's is called with nothing held that it could need: it may use the engine itself.

A logging handler that writes into the database, a listener that looks something up, a destructor that saves. Each of
them may also let another thread do it, and wait for that thread.
"""

from __future__ import annotations

import ast
import gc
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.budget.host import Host, limited
from tests.conftest import EngineFactory, connection_id, inside, read

pytestmark = pytest.mark.timeout(60)

SOURCE = Path(holdfast.__file__).parent
LOCKS = {
    "budget/exclusion.py": ["threading.RLock()", "self._lock.acquire(timeout=seconds)"],
    "pool/queue_pool.py": ["self._overflow_lock", "threading.RLock()", "threading.Lock()"],
}
"""Every lock in the core: of the budget, whose :class:`Exclusion` is tested here and in tests/budget, and of
SQLAlchemy's pool, which it holds for a few instructions of its own."""


def locks_in(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "acquire"):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.With):
            contexts = [ast.unparse(item.context_expr) for item in node.items]
            found += [context for context in contexts if "lock" in context.lower()]
    return found


def test_these_are_all_locks_that_there_are() -> None:
    core = [
        path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ("lab", "cli", "experiments")
    ]
    found = {path.relative_to(SOURCE).as_posix(): sorted(locks_in(path)) for path in core if locks_in(path)}
    assert found == {name: sorted(locks) for name, locks in LOCKS.items()}


@pytest.fixture
def alone() -> Iterator[Host]:
    """A server of its own, that allows the account three connections."""
    with limited("account", 3) as host, Proxy.for_server(host.server) as proxy:
        host.proxy = proxy
        yield host


class Uses:
    """Uses an engine when it is called, but not while it is at it."""

    def __init__(self, engine: Engine, *, in_another_thread: bool) -> None:
        self.engine = engine
        self.in_another_thread = in_another_thread
        self.busy = False
        self.times = 0
        self.errors: list[Exception] = []

    def __call__(self, *arguments: Any, **more: Any) -> None:
        if self.busy or self.times == 20:  # dispose() closes what it finds, and goes on while there is any
            return
        self.busy = True
        try:
            if self.in_another_thread:
                thread = threading.Thread(target=self.use)
                thread.start()
                thread.join()
            else:
                self.use()
        finally:
            self.busy = False

    def use(self) -> None:
        self.times += 1
        try:
            assert read(self.engine, 8) == 8
        except Exception as error:
            self.errors.append(error)


class NoLock:
    """What logging takes for a handler's lock, by either of its names, and nobody waits for."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class Handler(logging.Handler):
    """Uses the engine for each record."""

    def __init__(self, uses: Uses) -> None:
        super().__init__(logging.DEBUG)
        self.uses = uses

    def createLock(self) -> None:
        """The other thread, which writes into the log, too, would wait for this one."""
        self.lock = NoLock()  # type: ignore[assignment]

    def emit(self, record: logging.LogRecord) -> None:
        self.uses(record)


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """The collector may come anywhere, and drivers' destructors with it: PyMySQL's is called ``_force_close``."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=[False, True], ids=["in its own thread", "in another thread"])
def in_another_thread(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def eventful(engine: Engine, host: Host) -> None:
    """Do what makes holdfast write something down."""
    proxy, slots = host.proxy, Path(host.directory)
    assert proxy is not None
    read(engine)  # the limits
    host.server.kill_connection(connection_id(engine))
    read(engine)  # replaced
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.invalidate()
    engine.dispose()
    shutil.rmtree(slots)
    slots.write_text("not a directory")
    read(engine)  # without counting
    slots.unlink()
    read(engine)
    engine.dispose()
    proxy.refuse()
    restore = threading.Timer(0.4, proxy.restore)
    restore.start()
    read(engine)  # away, and there again
    restore.join()
    with engine.connect() as one, engine.connect() as other:
        connections = [one, other]
        del one, other
        connections.clear()


def test_a_logging_handler_may_use_the_engine_itself(alone: Host, driver: str, in_another_thread: bool) -> None:
    engine = create_engine(alone.url(driver, held=True, holdfast_headroom="0"), pool_timeout=10)
    handler = Handler(Uses(engine, in_another_thread=in_another_thread))
    logger = logging.getLogger("holdfast")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        eventful(engine, alone)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        engine.dispose()
    assert handler.uses.errors == []
    assert handler.uses.times >= 5


EVENTS = ("connect", "first_connect", "checkout", "checkin", "reset", "invalidate", "close", "engine_disposed")


@pytest.mark.parametrize("name", EVENTS)
def test_a_listener_may_use_the_engine_itself(alone: Host, name: str) -> None:
    engine = create_engine(alone.url("pymysql", held=True, holdfast_headroom="0"), pool_timeout=10)
    uses = Uses(engine, in_another_thread=False)
    event.listen(engine, name, uses)
    eventful(engine, alone)
    engine.dispose()
    assert uses.errors == []
    assert uses.times >= 1


def test_another_engines_close_listener_may_use_either_engine() -> None:
    """Its idle connection is closed by a thread that needs the slot."""
    with limited("account", 6) as host:
        one, other = (
            create_engine(host.url("pymysql", held=True, holdfast_headroom="0"), pool_size=6, pool_timeout=10)
            for _ in range(2)
        )
        uses = [Uses(engine, in_another_thread=False) for engine in (one, other)]
        with ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(one.connect())
        for listener in uses:
            event.listen(one, "close", listener)
        with other.connect(), other.connect():
            pass
        assert [listener.errors for listener in uses] == [[], []]
        assert all(listener.times for listener in uses)
        one.dispose()
        other.dispose()


@pytest.mark.usefixtures("no_garbage")
def test_nothing_but_the_budgets_own_code_runs_in_its_exclusion(alone: Host) -> None:
    own = tuple(f"{SOURCE}/{part}" for part in ("budget/", "fork.py", "_outside.py", "_registry.py", "errors.py"))
    plain = ("contextlib", "os", "posixpath", "genericpath", "tempfile", "random", "re", "enum", "weakref", "codecs")
    found: set[str] = set()

    def look(frame: FrameType, what: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if what != "call" or frame.f_code.co_filename.startswith(own) or name in plain or __name__ == name:
            return
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code.co_name in ("__del__", "_collected"):  # anything may be collected anywhere
                return
            caller = caller.f_back
        budget: Any = inside(engine)._limit.budget
        if budget is not None and budget._exclusion.entered:
            found.add(f"{name}.{frame.f_code.co_name}")

    engine = create_engine(alone.url("pymysql", held=True), pool_timeout=10)
    other = create_engine(alone.url("pymysql", held=True), pool_timeout=0.7)
    sys.setprofile(look)
    try:
        eventful(engine, alone)
        with engine.connect(), other.connect(), other.connect(), pytest.raises(holdfast.CheckoutTimeout):
            other.connect()
    finally:
        sys.setprofile(None)
        engine.dispose()
        other.dispose()
    assert found == set()


def test_a_process_that_cannot_use_the_file_says_so_outside_of_the_exclusion(
    server: Server, held: EngineFactory, tmp_path: Path
) -> None:
    engine = held(server.url("pymysql"), holdfast_budget=3, holdfast_budget_directory=str(tmp_path / "slots"))
    read(engine)
    engine.dispose()
    budget: Any = inside(engine)._limit.budget
    entered: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.append(budget._exclusion.entered)

    handler = Looks()
    logging.getLogger("holdfast").addHandler(handler)
    try:
        os.rename(tmp_path / "slots", tmp_path / "away")
        (tmp_path / "slots").write_text("")
        read(engine)
    finally:
        logging.getLogger("holdfast").removeHandler(handler)
    assert entered == [False]
