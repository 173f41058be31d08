"""Eight workers move money while everything breaks: with holdfast nothing is lost, nothing is doubled.

    python -m tests.transactions.ledger --driver pymysql --seconds 600

The same is done with stock SQLAlchemy, with a naive retry around it, and with holdfast without verification. A table
shows them side by side. The exit status is 1 when a worker with holdfast was told what is not true, or saw an error.

Each unit of work moves an amount between two accounts and appends a row to a ledger. A worker writes down what it was
told of each unit. In the end the ledger is compared with that, and with the accounts.

The server is the lab's: MariaDB, or the one that HOLDFAST_LAB_MYSQLD names.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import pymysql
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.cli.tables import make_console, show
from sqlalchemy_holdfast.lab import Proxy, Server, ServerFailed
from sqlalchemy_holdfast.transactions import create_commit_table
from tests.transactions.ledger_report import HELD, MODES, Report, faults, outcomes

DRIVERS = ("mysqldb", "pymysql", "mysqlconnector")  # tests.conftest's would take HOLDFAST_LAB_MYSQLD away
ACCOUNTS = 6
BALANCE = 1_000_000
WORKERS = 8
KILL_EVERY = 0.02
# Without a password: when MySQL was restarted, caching_sha2_password lets mysql-connector in with one over TLS alone,
# which the proxy could not read.
USER = "ledger"

MOVE = text("UPDATE account SET balance = balance + :amount WHERE id = :id")
APPEND = text("INSERT INTO ledger (worker, number, source, target, amount) VALUES (:worker, :number, :s, :t, :amount)")


class Transfers:
    """One run of transfers under faults, on a server of its own.

    :param mode: one of `MODES`.
    :param executable: the server program, as for `Server`.
    """

    def __init__(
        self, driver: str, mode: str, seconds: float, seed: int, *, executable: str | os.PathLike[str] | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.stop = threading.Event()
        self.told: dict[tuple[int, int], str] = {}
        self.took: dict[tuple[int, int], float] = {}
        """Seconds, of each unit."""
        options: dict[str, str | int | None] = {"innodb_lock_wait_timeout": 1, "max_connections": 60}
        self.server = Server(options=options, executable=executable)
        self.proxy = Proxy.for_server(self.server)
        flavour = {"mariadb": "MariaDB", "mysql": "MySQL"}[self.server.flavour]
        self.report = Report(driver, mode, seconds, f"{flavour} {self.server.version}")

    def run(self) -> Report:
        """Break everything until the time is up; then compare."""
        with self.server, self.proxy:
            self.server.create_account(USER, databases=("test",))
            engine = self.engine()
            self.prepare(engine)
            work = self.ways()[self.report.mode](sessionmaker(engine))
            workers = [threading.Thread(target=self.worker, args=(number, work)) for number in range(WORKERS)]
            breakers = [threading.Thread(target=breaker) for breaker in (self.kill, self.lock, self.cut, self.restart)]
            for thread in (*workers, *breakers):
                thread.start()
            self.stop.wait(self.report.seconds)
            self.stop.set()
            for thread in (*breakers, *workers):
                thread.join()
            self.proxy.restore()
            self.server.start()
            if self.report.mode in HELD:
                self.report.counters = dict(holdfast.status(engine).counters.as_dict())
            engine.dispose()
            self.compare()
        return self.report

    def engine(self) -> Engine:
        query = {"use_pure": "1"} if self.report.driver == "mysqlconnector" else {}
        if self.report.mode in HELD:
            query["plugin"] = "holdfast"
        host, port = self.proxy.host, self.proxy.port
        url = self.server.url(self.report.driver, user=USER, password="", host=host, port=port, query=query)
        # A network that swallows everything without a word is noticed by the driver's time limit alone.
        return create_engine(url, pool_size=WORKERS, max_overflow=4, connect_args={"read_timeout": 4})

    def prepare(self, engine: Engine) -> None:
        for statement in (
            "CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
            "CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, worker INT, number INT, source INT, "
            "target INT, amount INT, KEY (worker, number)) ENGINE=InnoDB",
        ):
            self.server.execute(statement, database="test")
        values = ", ".join(f"({number}, {BALANCE})" for number in range(ACCOUNTS))
        self.server.execute(f"INSERT INTO account VALUES {values}", database="test")
        create_commit_table(engine)

    # -- the workers -------------------------------------------------------------------------------------------

    def ways(self) -> dict[str, Callable[[sessionmaker[Session]], Callable[[Callable[[Session], None]], None]]]:
        """How a unit of work is done, by mode."""

        def ours(verify: bool) -> Any:
            return lambda make: lambda unit: holdfast.run(make, unit, verify=verify, attempts=1000, deadline=120)

        def stock(make: sessionmaker[Session]) -> Any:
            def once(unit: Callable[[Session], None]) -> None:
                with make.begin() as session:
                    unit(session)

            return once

        def naive(make: sessionmaker[Session]) -> Any:
            once = stock(make)

            def again_and_again(unit: Callable[[Session], None]) -> None:
                for _ in range(50):
                    try:
                        once(unit)
                        return
                    except DBAPIError as error:
                        last = error
                        time.sleep(0.1)
                raise last

            return again_and_again

        return {"holdfast": ours(True), "no-verify": ours(False), "stock": stock, "naive": naive}

    def worker(self, number: int, work: Callable[[Callable[[Session], None]], None]) -> None:
        rng = random.Random(self.seed * 100 + number)
        count = 0
        while not self.stop.is_set():
            count += 1
            source, target = rng.sample(range(ACCOUNTS), 2)
            amount = rng.randrange(1, 100)

            row = {"worker": number, "number": count, "s": source, "t": target, "amount": amount}

            def unit(session: Session, row: dict[str, int] = row) -> None:
                session.execute(MOVE, {"id": row["s"], "amount": -row["amount"]})
                session.execute(MOVE, {"id": row["t"], "amount": row["amount"]})
                session.execute(APPEND, row)

            began = time.monotonic()
            try:
                work(unit)
                told = "done"
            except holdfast.CommitOutcomeUnknown as error:
                told = "unknown"
                if self.report.mode == "holdfast":
                    self.note_unexpected(error)
            except Exception as error:
                told = "failed"
                first = (getattr(error, "orig", None) or error).args[:1]
                self.report.errors[
                    " ".join([type(error).__name__, *(str(n) for n in first if isinstance(n, int))])
                ] += 1
                if self.report.mode in HELD:
                    self.note_unexpected(error)
                else:
                    time.sleep(0.01)
            self.told[number, count] = told
            self.took[number, count] = time.monotonic() - began

    def note_unexpected(self, error: Exception) -> None:
        """Keep the first."""
        self.report.unexpected = self.report.unexpected or "".join(traceback.format_exception(error))

    # -- the breakers ------------------------------------------------------------------------------------------

    def administrator(self) -> Any:
        # Bytes: a process list has other sessions' statements, which may have any in them.
        return pymysql.connect(unix_socket=self.server.socket, user="root", autocommit=True, use_unicode=False)

    def kill(self) -> None:
        """KILL a connection every 20 ms."""
        connection = None
        while not self.stop.wait(KILL_EVERY):
            try:
                connection = connection or self.administrator()
                with connection.cursor() as cursor:
                    # Not information_schema.processlist, which MySQL refuses (3854) while an emoji is in a statement.
                    cursor.execute("SHOW PROCESSLIST")
                    numbers = [number for number, user, *_ in cursor.fetchall() if user == USER.encode()]
                    if numbers:
                        cursor.execute(f"KILL {self.random.choice(numbers)}")
                        self.report.faults["KILL"] += 1
            except (pymysql.err.MySQLError, OSError) as error:
                if error.args[0] != 1094:  # no such thread any more
                    connection = None
        if connection is not None:
            connection.close()

    def lock(self) -> None:
        """Lock rows against the workers, in the opposite order and for long."""
        rng = random.Random(self.seed + 1)
        while not self.stop.wait(0.3):
            try:
                with self.administrator() as connection, connection.cursor() as cursor:
                    cursor.execute("SET SESSION autocommit = 0, innodb_lock_wait_timeout = 1")
                    cursor.execute("USE test")
                    for number in rng.sample(range(ACCOUNTS), 2):
                        cursor.execute(f"SELECT balance FROM account WHERE id = {number} FOR UPDATE")
                        time.sleep(0.02)
                    if rng.random() < 0.15:
                        self.stop.wait(1.3)
                        self.report.faults["row locked past the timeout"] += 1
                    else:
                        self.report.faults["rows locked in another order"] += 1
                    cursor.execute("ROLLBACK")
            except (pymysql.err.MySQLError, OSError):
                pass

    def cut(self) -> None:
        """Break the network."""
        rng = random.Random(self.seed + 2)
        proxy, faults = self.proxy, self.report.faults
        while not self.stop.wait(0.1):
            kind = rng.choice([*["reply to COMMIT lost", "COMMIT lost"] * 4, *"abcdefgh"])
            if kind == "reply to COMMIT lost":
                proxy.cut_at("COMMIT", delivered=True, server_knows=rng.random() < 0.7)
            elif kind == "COMMIT lost":
                proxy.cut_at("COMMIT", delivered=False, server_knows=rng.random() < 0.7)
            elif kind == "a":
                kind = "RST on all connections"
                proxy.reset()
            elif kind == "b":
                kind = "FIN on all connections"
                proxy.drop()
            elif kind == "c":
                kind = "reply truncated"
                proxy.truncate_reply(rng.randrange(12))
            elif kind == "d":
                kind = "request truncated"
                proxy.truncate_request(rng.randrange(60))
            elif kind == "e":
                kind = "client's side closed alone"
                proxy.half_close()
            elif kind == "f":
                kind = "silent for a moment"
                proxy.blackhole()
                self.stop.wait(rng.random() * 0.5)
                proxy.restore()
            elif kind == "g":
                kind = "silent, then reset"
                proxy.hold_replies() if rng.random() < 0.5 else proxy.blackhole()
                self.stop.wait(0.2)
                proxy.reset()
                proxy.restore()
            else:
                kind = "connections refused"
                proxy.refuse()
                self.stop.wait(0.2)
                proxy.restore()
            faults[kind] += 1
        proxy.restore()

    def restart(self) -> None:
        """Restart the server, in order and not, and make it read-only."""
        rng = random.Random(self.seed + 3)
        while not self.stop.wait(2.5):
            kind = rng.choice(("SIGTERM", "SIGKILL", "read-only"))
            try:
                if kind == "read-only":
                    self.server.execute("SET GLOBAL read_only = 1")
                    time.sleep(0.2)
                    self.server.execute("SET GLOBAL read_only = 0")
                else:
                    (self.server.stop if kind == "SIGTERM" else self.server.kill)()
                    time.sleep(rng.random() * 0.5)
                    self.server.start()
            except (pymysql.err.MySQLError, OSError, ServerFailed):
                self.server.start()
                self.server.execute("SET GLOBAL read_only = 0")
                continue
            self.report.faults[f"server {kind}"] += 1

    # -- what was found ----------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare what the server has with what the workers were told."""
        report = self.report
        balances = dict(self.server.execute("SELECT id, balance FROM account", database="test"))
        expected = dict.fromkeys(range(ACCOUNTS), BALANCE)
        rows: Counter[tuple[int, int]] = Counter()
        for worker, number, source, target, amount in self.server.execute(
            "SELECT worker, number, source, target, amount FROM ledger", database="test"
        ):
            rows[worker, number] += 1
            expected[source] -= amount
            expected[target] += amount
        report.sums_right = balances == expected and sum(balances.values()) == ACCOUNTS * BALANCE
        report.told.update(self.told.values())
        report.slowest = max(self.took.values(), default=0.0)
        for unit, told in self.told.items():
            report.lost += told == "done" and not rows[unit]
            report.doubled += rows[unit] > 1
            report.denied += told == "failed" and rows[unit] > 0
            report.unknown_done += told == "unknown" and rows[unit] > 0
        assert set(rows) <= set(self.told)


@click.command()
@click.option("--driver", "drivers", multiple=True, type=click.Choice(DRIVERS), help="Default: each.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(list(MODES)), help="Default: all.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Of the mode holdfast; see --others.")
@click.option("--others", type=float, help="Seconds of each other mode.  [default: as --seconds, at most 60]")
@click.option("--seed", type=int, help="Default: another one each time.")
def main(
    drivers: tuple[str, ...], modes: tuple[str, ...], seconds: float, others: float | None, seed: int | None
) -> None:
    """Print what became of units of work while everything broke, without and with holdfast."""
    for name in ("holdfast", "sqlalchemy.pool"):  # they tell of each restart, of each connection that was lost
        logging.getLogger(name).setLevel(logging.CRITICAL)
    seed = random.SystemRandom().randrange(1 << 30) if seed is None else seed
    others = min(seconds, 60.0) if others is None else others
    console = make_console()
    kept = True
    for driver in drivers or DRIVERS:
        reports = []
        for mode in modes or MODES:
            length = seconds if mode == "holdfast" else others
            click.echo(f"{driver}, {MODES[mode]}: {length:g} s", err=True)
            reports.append(Transfers(driver, mode, length, seed).run())
        server = reports[0].server
        show(console, outcomes(f"{driver} on {server}: {WORKERS} workers move money; seed {seed}", reports))
        show(console, faults(f"{driver} on {server}: faults injected", reports))
        for report in reports:
            kept = kept and report.kept
            if report.unexpected:
                click.echo(f"\n{MODES[report.mode]}, the first error:\n{report.unexpected}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main(prog_name="python -m tests.transactions.ledger")
