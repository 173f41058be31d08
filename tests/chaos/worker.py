"""One thread of random operations: its ledger, what it checks, and which errors have a cause."""

from __future__ import annotations

import contextlib
import gc
import random
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from tests.chaos.connections import MORTAL_SECONDS
from tests.chaos.plan import Report
from tests.chaos.tables import FIND, INSERT, PER_THREAD, value_of

if TYPE_CHECKING:
    from tests.chaos.run import Run


class Refused(Exception):
    """The application's own, raised inside a unit of work."""


class Worker:
    """One thread's operations. Its tokens and its account are its own, so that no two workers wait for a row."""

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.number = run, number
        self.engine, self.connections, self.server = run.engine, run.connections, run.server
        self.chance = random.Random(run.plan.seed * 1000 + number)
        self.report = Report(run.plan)
        self.last = number * PER_THREAD
        self.outcome: dict[int, str] = {}
        self.certain = self.possible = 0  # what the account must at the least, and may at the most hold
        self.open: list[int] = []
        self.amount = 0
        self.committing = False
        self.fault = ""

    # -- the ledger ------------------------------------------------------------------------------------------------

    def token(self) -> int:
        self.last += 1
        self.outcome[self.last] = "absent"
        return self.last

    def insert(self, connection: Any) -> int:
        token = self.token()
        self.open.append(token)
        if self.run.plan.autocommit:
            self.about_to_commit()
        connection.execute(INSERT, {"token": token, "value": value_of(token)})
        if self.run.plan.autocommit:
            self.committed()
        return token

    def undo(self, token: int) -> None:
        """The application took this one back, by savepoint."""
        if token in self.open:
            self.open.remove(token)

    def about_to_commit(self) -> None:
        self.committing = True

    def committed(self) -> None:
        for token in self.open:
            self.outcome[token] = "committed"
        self.certain += self.amount
        self.possible += self.amount
        self.forget()

    def forget(self) -> None:
        """A unit of work has ended without COMMIT."""
        self.open, self.amount, self.committing = [], 0, False

    def in_doubt(self) -> None:
        for token in self.open:
            self.outcome[token] = "ambiguous"
        self.possible += self.amount
        self.forget()

    def check(self, got: object, asked: object, what: str) -> None:
        if got != asked:
            self.report.wrong_answers.append(f"{what}: asked for {asked!r}, got {got!r} (thread {self.number})")

    def number_asked(self, connection: Connection) -> None:
        asked = self.chance.randrange(1 << 30)
        how = self.chance.randrange(3)
        if how == 0:
            got = connection.execute(text(f"SELECT {asked}")).scalar()
        elif how == 1:
            got = connection.execute(text("SELECT :n"), {"n": asked}).scalar()
        else:
            got = connection.exec_driver_sql(f"/* no word first */ SELECT {asked}").scalar()
        self.check(None if got is None else int(got), asked, "number")

    def check_row(self, connection: Connection, statement: Any = FIND) -> None:
        if not self.outcome:
            return
        token = self.chance.choice((self.last - self.chance.randrange(min(40, len(self.outcome))), self.last))
        outcome = self.outcome[token]
        if token in self.open or outcome == "ambiguous":
            return
        rows = [tuple(row) for row in connection.execute(statement, {"token": token})]
        self.check(rows, [(value_of(token),)] if outcome == "committed" else [], f"row of {outcome} {token}")

    # -- running ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        ordinary, faulty = self.run.ordinary, self.run.faulty
        share = self.run.plan.fault_share if ordinary else 1.0
        operation = self.chance.choice(faulty if faulty and self.chance.random() < share else ordinary)
        name = operation.__name__.removeprefix("do_")
        self.report.operations[name] += 1
        self.connections.begin()
        self.fault = ""
        self.forget()
        try:
            operation(self)
        except Refused:
            self.forget()
        except Exception as error:
            self._judge(name, error)
        finally:
            if self.committing:
                self.in_doubt()
            self.forget()

    def _judge(self, name: str, error: Exception) -> None:
        kind = self._excuse(error)
        if kind:
            self.report.expected_errors[kind] += 1
        else:
            used = [(known.id, since, known.killed) for known, since in self.connections.mine().values()]
            shown = "".join(traceback.format_exception(error)) if len(self.report.unexpected) < 4 else ""
            self.report.unexpected.append(f"{name}: {type(error).__name__}: {error} on {used}\n{shown}")
        if name.startswith("interrupted") or self.fault:
            del error
            gc.collect()  # an exception out of close() leaves the connection to the collector, as in stock SQLAlchemy

    def _excuse(self, error: Exception) -> str:
        if self.fault:
            return f"{self.fault}: {type(error).__name__}"
        if (
            "already in use from another thread" in str(error)
            and self.run.plan.driver == "mysqldb"
            and self.run.moments
        ):
            # mysqlclient 2.3.1, with or without holdfast: an interrupted fetch leaves a result in a traceback; freed by
            # the collector in another thread, it makes a statement that its connection is running at that time fail.
            return "mysqlclient: result freed in another thread"
        late = self.run.plan.arrival
        for known, since in self.connections.mine().values():
            for kind, before, after in known.killed:
                if kind == "kill query":
                    if "1317" in str(error) and after + late >= since:
                        return "kill query"
                elif kind == "mortal":
                    if time.monotonic() - max(before, known.returned) >= MORTAL_SECONDS:
                        return "idle limit"
                elif after + late >= since and isinstance(
                    error, (DBAPIError, PendingRollbackError, self.run.driver_error)
                ):
                    return f"{kind}: {type(error).__name__}" if before <= time.monotonic() else ""
        return ""

    @contextlib.contextmanager
    def unit(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    def commit(self, connection: Any) -> None:
        self.about_to_commit()
        connection.commit()
        self.committed()
