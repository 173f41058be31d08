"""An exception at every single moment of a call: nobody gets a wrong answer, and nothing is committed by accident.

A time limit of a task queue, a signal handler, a green thread's timeout: they raise wherever the program happens to be.
Here an exception is raised at the first moment inside the driver and holdfast at which one could come, then at the
second, and so on until the call is over before its turn comes. After each of them the application does one of the
things that applications do, and then others use the pool.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from sqlalchemy_holdfast.lab import Server
from tests._long import LONG
from tests.chaos.interruption import Interruption
from tests.chaos.tables import ROWS
from tests.conftest import EngineFactory

FILES = {
    "mysqldb": ("/MySQLdb/", "/sqlalchemy_holdfast/drivers/"),
    "pymysql": ("/pymysql/connections.py", "/pymysql/cursors.py", "/sqlalchemy_holdfast/drivers/"),
    "mysqlconnector": (
        "/mysql/connector/network.py",
        "/mysql/connector/connection.py",
        "/sqlalchemy_holdfast/drivers/",
    ),
}
CALLS: dict[str, Callable[[Connection], object]] = {
    "read": lambda c: c.execute(text("SELECT 111, 2, 3")).all(),
    "slow read": lambda c: c.execute(text("SELECT SLEEP(0.004), 111")).all(),
    "write": lambda c: c.execute(text("INSERT INTO interrupted VALUES (111)")),
    "slow write": lambda c: c.execute(text("INSERT INTO interrupted VALUES (SLEEP(0.004) + 111)")),
    "no result": lambda c: c.execute(text("DO SLEEP(0.004)")),
    "stream": lambda c: c.execution_options(stream_results=True).execute(ROWS, {"k": 1}).fetchmany(40),
    "commit": lambda c: c.commit(),
    "rollback": lambda c: c.rollback(),
    "close": lambda c: c.close(),
}
BEFORE = ("pending", "clean", "in transaction")
AFTER = ("close", "read", "roll back and read", "commit and read")
THOROUGH = bool(os.environ.get("HOLDFAST_CHAOS_THOROUGH"))
"""Everything that an application may do after every moment; otherwise one thing after each, in turns."""


@pytest.fixture
def interrupted(server: Server) -> Iterator[None]:
    server.execute("CREATE OR REPLACE TABLE interrupted (n INT) ENGINE=InnoDB", database="test")
    yield
    server.execute("DROP TABLE interrupted", database="test")


def prepare(engine: Engine, before: str) -> Connection:
    """Check out a connection in one of the states that a call can meet."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    connection = engine.connect()
    connection.execute(text("SELECT 1" if before != "in transaction" else "INSERT INTO interrupted VALUES (5)"))
    if before == "clean":
        connection.commit()
    if before == "pending":
        connection.rollback()
    return connection


def go_on(connection: Connection, after: str) -> tuple[str, bool]:
    """Do what an application does after an exception; say what it got that it must not get, and if COMMIT succeeded."""
    committed = False
    if after == "close":
        return "", committed
    try:
        if after == "roll back and read":
            connection.rollback()
        if after == "commit and read":
            connection.commit()
            committed = True
        got = connection.execute(text("SELECT 77")).scalar()
    except (DBAPIError, PendingRollbackError):
        return "", committed
    except Exception as error:
        return f"the same connection: {type(error).__name__}: {error}", committed
    return ("" if got == 77 else f"the same connection got {got!r} for 77"), committed


def others(engine: Engine) -> str:
    """Use the pool as the next requests do; say what is wrong."""
    for number in (5001, 5002, 5003):
        try:
            with engine.connect() as connection:
                got = connection.execute(text(f"SELECT {number}")).scalar()
                if number == 5002:
                    connection.commit()
        except Exception as error:
            return f"the next user: {type(error).__name__}: {error}"
        if got != number:
            return f"the next user got {got!r} for {number}"
    return ""


def interrupt(engine: Engine, server: Server, call: str, before: str, after: str, interruption: Interruption) -> str:
    connection = prepare(engine, before)
    with interruption:
        try:
            CALLS[call](connection)
        except Exception:
            if not interruption.fired:
                raise
    wrong, committed = go_on(connection, after) if interruption.fired else ("", False)
    with contextlib.suppress(DBAPIError):
        connection.close()
    del connection
    if engine.pool.checkedout():  # type: ignore[attr-defined]  # an exception out of close() leaves it to the collector
        gc.collect()
    wrong = wrong or others(engine)
    rows = sorted(row[0] for row in server.execute("SELECT n FROM interrupted", database="test"))
    if rows:
        server.execute("DELETE FROM interrupted", database="test")
    if rows and call != "commit" and after != "commit and read":
        wrong = wrong or f"a write that was given up is there: {rows}"
    if committed and before == "in transaction" and call not in ("rollback", "close") and 5 not in rows:
        wrong = wrong or f"COMMIT succeeded and its row is not there: {rows}"
    return wrong


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.usefixtures("interrupted")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # PyMySQL's half-made results
@pytest.mark.filterwarnings("ignore:Previous unbuffered result was left incomplete")
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_at_any_moment_gives_nobody_a_wrong_answer(
    server: Server, driver: str, held: EngineFactory, call: str
) -> None:
    engine = held(server.url(driver), pool_size=1, max_overflow=0, pool_timeout=1)
    found, moments = [], 0
    for before in BEFORE:
        for start in range(len(AFTER)) if THOROUGH else [BEFORE.index(before)]:
            step = 9 if call == "stream" else 1 if LONG else 3  # a stream has hundreds, all alike
            for moment in range(0, 2000, step):
                after = AFTER[(start + moment) % len(AFTER)] if call != "close" else "close"
                interruption = Interruption(moment, FILES[driver])
                wrong = interrupt(engine, server, call, before, after, interruption)
                if wrong:
                    found.append(f"{before}, {call} interrupted at {moment} ({interruption.fired}), {after}: {wrong}")
                    engine.dispose()
                if not interruption.fired:
                    break
                moments += 1
    assert moments >= 3, "nothing was interrupted"
    assert not found, f"{len(found)} of {moments} interruptions:\n" + "\n".join(found[:12])
