"""Random operations and random faults on one held engine, checked against a ledger.

Every row written carries a token of its own. What the application was told about the token (committed, not committed,
or nothing: an error from COMMIT itself) is compared with what the database has in the end, and every value that was
read with the value asked for. An error is expected only where a fault was put on the very connection that it came from.

From the command line, which prints the counts and exits with 1 when a promise was broken::

    python -m tests.chaos.operations --driver pymysql --operations 50000 --seed 1 --threads 6
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import logging
import random
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Integer, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.drivers import unwrap
from sqlalchemy_holdfast.drivers.subclass import _collected
from sqlalchemy_holdfast.lab import Proxy, Server

PER_THREAD = 10_000_000
"""Tokens of one thread begin at its number times this."""
CONNECTION_ID = {"mysqldb": "thread_id", "pymysql": "thread_id", "mysqlconnector": "connection_id"}
DRIVER_FILES = ("/pymysql/", "/mysql/connector/", "/MySQLdb/", "/sqlalchemy_holdfast/drivers/")
ROWS = text("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT :k * i FROM n")
MORTAL_SECONDS = 0.8
"""A connection with a wait_timeout of one second may end once it has been idle for so long."""


class Interrupted(Exception):
    """Not a driver's: what a time limit of the application's raises in the middle of a statement."""


class Refused(Exception):
    """The application's own, raised inside a unit of work."""


class Base(DeclarativeBase):
    pass


class Entry(Base):
    # The token is not unique on purpose: a doubled write must be able to happen.
    __tablename__ = "chaos_ledger"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    token: Mapped[int] = mapped_column(BigInteger, index=True)
    value: Mapped[int] = mapped_column(Integer)


class Account(Base):
    __tablename__ = "chaos_account"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int] = mapped_column(BigInteger)


INSERT = text("INSERT INTO chaos_ledger (token, value) VALUES (:token, :value)")
FIND = text("SELECT value FROM chaos_ledger WHERE token = :token")
LOCK = text("SELECT value FROM chaos_ledger WHERE token = :token FOR UPDATE")
ADD = text("UPDATE chaos_account SET total = total + :amount WHERE id = :id")


def value_of(token: int) -> int:
    return token * 7919 % 1_000_003


@dataclass(frozen=True)
class Plan:
    """What to run. The same plan on one thread runs the same operations."""

    driver: str
    operations: int = 3000
    seed: int = 1
    threads: int = 6
    pool_size: int = 4
    max_overflow: int = 2
    lifo: bool = False
    autocommit: bool = False
    delay: float = 0.0
    """Seconds that a proxy adds in each direction; 0 means no proxy."""
    transport: str = "tcp"
    fault_share: float = 0.12
    only: frozenset[str] | None = None
    """Operations to choose from; None means all."""

    def url(self, server: Server, proxy: Proxy | None) -> Any:
        query = {"plugin": "holdfast"}
        if self.driver == "mysqlconnector":
            query["use_pure"] = "1"
        if server.tls_ca is not None:
            query["ssl_ca"] = server.tls_ca
        if self.transport == "unix":
            return server.url(self.driver, transport="unix", query=query)
        place = {} if proxy is None else {"host": proxy.host, "port": proxy.port}
        return server.url(self.driver, query=query, **place)  # type: ignore[arg-type]

    @property
    def arrival(self) -> float:
        """Seconds after which what the server did must be known here. Generous: the machine may be busy."""
        return 0.02 + 4 * self.delay


@dataclass
class Report:
    """What happened, and what must not have happened."""

    plan: Plan
    operations: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    expected_errors: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    counters: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    wrong_answers: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    leaked_writes: list[int] = field(default_factory=list)
    """Rows there whose unit of work was rolled back, given up or refused."""
    leaked_connections: list[int] = field(default_factory=list)
    """Still in the server's list after dispose()."""
    leaked_places: list[int] = field(default_factory=list)
    """How many places of the pool nobody has and nobody can get."""
    unexpected: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)

    @property
    def broken(self) -> dict[str, int]:
        lists = ("lost", "doubled", "leaked_writes", "leaked_connections", "leaked_places", "unexpected", "locks")
        return {name: len(getattr(self, name)) for name in ("wrong_answers", *lists) if getattr(self, name)}

    def __str__(self) -> str:
        done = [
            f"{self.plan}: {self.seconds:.1f} s",
            f"operations: {json.dumps(dict(sorted(self.operations.items())))}",
            f"faults: {json.dumps(dict(sorted(self.faults.items())))}",
            f"errors where a fault was put: {json.dumps(dict(sorted(self.expected_errors.items())))}",
            f"tokens: {json.dumps(dict(sorted(self.tokens.items())))}",
            f"holdfast: {json.dumps(self.counters)}",
            f"broken promises: {json.dumps(self.broken)}",
        ]
        for name in self.broken:
            done += [f"  {name}: {entry}" for entry in getattr(self, name)[:8]]
        return "\n".join(done)


@dataclass
class Known:
    """What the harness knows of one connection."""

    id: int
    owner: int | None = None
    taken: float = 0.0
    returned: float = 0.0
    killed: list[tuple[str, float, float]] = field(default_factory=list)
    """Kind of the fault, monotonic time before it and after it."""


class Connections:
    """Every connection of the engine, by the server's id: who uses it, and what was done to it."""

    def __init__(self, plan: Plan, engine: Engine) -> None:
        self._driver = plan.driver
        self._lock = threading.Lock()
        self._known: dict[int, Known] = {}
        self.used = threading.local()
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "checkout", self._on_checkout)
        event.listen(engine, "checkin", self._on_checkin)
        event.listen(engine, "close", self._on_close)
        event.listen(engine, "close_detached", self._on_close_detached)

    def id_of(self, connection: Any) -> int:
        found = getattr(unwrap(connection), CONNECTION_ID[self._driver])
        return int(found() if callable(found) else found)

    def begin(self) -> None:
        """A new operation begins in this thread."""
        self.used.ids = {}

    def pick(self, chance: random.Random, *, idle: bool) -> Known | None:
        me = threading.get_ident()
        with self._lock:
            fit = [k for k in self._known.values() if (k.owner is None if idle else k.owner not in (None, me))]
        return chance.choice(fit) if fit else None

    def mine(self) -> dict[int, tuple[Known, float]]:
        """The connections that this operation had, and since when."""
        found: dict[int, tuple[Known, float]] = getattr(self.used, "ids", {})
        return found

    def _on_connect(self, connection: Any, record: Any) -> None:
        known = Known(self.id_of(connection), owner=threading.get_ident(), taken=time.monotonic())
        record.info["chaos"] = known
        with self._lock:
            self._known[known.id] = known

    def _on_checkout(self, connection: Any, record: Any, fairy: Any) -> None:
        known: Known = record.info["chaos"]
        known.owner, known.taken = threading.get_ident(), time.monotonic()
        self.mine()[known.id] = known, known.taken

    def _on_checkin(self, connection: Any, record: Any) -> None:
        known: Known | None = record.info.get("chaos")
        if known is not None:
            known.owner, known.returned = None, time.monotonic()

    def _on_close(self, connection: Any, record: Any) -> None:
        known: Known | None = record.info.get("chaos")
        if known is not None:
            with self._lock:
                self._known.pop(known.id, None)

    def _on_close_detached(self, connection: Any) -> None:
        with contextlib.suppress(Exception), self._lock:
            self._known.pop(self.id_of(connection), None)


def as_text(record: logging.LogRecord) -> bool:
    """Keep pytest, which keeps log records, from keeping what they name: the connection in an argument, and in the
    traceback's frames a pool that was disposed of, with the connections that were returned to it (in stock SQLAlchemy
    too)."""
    record.msg, record.args = record.getMessage(), ()
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    return True


def in_a_destructor(frame: FrameType | None) -> bool:
    """Say whether Python would swallow what is raised here, and pytest keep it until the test's end, with the frame and
    the connection in it."""
    while frame is not None:
        if frame.f_code is _collected.__code__ or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class Interruption:
    """Raises `Interrupted` at the n-th moment at which a signal handler could, inside the driver or holdfast.

    Those moments are where CPython looks for signals: entering a Python function, and coming back from a C one.
    """

    def __init__(self, moment: int, files: tuple[str, ...] = DRIVER_FILES) -> None:
        self.left = moment
        self.files = files
        self.fired = ""

    def __enter__(self) -> Interruption:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, what: str, argument: Any) -> None:
        if what not in ("call", "c_return") or not any(part in frame.f_code.co_filename for part in self.files):
            return
        self.left -= 1
        if self.left < 0 and not self.fired and not in_a_destructor(frame):
            what += "" if what == "call" else f" of {getattr(argument, '__qualname__', argument)}"
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # 3.11 has it
            self.fired = f"{name} {what}"
            raise Interrupted(self.fired)


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

    # -- ordinary operations ---------------------------------------------------------------------------------------

    def do_number(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)

    def do_row(self) -> None:
        with self.unit() as connection:
            self.check_row(connection)
            self.check_row(connection)

    def do_locked_row(self) -> None:
        if self.outcome.get(self.last) == "committed":  # no gap is locked then
            with self.unit() as connection:
                got = connection.execute(LOCK, {"token": self.last}).scalar()
                self.check(got, value_of(self.last), "locked row")

    def do_nothing(self) -> None:
        with self.unit():
            pass

    def do_write(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            self.commit(connection)

    def do_write_in_begin(self) -> None:
        with self.engine.begin() as connection:
            self.insert(connection)
            self.number_asked(connection)
            self.about_to_commit()
        self.committed()

    def do_write_then_read(self) -> None:
        with self.unit() as connection:
            token = self.insert(connection)
            self.commit(connection)
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "own row")

    def do_write_and_roll_back(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.rollback()
            self.forget()
            self.number_asked(connection)

    def do_write_and_close(self) -> None:
        with self.unit() as connection:
            self.insert(connection)

    def do_roll_back_then_write(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.rollback()
            self.forget()
            self.insert(connection)
            self.commit(connection)

    def do_roll_back_twice(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)
            connection.rollback()
            connection.rollback()
            self.number_asked(connection)
            connection.rollback()
            connection.rollback()

    def do_savepoint_released(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            with connection.begin_nested():
                self.insert(connection)
            self.commit(connection)

    def do_savepoint_rolled_back(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            with contextlib.suppress(Refused), connection.begin_nested():
                token = self.insert(connection)
                self.undo(token)
                raise Refused
            self.commit(connection)

    def do_two_statements(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            amount = self.chance.randrange(1, 1000)
            self.amount += amount
            if self.run.plan.autocommit:
                self.about_to_commit()
            connection.execute(ADD, {"amount": amount, "id": self.number})
            self.commit(connection)

    def do_two_statements_and_close(self) -> None:
        with self.unit() as connection:
            connection.execute(ADD, {"amount": 5, "id": self.number})
            self.insert(connection)

    def do_many(self) -> None:
        with self.unit() as connection:
            tokens = [self.token() for _ in range(self.chance.choice((2, 30)))]
            self.open += tokens
            connection.execute(INSERT, [{"token": token, "value": value_of(token)} for token in tokens])
            self.commit(connection)

    def do_stream(self) -> None:
        factor = self.chance.randrange(1, 1 << 20)
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            got = sum(row[0] for row in connection.execute(ROWS, {"k": factor}))
            self.check(int(got), factor * 300 * 301 // 2, "stream")
            self.number_asked(connection)

    def do_half_a_stream(self) -> None:
        factor = self.chance.randrange(1, 1 << 20)
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            result = connection.execute(ROWS, {"k": factor})
            for i in range(self.chance.choice((1, 3, 12, 299))):
                self.check(int(result.fetchone()[0]), factor * (i + 1), "half a stream")  # type: ignore[index]

    def do_big(self) -> None:
        size = self.chance.choice((40_000, 300_000))
        letter = self.chance.choice("abcdef")
        with self.unit() as connection:
            self.check(connection.execute(text("SELECT :b"), {"b": letter * size}).scalar(), letter * size, "big")

    def do_exception(self) -> None:
        with self.engine.begin() as connection:
            self.insert(connection)
            raise Refused

    def do_wrong_statement(self) -> None:
        with self.unit() as connection:
            with contextlib.suppress(DBAPIError):
                connection.execute(text(self.chance.choice(("SELECT * FROM nowhere", "SELEC 1"))))
                raise AssertionError("a wrong statement was accepted")
            self.check_alive(connection)

    def do_duplicate_key(self) -> None:
        with self.unit() as connection:
            token = self.insert(connection)
            with contextlib.suppress(DBAPIError):
                connection.execute(text(f"INSERT INTO chaos_account VALUES ({self.number}, 0)"))
                raise AssertionError("a duplicate key was accepted")
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "row before a failure")
            self.commit(connection)

    def check_alive(self, connection: Connection) -> None:
        self.number_asked(connection)
        connection.rollback()
        self.number_asked(connection)

    def do_autocommit(self) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            token = self.token()
            self.open.append(token)
            self.about_to_commit()
            connection.execute(INSERT, {"token": token, "value": value_of(token)})
            self.committed()
            self.check_row(connection)

    def do_serializable(self) -> None:
        with self.engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            self.number_asked(connection)
            self.check(connection.get_isolation_level(), "SERIALIZABLE", "isolation level")

    def do_isolation_level(self) -> None:
        """What others set for one checkout must be gone."""
        with self.unit() as connection:
            if not self.run.plan.autocommit:  # there SQLAlchemy leaves the level of another as it was
                self.check(connection.get_isolation_level(), "REPEATABLE READ", "isolation level")
            else:
                self.check(connection.execute(text("SELECT @@autocommit")).scalar(), 1, "autocommit")

    def do_orm(self) -> None:
        with Session(self.engine) as session:
            tokens = [self.token(), self.token()]
            self.open += tokens
            if self.run.plan.autocommit:
                self.about_to_commit()
            session.add_all(Entry(token=token, value=value_of(token)) for token in tokens)
            session.flush()
            self.check(session.scalar(select(func.count()).where(Entry.token.in_(tokens))), 2, "ORM count")
            self.commit(session)
            entry = session.scalars(select(Entry).where(Entry.token == tokens[0])).one()
            self.check(entry.value, value_of(tokens[0]), "ORM row")

    def do_orm_rolled_back(self) -> None:
        if self.run.plan.autocommit:
            return
        with Session(self.engine) as session:
            token = self.token()
            session.add(Entry(token=token, value=value_of(token)))
            session.flush()
            session.rollback()
            self.check(session.scalar(select(func.count()).where(Entry.token == token)), 0, "ORM count rolled back")

    def do_raw(self) -> None:
        fairy = self.engine.raw_connection()
        try:
            asked = self.chance.randrange(1 << 30)
            cursor = fairy.cursor()
            cursor.execute(f"SELECT {asked}")
            self.check(tuple(cursor.fetchall()), ((asked,),), "raw")
            cursor.close()
            how = self.chance.randrange(3)
            if how == 1:
                fairy.rollback()
            if how == 2:
                fairy.commit()
        finally:
            fairy.close()

    def do_two_results(self) -> None:
        if self.run.plan.driver == "pymysql":  # has to be asked for at connect
            return
        fairy = self.engine.raw_connection()
        try:
            asked = self.chance.randrange(1 << 30)
            cursor = fairy.cursor()
            if self.run.plan.driver == "mysqldb":
                cursor.execute(f"SELECT {asked}; SELECT {asked + 1}")
                self.check(tuple(cursor.fetchall()), ((asked,),), "first of two results")
                if self.chance.random() < 0.7:
                    cursor.nextset()
                    self.check(tuple(cursor.fetchall()), ((asked + 1,),), "second of two results")
                    cursor.close()
            else:
                inner: Any = fairy.driver_connection
                for more, _ in enumerate(inner.cmd_query_iter(f"SELECT {asked}; SELECT {asked + 1}")):
                    rows, _ = inner.get_rows()
                    self.check(int(rows[0][0]), asked + more, "one of two results")
                    if self.chance.random() < 0.2:
                        break
        finally:
            fairy.close()

    def do_nested(self) -> None:
        with self.run.second_connection, self.unit() as outer:
            token = self.insert(outer)
            with self.unit() as inner:
                self.number_asked(inner)
                expected = value_of(token) if self.run.plan.autocommit else None
                self.check(inner.execute(FIND, {"token": token}).scalar(), expected, "uncommitted row of another")
            self.number_asked(outer)

    def do_detach(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.detach()
            self.number_asked(connection)

    def do_soft_invalidate(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)
            connection.connection.invalidate(soft=True)
            self.number_asked(connection)

    def do_invalidate(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.invalidate()
            connection.rollback()
            self.forget()
            self.number_asked(connection)

    def do_dispose(self) -> None:
        if self.chance.random() < 0.05:
            self.report.faults["dispose"] += 1
            self.engine.dispose()
        else:
            self.do_number()

    def do_leak(self) -> None:
        connection: Connection | None = self.engine.connect()
        assert connection is not None
        self.insert(connection)
        leaked = weakref.ref(connection)
        del connection
        while leaked() is not None:
            gc.collect()  # returns at once while another thread's collection is under way

    # -- faults ----------------------------------------------------------------------------------------------------

    def _kill(self, *, idle: bool, query: bool = False) -> None:
        known = self.connections.pick(self.chance, idle=idle)
        if known is None:
            return
        before = time.monotonic()
        fault = ("kill query" if query else "kill", before, before + 60)  # in force until it is known to have ended
        known.killed.append(fault)
        if query:
            with contextlib.suppress(Exception):  # gone already
                self.server.execute(f"KILL QUERY {known.id}")
        else:
            self.server.kill_connection(known.id)
        known.killed[known.killed.index(fault)] = (fault[0], before, time.monotonic())
        self.report.faults[f"{fault[0]}, {'idle' if idle else 'in use'}"] += 1

    def do_kill_idle(self) -> None:
        self._kill(idle=True)
        self.do_number()

    def do_kill_in_use(self) -> None:
        self._kill(idle=False)
        self.do_number()

    def do_kill_query_idle(self) -> None:
        self._kill(idle=True, query=True)
        self.do_number()

    def do_kill_query_in_use(self) -> None:
        self._kill(idle=False, query=True)
        self.do_number()

    def do_kill_own_then_return(self) -> None:
        """Lost while it was checked out and not used again: nobody's error, and nothing of it is committed."""
        with self.unit() as connection:
            self.insert(connection)
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            self.server.kill_connection(known.id)
            known.killed.append(("kill", before, time.monotonic()))
            self.report.faults["kill, own"] += 1

    def do_kill_own_with_a_level_then_return(self) -> None:
        """SQLAlchemy puts an isolation level back when the connection is returned; by then it is dead."""
        level: Any = self.chance.choice(("SERIALIZABLE", "AUTOCOMMIT"))
        with self.engine.connect().execution_options(isolation_level=level) as connection:
            self.number_asked(connection)
            if self.chance.random() < 0.5:
                connection.commit()
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            self.server.kill_connection(known.id)
            known.killed.append(("kill", before, time.monotonic()))
            self.report.faults["kill, own with a level"] += 1

    def do_kill_own_then_commit(self) -> None:
        """COMMIT must not report success, or the row must be there."""
        with self.unit() as connection:
            self.insert(connection)
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            known.killed.append(("kill", before, before + 60))
            self.server.kill_connection(known.id)
            self.report.faults["kill, own before commit"] += 1
            self.commit(connection)

    def do_idle_limit(self) -> None:
        if self.chance.random() > 0.1:
            return
        with self.unit() as connection:
            connection.execute(text("SET SESSION wait_timeout = 1"))
            known = next(iter(self.connections.mine().values()))[0]
            known.killed.append(("mortal", time.monotonic(), 0.0))
            self.report.faults["idle limit"] += 1

    def do_slow(self) -> None:
        """Something for KILL and KILL QUERY to hit."""
        with self.unit() as connection:
            token = self.insert(connection)
            connection.execute(text("SELECT SLEEP(0.003)")).scalar()
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "row after a pause")
            self.commit(connection)

    def _interrupt(self, body: Callable[[], object]) -> bool:
        moment = int(self.chance.choice((6, 25, 90, 250)) * self.chance.random())
        with Interruption(moment) as interruption:
            try:
                body()
            except Exception:
                if not interruption.fired:
                    raise
        if interruption.fired:
            self.fault = "interrupted"
            self.report.faults["interrupted"] += 1
            self.run.moments[interruption.fired] += 1
        return bool(interruption.fired)

    def _go_on(self, connection: Connection) -> None:
        """What an application does after a time limit: any of these, and none may give a wrong answer."""
        how = self.chance.randrange(4)
        if how == 1:
            connection.rollback()
            self.forget()
            self.number_asked(connection)
        elif how == 2:
            self.number_asked(connection)
        elif how == 3:
            self.about_to_commit()
            try:
                connection.commit()
            finally:
                self.in_doubt()
            self.number_asked(connection)

    def do_interrupted_read(self) -> None:
        with self.unit() as connection:
            if self.chance.random() < 0.5:
                self.number_asked(connection)
            slow = text("SELECT SLEEP(0.002)" if self.chance.random() < 0.3 else "SELECT 1, 2, 3, 4, 5, 6")
            if self._interrupt(lambda: connection.execute(slow).all()):
                self._go_on(connection)

    def do_interrupted_write(self) -> None:
        with self.unit() as connection:
            token = self.token()
            values = {"token": token, "value": value_of(token)}
            self.open.append(token)
            if self.run.plan.autocommit:
                self.about_to_commit()
            if self._interrupt(lambda: connection.execute(INSERT, values)):
                if self.run.plan.autocommit:
                    self.in_doubt()
                self._go_on(connection)
            elif self.run.plan.autocommit:
                self.committed()

    def do_interrupted_stream(self) -> None:
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            result = connection.execute(ROWS, {"k": 1})
            if self._interrupt(lambda: [result.fetchone() for _ in range(30)]):
                self._go_on(connection)

    def do_interrupted_commit(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            self.about_to_commit()
            if self._interrupt(connection.commit):
                self.in_doubt()
                self._go_on(connection)
            else:
                self.committed()

    def do_interrupted_rollback(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            if self._interrupt(connection.rollback):
                self.number_asked(connection)

    def do_interrupted_close(self) -> None:
        connection = self.engine.connect()
        self.insert(connection)
        self._interrupt(connection.close)

    def do_interrupted_unit(self) -> None:
        def body() -> None:
            with self.engine.connect() as connection:
                self.number_asked(connection)

        self._interrupt(body)


def _operations() -> dict[str, Callable[[Worker], None]]:
    return {name[3:]: method for name, method in vars(Worker).items() if name.startswith("do_")}


FAULTS = tuple(name for name in _operations() if name.startswith(("kill", "idle_limit", "interrupted")))


UNDOING = {
    name
    for name in _operations()
    if name.startswith(("savepoint", "roll_back_then", "two_statements_and", "many", "write_and_close", "exception"))
    or name in ("detach", "invalidate", "leak", "interrupted_rollback", "interrupted_close", "interrupted_commit")
}
"""Operations that make no sense where every statement commits itself."""


class Run:
    """One engine, its workers, and the reckoning."""

    def __init__(self, plan: Plan, server: Server, proxy: Proxy | None = None) -> None:
        self.plan, self.server = plan, server
        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if plan.autocommit else {}
        self.engine = create_engine(
            plan.url(server, proxy),
            pool_size=plan.pool_size,
            max_overflow=plan.max_overflow,
            pool_use_lifo=plan.lifo,
            pool_timeout=10,
            **options,
        )
        self.driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        self.connections = Connections(plan, self.engine)
        self.second_connection = threading.BoundedSemaphore(max(1, plan.max_overflow))
        self.moments: Counter[str] = Counter()
        chosen = {name: do for name, do in _operations().items() if plan.only is None or name in plan.only}
        if plan.autocommit:  # no unit of work that could be taken back
            chosen = {name: do for name, do in chosen.items() if name not in UNDOING}
        self.ordinary = [do for name, do in chosen.items() if name not in FAULTS]
        self.faulty = [do for name, do in chosen.items() if name in FAULTS]

    def go(self) -> Report:
        pool_logger = logging.getLogger("sqlalchemy.pool.impl.QueuePool")
        pool_logger.addFilter(as_text)
        try:
            return self._go()
        finally:
            pool_logger.removeFilter(as_text)

    def _go(self) -> Report:
        with self.engine.begin() as connection:
            for table in (Entry.__table__, Account.__table__):
                connection.execute(text(f"DROP TABLE IF EXISTS {table.name}"))  # type: ignore[attr-defined]
            Base.metadata.create_all(connection)
            for number in range(1, self.plan.threads + 1):
                connection.execute(text(f"INSERT INTO chaos_account VALUES ({number}, 0)"))
        workers = [Worker(self, number) for number in range(1, self.plan.threads + 1)]
        share = self.plan.operations // len(workers)
        report = Report(self.plan)

        def work(worker: Worker) -> None:
            try:
                for _ in range(share):
                    worker.step()
            except BaseException as error:
                worker.report.unexpected.append("the harness: " + "".join(traceback.format_exception(error)))

        started = time.monotonic()
        threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report.seconds = time.monotonic() - started
        gc.collect()
        for worker in workers:
            for counts in ("operations", "faults", "expected_errors"):
                getattr(report, counts).update(getattr(worker.report, counts))
            report.wrong_answers += worker.report.wrong_answers
            report.unexpected += worker.report.unexpected
        self._check_pool(report)
        self._check_locks(report)
        self._check_ledger(report, workers)
        report.counters = dict(holdfast.status(self.engine).counters.as_dict())
        self.engine.dispose()
        report.leaked_connections = self._left()
        for table in (Entry.__table__, Account.__table__):
            self.server.execute(f"DROP TABLE {table.name}", database="test")  # type: ignore[attr-defined]
        return report

    def _check_pool(self, report: Report) -> None:
        """Every place in the pool was given back."""
        out = self.engine.pool.checkedout()  # type: ignore[attr-defined]
        if out:
            report.leaked_places = [out]

    def _check_locks(self, report: Report) -> None:
        """Idle connections hold no lock: not on a row, not on a table's definition."""
        for attempt in range(100):
            found = []
            for table in (Entry.__table__.name, Account.__table__.name):  # type: ignore[attr-defined]
                for sql in (
                    f"SELECT * FROM {table} FOR UPDATE NOWAIT",
                    f"SET STATEMENT lock_wait_timeout=1 FOR ALTER TABLE {table} COMMENT 'attempt {attempt}'"
                    if self.server.flavour == "mariadb"
                    else f"LOCK TABLES {table} WRITE",
                ):
                    try:
                        self.server.execute(sql, database="test")
                    except Exception as error:
                        found.append(f"{sql}: {error}")
            if not found:
                return
            time.sleep(0.05)  # the server may still be rolling back for a connection that was killed
        report.locks += found

    def _check_ledger(self, report: Report, workers: list[Worker]) -> None:
        rows = self.server.execute("SELECT token, COUNT(*), MIN(value), MAX(value) FROM chaos_ledger GROUP BY token",
                                   database="test")  # fmt: skip
        there = {int(row[0]): row for row in rows}
        outcome = {token: state for worker in workers for token, state in worker.outcome.items()}
        for token, state in outcome.items():
            found = there.pop(token, (token, 0, None, None))
            report.tokens[state + (", there" if state == "ambiguous" and found[1] else "")] += 1
            if found[1] > 1:
                report.doubled.append(token)
            if found[1] and not found[2] == found[3] == value_of(token):
                report.wrong_answers.append(f"row {found} in the table")
            if state == "committed" and not found[1]:
                report.lost.append(token)
            if state == "absent" and found[1]:
                report.leaked_writes.append(token)
        report.leaked_writes += there
        for id, total in self.server.execute("SELECT id, total FROM chaos_account", database="test"):
            worker = workers[id - 1]
            if total < worker.certain:
                report.lost.append(-id)
            if total > worker.possible:
                report.doubled.append(-id)

    def _left(self) -> list[int]:
        deadline = time.monotonic() + 10
        while left := self._open_ids():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return left

    def _open_ids(self) -> list[int]:
        return [process.id for process in self.server.processlist(user="app")]


def run(plan: Plan, server: Server) -> Report:
    """Run a plan on a server that nobody else uses meanwhile, and return what came of it."""
    try:
        if not plan.delay:
            return Run(plan, server).go()
        with Proxy.for_server(server, delay=plan.delay) as proxy:
            return Run(plan, server, proxy).go()
    finally:
        gc.collect()  # PyMySQL's half-made connections warn of their sockets here, not in a later test


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.operations", description=__doc__)
    parser.add_argument("--driver", default="pymysql", choices=sorted(CONNECTION_ID))
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--pool-size", type=int, default=4)
    parser.add_argument("--max-overflow", type=int, default=2)
    parser.add_argument("--lifo", action="store_true")
    parser.add_argument("--autocommit", action="store_true", help="isolation_level='AUTOCOMMIT' for the engine")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a proxy adds in each direction")
    parser.add_argument("--transport", default="tcp", choices=("tcp", "unix"))
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--fault-share", type=float, default=0.12)
    parser.add_argument("--only", default=None, help="operations, comma between them")
    parser.add_argument("--executable", default=None, help="the server program")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    plan = Plan(
        driver=given.driver,
        operations=given.operations,
        seed=seed,
        threads=given.threads,
        pool_size=given.pool_size,
        max_overflow=given.max_overflow,
        lifo=given.lifo,
        autocommit=given.autocommit,
        delay=given.delay,
        transport=given.transport,
        fault_share=given.fault_share,
        only=frozenset(given.only.split(",")) if given.only else None,
    )
    faulthandler.dump_traceback_later(60 + given.operations / 20, exit=True)
    with Server(tls=given.tls, executable=given.executable, options={"innodb_lock_wait_timeout": 5}) as server:
        report = run(plan, server)
        print(f"{server.flavour} {server.version}{', TLS' if given.tls else ''}, {plan.transport}")
    print(report, flush=True)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
