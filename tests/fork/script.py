"""A script that forks, and whose children end the way a script's children do.

Run as a program (``python -m tests.fork.script``, a :class:`Task` as JSON on its standard input) it says of each child
what it did and how it ended, by returning, with ``atexit``, destructors and all, and judges the parent afterwards.
"""

from __future__ import annotations

import atexit
import importlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.fork.children import wait
from tests.fork.parents import STATES, TABLE, Parent, server_id

TOP = Path(__file__).resolve().parents[2]


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
        [python, "-W", "ignore::DeprecationWarning", "-m", "tests.fork.script"],
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
        assert "sqlalchemy_holdfast" not in sys.modules

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
            status = wait(pid, time.monotonic() + 20)
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
