"""The password of an account changes every two seconds while nine threads work: with holdfast nobody sees an error.

    python -m tests.credentials.rotation --seconds 300 --driver pymysql

All drivers run at once, each in a process and on a server of its own. The password changes in the order that hosts do
it: on the server first, in the source first, or, on MySQL, with RETAIN CURRENT PASSWORD. In between is a gap of up to
0.6 s, in which one of the two has the new password and the other one the old one. Three engines ask three sources: a
file that is replaced, a function that says for how long its password is valid, and a command. A third of all units of
work throws its connection away, so that the next one has to log in.

With `--mode stock` the same is done with what people write today: a do_connect listener that reads the file. The exit
status is 1 when a thread with holdfast saw an error. The server is the lab's: MariaDB, or the one that
HOLDFAST_LAB_MYSQLD names, which has TLS then.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import random
import secrets
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from sqlalchemy import URL, Engine, event, text
from sqlalchemy import create_engine as stock_engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.cli.tables import Cell, Table, make_console, show
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.reporting import Event

DRIVERS = ("mysqldb", "pymysql", "mysqlconnector")  # tests.conftest's would take HOLDFAST_LAB_MYSQLD away
MODES = ("holdfast", "stock")
SOURCES = ("file", "function", "command")
WORKERS = 3
"""For each source."""
EVERY = 2.0
"""Seconds between two changes."""
LONGEST_GAP = 0.6
USER = "rotating"
LOCKED_AFTER = 40
"""MySQL locks the account after so many refused attempts without an accepted one in between."""


@dataclass
class Report:
    """What was done, and what was seen."""

    driver: str
    mode: str
    seconds: float
    server: str
    rotations: Counter[str] = field(default_factory=Counter)
    """By the order in which the password was changed."""
    units: int = 0
    connects: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """What the threads saw."""
    events: Counter[str] = field(default_factory=Counter)
    refused: int | None = None
    """How many attempts the server refused, where it counts them."""
    slowest: float = 0.0
    """Seconds that one unit of work took at the most."""
    shown: int = 0
    """How many log lines, errors and texts had a password in them."""
    first: str = ""
    """The traceback of the first error."""

    @property
    def kept(self) -> bool:
        """Whether holdfast has kept its promise. Of stock SQLAlchemy none is asked."""
        return not self.shown and (self.mode != "holdfast" or not self.errors)

    def __str__(self) -> str:
        return (
            f"{self.driver} on {self.server}, {self.mode}, {self.seconds:.0f} s: {dict(self.rotations)} rotations, "
            f"{self.units} units, {self.connects} connects, errors {dict(self.errors)}, slowest {self.slowest:.2f} s, "
            f"refused by the server {self.refused}, events {dict(self.events)}\n{self.first}"
        )


class Rotation:
    """One run, on a server of its own.

    :param executable: the server program, as for `Server`.
    """

    def __init__(
        self, driver: str, mode: str, seconds: float, seed: int, *, executable: str | os.PathLike[str] | None = None
    ) -> None:
        self.random = random.Random(f"{seed} {driver}")
        self.stop = threading.Event()
        tls = Server(executable=executable).flavour == "mysql"  # mysql-connector logs in without it only from a cache
        self.server = Server(executable=executable, tls=tls)
        flavour = {"mariadb": "MariaDB", "mysql": "MySQL"}[self.server.flavour]
        self.report = Report(driver, mode, seconds, f"{flavour} {self.server.version}")
        self.all: list[str] = []
        """Every password that there was."""
        self.secret = ""
        """What the source has."""
        self.lock = threading.Lock()

    @property
    def file(self) -> Path:
        return self.server.directory / "secret"

    def run(self) -> Report:
        """Work and rotate until the time is up."""
        with self.server:
            password = self.new_password()
            self.publish(password)
            self.server.create_account(USER, password, databases=("test",))
            if self.server.flavour == "mysql":
                self.server.execute(
                    f"ALTER USER {USER} FAILED_LOGIN_ATTEMPTS {LOCKED_AFTER} PASSWORD_LOCK_TIME UNBOUNDED"
                )
            engines = [self.engine(source) for source in SOURCES]
            for engine in engines:  # each has worked once: a password that was never accepted is wrong
                self.unit(engine, invalidates=False)
            before = self.denied()
            workers = [threading.Thread(target=self.work, args=(engine,)) for engine in engines for _ in range(WORKERS)]
            rotator = threading.Thread(target=self.rotate)
            for thread in (*workers, rotator):
                thread.start()
            self.stop.wait(self.report.seconds)
            self.stop.set()
            for thread in (rotator, *workers):
                thread.join()
            self.report.refused = None if before is None else (self.denied() or 0) - before
            for engine in engines:
                self.look_for_secrets(repr(engine), str(engine.url), repr(holdfast.status(engine)))
                self.look_for_secrets(repr(vars(holdfast.status(engine).settings)), repr(engine.pool))
                engine.dispose()
        return self.report

    # -- the source ----------------------------------------------------------------------------------------------

    def new_password(self) -> str:
        self.all.append(secrets.token_hex(16))
        return self.all[-1]

    def publish(self, password: str) -> None:
        """Replace the secret in one step, as Kubernetes does."""
        new = self.file.with_suffix(".new")
        new.write_text(password + "\n")
        new.replace(self.file)
        self.secret = password

    def url(self) -> URL:
        query = {"ssl_ca": self.server.tls_ca} if self.server.tls_ca is not None else {}
        if self.report.driver == "mysqlconnector":
            query["use_pure"] = "1"
        return self.server.url(self.report.driver, user=USER, password="", query=query)

    def engine(self, source: str) -> Engine:
        options: dict[str, Any] = {"pool_size": WORKERS, "max_overflow": 0}
        if self.report.mode == "stock":
            engine = stock_engine(self.url(), **options)

            @event.listens_for(engine, "do_connect")
            def read(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
                cparams["password"] = self.file.read_text().strip()

            return engine
        by_source: dict[str, dict[str, Any]] = {
            "file": {"holdfast_password_file": self.file},
            "function": {"holdfast_password": lambda: holdfast.Password(self.secret, expires_in=3600)},
            "command": {"holdfast_password_command": ["cat", str(self.file)], "holdfast_password_ttl": 3},
        }
        engine = holdfast.create_engine(self.url(), **options, **by_source[source])
        holdfast.status(engine).listen(self.note)
        return engine

    def note(self, happened: Event) -> None:
        self.look_for_secrets(repr(happened))
        if "password" in happened.name:
            with self.lock:
                self.report.events[happened.name] += 1

    def look_for_secrets(self, *words: str) -> None:
        found = sum(any(secret in text for secret in self.all) for text in words)
        with self.lock:
            self.report.shown += found

    # -- what happens ----------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Change the password every two seconds, in one of the orders."""
        on_mysql = self.server.flavour == "mysql"
        orders = ["server first", "source first", *["both are valid"] * on_mysql]
        while not self.stop.wait(EVERY):
            order, gap, password = self.random.choice(orders), self.random.uniform(0, LONGEST_GAP), self.new_password()
            alter = f"ALTER USER {USER} IDENTIFIED BY %s"
            if order == "source first":
                self.publish(password)
                time.sleep(gap)
            self.server.execute(alter + " RETAIN CURRENT PASSWORD" * (order == "both are valid"), (password,))
            if order != "source first":
                time.sleep(gap)
                self.publish(password)
            self.report.rotations[order] += 1

    def work(self, engine: Engine) -> None:
        rng = random.Random(self.random.random())
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                self.unit(engine, invalidates=rng.random() < 1 / 3)
            except Exception as error:
                words = "".join(traceback.format_exception(error))
                self.look_for_secrets(words)
                number = (getattr(error, "orig", None) or error).args[:1]
                with self.lock:
                    self.report.errors[f"{type(error).__name__} {number}"] += 1
                    self.report.first = self.report.first or words
            took = time.monotonic() - began
            with self.lock:
                self.report.units += 1
                self.report.slowest = max(self.report.slowest, took)
            time.sleep(rng.uniform(0, 0.04))

    def unit(self, engine: Engine, *, invalidates: bool) -> None:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT CURRENT_USER()")).scalar_one() == f"{USER}@%"
            if invalidates:
                connection.invalidate()
                with self.lock:
                    self.report.connects += 1

    def denied(self) -> int | None:
        """How many logins the server has refused. MariaDB counts them."""
        return int(self.server.status("Access_denied_errors")) if self.server.flavour == "mariadb" else None


def run_all(
    drivers: Sequence[str], mode: str, seconds: float, seed: int, executable: str | None = None
) -> list[Report]:
    """All drivers at once, each in a process of its own: mysql-connector computes for 50 ms at each login with TLS."""
    run = functools.partial(_run, mode=mode, seconds=seconds, seed=seed, executable=executable)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(run, drivers))


def _run(driver: str, mode: str, seconds: float, seed: int, executable: str | None) -> Report:
    for name in ("holdfast", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return Rotation(driver, mode, seconds, seed, executable=executable).run()


def table(reports: Sequence[Report]) -> Table:
    """What was seen: a column for each driver."""
    found = Table(
        f"the password changes every {EVERY:g} s, {len(SOURCES) * WORKERS} threads; {reports[0].server}",
        ("", *(f"{report.driver}, {report.mode}" for report in reports)),
    )
    found.add("seconds", *(f"{report.seconds:.0f}" for report in reports))
    for order in sorted({order for report in reports for order in report.rotations}):
        found.add(f"rotations, {order}", *(f"{report.rotations[order]}" for report in reports))
    found.add("units of work", *(f"{report.units:,}" for report in reports))
    found.add("new connections", *(f"{report.connects:,}" for report in reports))
    errors = [report.errors.total() for report in reports]
    found.add("errors the threads saw", *(Cell(f"{count:,}", "bad" if count else "good") for count in errors))
    found.add("refused by the server", *("-" if r.refused is None else f"{r.refused:,}" for r in reports))
    for name in sorted({name for report in reports for name in report.events}):
        found.add(f"event {name}", *(f"{report.events[name]:,}" for report in reports))
    found.add("slowest unit s", *(f"{report.slowest:.2f}" for report in reports))
    found.add("texts with a password", *(f"{report.shown}" for report in reports))
    return found


@click.command()
@click.option("--driver", "drivers", multiple=True, type=click.Choice(DRIVERS), help="Default: each, at once.")
@click.option("--mode", type=click.Choice(MODES), default="holdfast", show_default=True)
@click.option("--seconds", type=float, default=300.0, show_default=True)
@click.option("--seed", type=int, help="Default: another one each time.")
def main(drivers: tuple[str, ...], mode: str, seconds: float, seed: int | None) -> None:
    """Print what threads saw while the password of their account changed every two seconds."""
    seed = random.SystemRandom().randrange(1 << 30) if seed is None else seed
    reports = run_all(drivers or DRIVERS, mode, seconds, seed)
    show(make_console(), table(reports))
    for report in reports:
        if report.first:
            click.echo(f"\n{report.driver}, the first error:\n{report.first}")
    sys.exit(0 if all(report.kept for report in reports) else 1)


if __name__ == "__main__":
    main(prog_name="python -m tests.credentials.rotation")
