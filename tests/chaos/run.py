"""A run of random operations on one held engine: its workers, and the reckoning in the end."""

from __future__ import annotations

import gc
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import create_engine, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.chaos.connections import Connections
from tests.chaos.faulty import Faulty
from tests.chaos.ordinary import Ordinary
from tests.chaos.plan import Plan, Report
from tests.chaos.tables import Account, Base, Entry, value_of


def as_text(record: logging.LogRecord) -> bool:
    """Keep pytest, which keeps log records, from keeping what they name: the connection in an argument, and in the
    traceback's frames a pool that was disposed of, with the connections that were returned to it (in stock SQLAlchemy
    too)."""
    record.msg, record.args = record.getMessage(), ()
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    return True


def _operations() -> dict[str, Callable[[Any], None]]:
    methods = {**vars(Ordinary), **vars(Faulty)}
    return {name[3:]: method for name, method in methods.items() if name.startswith("do_")}


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
        workers = [Faulty(self, number) for number in range(1, self.plan.threads + 1)]
        share = self.plan.operations // len(workers)
        report = Report(self.plan)

        def work(worker: Faulty) -> None:
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

    def _check_ledger(self, report: Report, workers: list[Faulty]) -> None:
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
