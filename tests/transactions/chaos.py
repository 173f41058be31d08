"""Eight workers move money through ``holdfast.run`` while everything breaks: nothing is lost, nothing is doubled.

    python -m tests.transactions.chaos --driver pymysql --seconds 600
    python -m tests.transactions.chaos --driver pymysql --seconds 600 --naive   # without holdfast, and tried again

Each unit of work moves an amount between two accounts and appends a row to a ledger. A worker writes down what it was
told of each unit. In the end the ledger is compared with that, and with the accounts.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pymysql
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

import holdfast
from holdfast.lab import Proxy, Server, ServerFailed
from holdfast.transactions import create_commit_table

ACCOUNTS = 6
BALANCE = 1_000_000
WORKERS = 8
KILL_EVERY = 0.02
MODES = ("holdfast", "no-verify", "stock", "naive")

MOVE = text("UPDATE account SET balance = balance + :amount WHERE id = :id")
APPEND = text("INSERT INTO ledger (worker, number, source, target, amount) VALUES (:worker, :number, :s, :t, :amount)")


@dataclass
class Report:
    """What was done, what was told, and what was found."""

    driver: str
    mode: str
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """The worker was told that it was done, and it was not."""
    doubled: int = 0
    """It was done more than once."""
    denied: int = 0
    """The worker was told that it failed, and it was done."""
    unknown_done: int = 0
    sums_right: bool = True
    slowest: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether everybody was told the truth."""
        return self.sums_right and not (self.lost or self.doubled or self.denied)

    def __str__(self) -> str:
        rows = [
            f"{self.driver}, {self.mode}, {self.seconds:.0f} s: {self.told.total()} units",
            f"  done {self.told['done']}, failed {self.told['failed']}, outcome unknown {self.told['unknown']}"
            f" (of which done: {self.unknown_done}); slowest {self.slowest:.1f} s",
            f"  lost {self.lost}, doubled {self.doubled}, done although told that it failed {self.denied}, "
            f"sums {'right' if self.sums_right else 'WRONG'}",
            f"  faults: {_list(self.faults)}",
            f"  errors seen: {_list(self.errors)}",
        ]
        of_interest = ("repeated", "commits", "replaced")
        counted = Counter(
            {name: count for name, count in self.counters.items() if count and name.startswith(of_interest)}
        )
        return "\n".join([*rows, *([f"  counters: {_list(counted)}"] if counted else [])])


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"


class Chaos:
    """One run on a server of its own."""

    def __init__(self, driver: str, mode: str, seconds: float, seed: int) -> None:
        self.report = Report(driver, mode, seconds)
        self.random = random.Random(seed)
        self.seed = seed
        self.stop = threading.Event()
        self.unexpected = ""
        self.told: dict[tuple[int, int], str] = {}
        self.server = Server(options={"innodb_lock_wait_timeout": 1, "max_connections": 60})
        self.proxy = Proxy.for_server(self.server)
        self.quiet = threading.Lock()
        """Held while the server is down, so that the other faults are given to one that is there."""

    def run(self) -> Report:
        """Break everything until the time is up; then compare."""
        with self.server, self.proxy:
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
            if self.report.mode in ("holdfast", "no-verify"):
                self.report.counters = dict(holdfast.of(engine).counters.as_dict())
            engine.dispose()
            self.compare()
        return self.report

    def engine(self) -> Engine:
        query = {"use_pure": "1"} if self.report.driver == "mysqlconnector" else {}
        if self.report.mode in ("holdfast", "no-verify"):
            query["plugin"] = "holdfast"
        url = self.server.url(self.report.driver, host=self.proxy.host, port=self.proxy.port, query=query)
        # A network that swallows everything without a word is noticed by the driver's time limit alone.
        limits = {"mysqldb": ("read_timeout",), "pymysql": ("read_timeout",), "mysqlconnector": ("read_timeout",)}
        arguments = dict.fromkeys(limits[self.report.driver], 4)
        return create_engine(url, pool_size=WORKERS, max_overflow=4, connect_args=arguments)

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
            except holdfast.CommitOutcomeUnknown:
                told = "unknown"
            except Exception as error:
                told = "failed"
                first = (getattr(error, "orig", None) or error).args[:1]
                self.report.errors[f"{type(error).__name__}{first}"] += 1
                if self.report.mode in ("holdfast", "no-verify") and not self.unexpected:
                    self.unexpected = "".join(traceback.format_exception(error))
                if self.report.mode in ("stock", "naive"):
                    time.sleep(0.01)
            self.report.slowest = max(self.report.slowest, time.monotonic() - began)
            self.told[number, count] = told
            self.report.told[told] += 1

    # -- the breakers ------------------------------------------------------------------------------------------

    def administrator(self) -> Any:
        return pymysql.connect(unix_socket=self.server.socket, user="root", autocommit=True)

    def kill(self) -> None:
        """KILL a connection every 20 ms."""
        connection = None
        while not self.stop.wait(KILL_EVERY):
            try:
                connection = connection or self.administrator()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'app'")
                    numbers = [row[0] for row in cursor.fetchall()]
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
                connection = self.administrator()
                with connection.cursor() as cursor:
                    cursor.execute("SET SESSION autocommit = 0, innodb_lock_wait_timeout = 1")
                    cursor.execute("USE test")
                    for number in rng.sample(range(ACCOUNTS), 2):
                        cursor.execute(f"SELECT balance FROM account WHERE id = {number} FOR UPDATE")
                        time.sleep(0.02)
                    if rng.random() < 0.15:
                        self.stop.wait(1.3)
                        self.report.faults["row locked for longer than a lock may be waited for"] += 1
                    else:
                        self.report.faults["rows locked in another order"] += 1
                    cursor.execute("ROLLBACK")
                connection.close()
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
        for unit, told in self.told.items():
            report.lost += told == "done" and not rows[unit]
            report.doubled += rows[unit] > 1
            report.denied += told == "failed" and rows[unit] > 0
            report.unknown_done += told == "unknown" and rows[unit] > 0
        assert set(rows) <= set(self.told)


def main() -> None:
    """Run it, print what was found, and exit with 1 when somebody was told what is not true."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", choices=("mysqldb", "pymysql", "mysqlconnector"), default="pymysql")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    for mode in MODES[1:]:
        parser.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, default=MODES[0])
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    chaos = Chaos(given.driver, given.mode, given.seconds, given.seed)
    report = chaos.run()
    print(report, chaos.unexpected, sep="\n")
    failed = given.mode in ("holdfast", "no-verify") and (not report.right or report.told["failed"])
    raise SystemExit(1 if failed or (given.mode == "holdfast" and report.told["unknown"]) else 0)


if __name__ == "__main__":
    main()
