"""Forking for the tests of what a fork does: a child with a limit in time, and a parent whose state can be judged.

Run as a program (``python -m tests.fork.processes``, a :class:`Task` as JSON on its standard input) this is a script
whose children end the way a script's children do: by returning, with ``atexit``, destructors and all.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import itertools
import json
import logging
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

T = TypeVar("T")

TOP = Path(__file__).resolve().parents[2]
TABLE = "fork_ledger"
ROWS = 4000


class ChildFailed(AssertionError):
    """The function raised in the child; the text is the child's traceback."""


# -- a child of this process -----------------------------------------------------------------------------------


def in_child(
    function: Callable[[], T],
    seconds: float = 60.0,
    *,
    ending: Callable[[], object] | None = None,
    destructors_may_fail: bool = False,
) -> T:
    """Fork, run a function in the child, and return what it returned.

    :param seconds: after that the child is killed, and the test fails.
    :param ending: how the child ends, instead of ``os._exit``; may be no way of ending at all.
    :param destructors_may_fail: an exception in a destructor, which nobody can catch, is no failure.
    :raises ChildFailed: the function, or a destructor, raised.
    """
    end, start = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end)
            _report(start, function, destructors_may_fail)
            if ending is not None:
                ending()
        finally:
            os._exit(0)
    os.close(start)
    deadline = time.monotonic() + seconds
    try:
        answer = _read_all(end, deadline)
        status = _wait(pid, deadline)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"the child hung: it was killed after {seconds:g} s") from None
    finally:
        os.close(end)
    if not answer:
        raise ChildFailed(f"the child ended without an answer (wait status {status})")
    good, value = pickle.loads(answer)
    if not good:
        raise ChildFailed(f"in the child:\n{value}")
    return value  # type: ignore[no-any-return]


def _report(pipe: int, function: Callable[[], object], destructors_may_fail: bool) -> None:
    unraisable: list[str] = []
    sys.unraisablehook = lambda u: unraisable.append(f"{u.err_msg or 'in'} {u.object!r}: {u.exc_value!r}")
    try:
        value = function()
        result = (
            (True, value)
            if destructors_may_fail or not unraisable
            else (False, "ignored by the interpreter:\n" + "\n".join(unraisable))
        )
    except BaseException:  # also pytest.fail and sys.exit: nothing may go on with the tests in the child
        result = (False, traceback.format_exc())
    with os.fdopen(pipe, "wb") as stream:
        stream.write(pickle.dumps(result))


def _read_all(pipe: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _wait(pid: int, deadline: float) -> int:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.001)


# -- a parent in one of three states ---------------------------------------------------------------------------

STATES = ("idle", "in_transaction", "half_read")
_numbers = itertools.count(os.getpid() * 1000)


class Parent:
    """An engine with one connection in one of :data:`STATES`.

    ``idle``: in the pool, with a ROLLBACK whose reply nobody has read. ``in_transaction``: a Session with an
    uncommitted INSERT. ``half_read``: the same, in the middle of a streamed result.
    """

    def __init__(self, url: Any, state: str, **options: Any) -> None:
        self.url, self.state, self.number, self.pid = url, state, next(_numbers), os.getpid()
        if "plugins" not in options:  # connections are left to the garbage collector on purpose
            options = {"plugins": ["holdfast"], "holdfast_leak_warning": None, **options}
        self.engine: Engine = create_engine(url, **options)
        self.held = "plugins" not in options
        self.outside: Engine = create_engine(url, poolclass=NullPool)
        self.session: Session | None = None
        self.connection: Connection | None = None
        self.result: Any = None
        self.driver_connection: Any = None
        """What the driver made, as code that went round SQLAlchemy may hold it."""
        self.first: list[Any] = []
        self.closed = False
        if state == "idle":
            with self.engine.connect() as connection:
                self.id = server_id(connection)
                self.driver_connection = connection.connection.dbapi_connection
            return
        self.session = Session(self.engine)
        self.connection = self.session.connection()
        self.id = server_id(self.connection)
        self.connection.execute(text(f"INSERT INTO {TABLE} VALUES ({self.number}, 1)"))
        if state == "half_read":
            sql = f"SELECT seq, REPEAT('x', 100) FROM {TABLE}_rows ORDER BY seq"
            if self.engine.dialect.supports_server_side_cursors:
                options = {"stream_results": True, "max_row_buffer": 10}
                self.result = self.connection.execution_options(**options).execute(text(sql))
            else:  # mysql-connector's dialect always has all rows read
                self.result = self.connection.connection.cursor(buffered=False)
                self.result.execute(sql)
            self.first = [row[0] for row in self.result.fetchmany(100)]

    def judge(self) -> None:
        """Go on as if there had been no fork, and fail if there is a difference.

        :raises AssertionError: saying which.
        """
        import sqlalchemy_holdfast as holdfast

        if self.session is None:
            with self.engine.connect() as connection:
                assert server_id(connection) == self.id, f"{self.state}: the parent's session is another"
        else:
            assert self.connection is not None
            if self.result is not None:
                rest = [row[0] for row in self.result]
                assert self.first + rest == list(range(1, ROWS + 1)), f"{self.state}: the result did not go on"
            assert self.rows() == 0, f"{self.state}: the parent's transaction was committed by somebody else"
            assert server_id(self.connection) == self.id, f"{self.state}: the parent's session is another"
            inside = self.connection.execute(text(f"SELECT COUNT(*) FROM {TABLE} WHERE id = {self.number}")).scalar()
            assert inside == 1, f"{self.state}: the parent's transaction lost its INSERT"
            self.session.commit()
            assert self.rows() == 1, f"{self.state}: the parent's COMMIT did not commit"
        hold = holdfast.status(self.engine)
        if hold.active:
            assert hold.counters.replaced == {}
            assert hold.counters.connects == 1, "the parent had to connect again"
        else:
            assert not self.held, hold

    def rows(self, more: int = 0) -> int:
        """How many rows of this parent's number the rest of the world sees."""
        with self.outside.connect() as connection:
            sql = f"SELECT COUNT(*) FROM {TABLE} WHERE id = {self.number + more}"
            return int(connection.execute(text(sql)).scalar_one())

    def close(self) -> None:
        if self.closed:
            return
        if self.result is not None:
            self.result.close()
        if self.session is not None:
            self.session.close()
        self.engine.dispose()

    def forget_connections(self) -> None:
        self.session = self.connection = self.result = self.driver_connection = None
        gc.collect()

    def forget(self) -> None:
        """Drop the last reference to everything inherited."""
        self.__dict__.clear()
        gc.collect()


def server_id(connection: Any) -> int:
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


# -- what a child does -----------------------------------------------------------------------------------------

_child_rows = itertools.count(1)


def nothing(parent: Parent) -> None:
    """Nothing at all."""


def drop_everything(parent: Parent) -> None:
    parent.forget()


def drop_connections(parent: Parent) -> None:
    parent.forget_connections()
    use_engine(parent)


def use_engine(parent: Parent) -> None:
    number = -(os.getpid() * 100 + next(_child_rows))
    with parent.engine.begin() as connection:
        assert server_id(connection) != parent.id
        connection.execute(text(f"INSERT INTO {TABLE} VALUES ({number}, 2)"))
    with parent.engine.connect() as connection:
        count = connection.execute(text(f"SELECT COUNT(*) FROM {TABLE} WHERE id = {number}")).scalar()
        assert count == 1


def use_and_drop(parent: Parent) -> None:
    use_engine(parent)
    parent.forget()


def use_inherited(parent: Parent) -> None:
    """Run statements on the inherited Session and Connection; roll back, begin anew, commit, close."""
    if parent.session is None or parent.connection is None:
        use_driver_connection(parent)
        return
    number = -(os.getpid() * 100 + next(_child_rows))
    insert = text(f"INSERT INTO {TABLE} VALUES ({number}, 3)")
    assert server_id(parent.connection) != parent.id
    parent.session.execute(insert)
    commit_inherited(parent)
    parent.session.execute(insert)
    parent.session.commit()
    parent.session.execute(text("SELECT 1"))
    parent.session.rollback()
    parent.session.close()
    with parent.engine.connect() as connection:
        count = connection.execute(text(f"SELECT COUNT(*) FROM {TABLE} WHERE id = {number}")).scalar()
        assert count == 1


def commit_inherited(parent: Parent) -> None:
    if parent.session is None:
        return
    try:
        parent.session.commit()
    except DBAPIError:
        parent.session.rollback()
    else:
        raise AssertionError("the child could commit the parent's transaction")
    parent.session.close()


def errors(parent: Parent) -> tuple[type[Exception], ...]:
    return DBAPIError, parent.engine.dialect.loaded_dbapi.Error


def close_inherited(parent: Parent) -> None:
    if parent.result is not None:
        try:
            parent.result.close()
        except errors(parent):
            pass  # the connection is gone for the child
    if parent.session is not None:
        parent.session.close()
    use_engine(parent)


def read_on(parent: Parent) -> None:
    """Try to read the rest of the parent's result: what the child had not received before the fork must not come."""
    if parent.result is None:
        return
    try:
        rows = parent.result.fetchall()
    except errors(parent):
        pass
    else:
        raise AssertionError(f"the child could read {len(rows)} rows of the parent's result to their end")
    close_inherited(parent)


def use_driver_connection(parent: Parent) -> None:
    """Use the driver's own object, going round SQLAlchemy."""
    inner: Any = parent.driver_connection
    if inner is None and parent.connection is not None:
        inner = parent.connection.connection.dbapi_connection
    uses: tuple[Callable[[], Any], ...] = (
        lambda: inner.cursor().execute("SELECT 1"),
        lambda: inner.commit(),
        lambda: inner.ping(),
        lambda: inner.rollback(),
        lambda: inner.close(),
    )
    for use in uses:
        try:
            use()
        except parent.engine.dialect.loaded_dbapi.Error:
            pass


def dispose(parent: Parent) -> None:
    parent.engine.dispose()
    use_engine(parent)


def dispose_keeping(parent: Parent) -> None:
    parent.engine.dispose(close=False)
    use_engine(parent)


def be_killed(parent: Parent) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


ACTIONS: tuple[Callable[[Parent], None], ...] = (
    nothing,
    drop_everything,
    drop_connections,
    use_engine,
    use_and_drop,
    use_inherited,
    commit_inherited,
    close_inherited,
    read_on,
    use_driver_connection,
    dispose,
    dispose_keeping,
)
"""What a child does before it ends."""

ENDINGS = ("returns", "sys.exit", "os._exit", "SIGKILL")


# -- the script ------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """What the script is to do."""

    url: str
    states: tuple[str, ...] = STATES
    actions: tuple[str, ...] = tuple(action.__name__ for action in ACTIONS)
    endings: tuple[str, ...] = ENDINGS
    at_fork_hook: bool = True
    """If not, holdfast's own at-fork hook is never called, as in uWSGI."""
    skip: tuple[tuple[str, str], ...] = ()
    """Combinations of state and action that are left out."""
    own_hook: str = ""
    """What an at-fork hook does that was registered before holdfast was imported: dispose ("close" or "keep")."""


def run_script(task: Task, python: str = sys.executable) -> dict[str, str]:
    """Run the script and return its verdicts: case to what went wrong (empty: nothing)."""
    done = subprocess.run(
        [python, "-W", "ignore::DeprecationWarning", "-m", "tests.fork.processes"],
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        timeout=100,
        cwd=TOP,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert lines, f"{done.stdout}\n{done.stderr}"
    verdicts: dict[str, str] = json.loads(lines[-1])
    return verdicts


class _Child(BaseException):
    """Unwinds a child to the end of the script. Not an error."""


_kept: list[Parent] = []
"""Still referenced when the interpreter ends, as a module's engine is."""


def _main() -> None:
    task = Task(**json.load(sys.stdin))
    if not task.at_fork_hook:
        assert "sqlalchemy_holdfast.fork" not in sys.modules
        real, os.register_at_fork = os.register_at_fork, lambda **hooks: None
        importlib.import_module("sqlalchemy_holdfast.fork")
        os.register_at_fork = real
    logging.getLogger("holdfast").addHandler(logging.NullHandler())
    if task.own_hook:
        assert "holdfast" not in sys.modules

        def dispose_all() -> None:
            for one in _kept:
                one.engine.dispose(task.own_hook == "close")

        os.register_at_fork(after_in_child=dispose_all)
    skipped = {tuple(case) for case in task.skip}
    verdicts = {}
    for state in task.states:
        for action in (action for action in ACTIONS if action.__name__ in task.actions):
            for ending in task.endings:
                abrupt = ending in ("os._exit", "SIGKILL")  # nothing of the interpreter's runs: one action will do
                if (state, action.__name__) not in skipped and not (abrupt and action.__name__ != task.actions[0]):
                    verdicts[f"{state}-{action.__name__}-{ending}"] = _one(task, state, action, ending)
    print(json.dumps(verdicts))


def _one(task: Task, state: str, action: Callable[[Parent], None], ending: str) -> str:
    parent = Parent(task.url, state)
    _kept[:] = [parent]
    with _captured() as said:
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                action(parent)
            except BaseException:
                traceback.print_exc()
                code = 3
            if ending == "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            if ending == "os._exit":
                os._exit(code)
            if code == 0 and ending == "returns":
                raise _Child
            sys.exit(code)
        try:
            status = _wait(pid, time.monotonic() + 20)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "the child hung"
    wrong = []
    if status != (signal.SIGKILL if ending == "SIGKILL" else 0):
        wrong.append(f"the child ended with wait status {status}")
    if text_said := said():
        wrong.append(f"the child said: {text_said[-800:]}")
    try:
        parent.judge()
    except Exception as error:
        wrong.append(f"parent: {type(error).__name__}: {str(error)[:300]}")
    try:
        parent.close()
    except Exception as error:
        wrong.append(f"parent's close(): {type(error).__name__}: {str(error)[:300]}")
    return "; ".join(wrong)


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Send what is written to standard error, by children too, to a file that can be read afterwards."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        keep = os.dup(2)
        os.dup2(file.fileno(), 2)
        said: list[str] = []
        try:
            yield lambda: said[0]
        finally:
            if sys.exc_info()[0] is None:  # a child keeps it to its end
                os.dup2(keep, 2)
                file.seek(0)
                said.append(file.read().decode())
            os.close(keep)


if __name__ == "__main__":
    try:
        _main()
    except _Child:
        atexit.register(lambda: None)  # the script's last line: from here the interpreter ends in the ordinary way
