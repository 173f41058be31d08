"""What is common to all suites: an environment, a run of pytest on a fresh server, and the comparison of two runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy_holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "peers"
CACHE = ROOT / ".lab" / "peers"
RESULTS = CACHE / "results"

LINES = {"2.1": "2.1.9", "2.0": "2.0.58"}
DRIVERS = {"mysqldb": "mysqlclient", "pymysql": "PyMySQL", "mysqlconnector": "mysql-connector-python"}
SQLITE = "sqlite"

TEST_SECONDS = 120

# So many of the tests won are named.
NAMED = 5

# Tests that may be lost, and why: (database, name as printed) -> the reason, with the page that documents it.
KNOWN: dict[tuple[str, str], str] = {}


class RunBroken(Exception):
    """Raised when a suite cannot be had, or a run of it did not come to its end or says nothing about holdfast."""


class Unavailable(RunBroken):
    """Raised when a suite's tests cannot be had on this machine."""


@dataclass(frozen=True)
class Result:
    """What became of one test: passed, failed, error or skipped, and the first line of its message."""

    outcome: str
    message: str


Report = dict[str, Result]


@dataclass(frozen=True)
class Run:
    """One run of a suite: its tests, how long it took (None: a part of a stored run), and on how many engines
    holdfast was (None: stock)."""

    report: Report
    seconds: float | None
    engines: int | None = None

    def count(self, outcome: str) -> int:
        """Count the tests with this outcome."""
        return Counter(result.outcome for result in self.report.values())[outcome]

    def passed(self, test: str) -> bool:
        """Say whether this test ran and passed."""
        return test in self.report and self.report[test].outcome == "passed"


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the packages that a suite needs."""

    home: Path
    packages: tuple[str, ...]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.home / "venv" / "bin" / "python"

    def prepare(self) -> None:
        """Make the environment, unless that has been done, and put this repository's holdfast into it."""
        self.home.mkdir(parents=True, exist_ok=True)
        ready = self.home / "ready.json"
        if not ready.exists() or json.loads(ready.read_text()) != [*self.packages]:
            say(f"{self.packages[0]}: making its environment in {self.home.relative_to(ROOT)}")
            command(sys.executable, "-m", "venv", "--clear", self.home / "venv")
            # A wheel, for its compiled parts.
            self.pip("install", "--only-binary", "SQLAlchemy", *self.packages)
            ready.write_text(json.dumps(self.packages))
        # Each time: its entry points may have changed.
        self.pip("install", "--no-deps", "--editable", ROOT)

    def pip(self, *arguments: str | Path) -> None:
        """Run the environment's pip."""
        command(self.python, "-m", "pip", "--quiet", *arguments)

    def versions(self, packages: Iterable[str], server: str) -> dict[str, str]:
        """List what a result depends on."""
        code = (
            "import json, platform, sys; from importlib.metadata import version;"
            "print(json.dumps({'Python': platform.python_version()} | {p: version(p) for p in sys.argv[1:]}))"
        )
        answer = subprocess.run([self.python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout
        return {**json.loads(answer), "server": server}


@dataclass(frozen=True)
class Suite(ABC):
    """What to run: a suite on one line of SQLAlchemy and one database, which is a driver's name or SQLITE."""

    version: str
    database: str
    environment: Environment
    words: str
    limit: float

    @property
    @abstractmethod
    def title(self) -> str:
        """The suite's name in the table."""

    @property
    @abstractmethod
    def directory(self) -> Path:
        """Where the suite's tests are run."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """What the names of its results begin with."""

    @property
    @abstractmethod
    def packages(self) -> tuple[str, ...]:
        """The packages that its results depend on."""

    @property
    @abstractmethod
    def plugin(self) -> str:
        """The pytest plugin that brings holdfast in."""

    @abstractmethod
    def arguments(self, mode: str, server: Server) -> list[str]:
        """Return what pytest is to be given for this suite."""

    def variables(self, mode: str, server: Server) -> Mapping[str, str]:
        """Return what the suite reads from the environment."""
        return {}

    @property
    def whole(self) -> bool:
        """Whether all of the suite is asked for: then its stock result is stored."""
        return not self.words

    def has(self, test: str) -> bool:
        """Say whether a test of a stored report is asked for."""
        return True

    def run(self, mode: str, label: str = "", only: Iterable[str] | None = None) -> Run:
        """Run the suite on a fresh server; junit report and log go to RESULTS."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        stem = RESULTS / f"{self.stem}-{mode}{'' if self.whole else '-part'}{label}"
        junit, log, listed = (stem.with_name(f"{stem.name}.{ending}") for ending in ("xml", "log", "txt"))
        junit.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONFAULTHANDLER": "1"}
        environment.pop("HOLDFAST_PEERS_ONLY", None)
        if only is not None:
            listed.write_text("".join(f"{test}\n" for test in sorted(only)))
            environment["HOLDFAST_PEERS_ONLY"] = str(listed)
        plugins = ["in_suite", self.plugin] if mode == "holdfast" else ["in_suite"]
        started = time.monotonic()
        with database() as server, log.open("w") as output:
            arguments = [
                # Without -s SQLAlchemy's conftest would put its own, uncompiled copy first.
                *(self.environment.python, "-s", "-m", "pytest"),
                *(f"-p{plugin}" for plugin in plugins),
                *self.arguments(mode, server),
                # SQLAlchemy's own settings stop after 250 failures.
                *("--maxfail=0", f"--timeout={TEST_SECONDS}", "-o", f"faulthandler_timeout={TEST_SECONDS + 30}"),
                *(f"--junitxml={junit}", "-o", "junit_family=xunit2"),
                *(("-k", self.words) if self.words else ()),
            ]
            process = subprocess.Popen(
                arguments,
                cwd=self.directory,
                env={**environment, **self.variables(mode, server)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            finish(process, self.limit)
        seconds = time.monotonic() - started
        # 0: all passed, 1: some failed. All else is no whole run: interrupted at the limit, killed, wrong usage.
        if process.returncode not in (0, 1):
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RunBroken(f"{stem.name} ended with {process.returncode} after {seconds:.0f} s; {log}:\n{last}")
        return Run(read_report(junit), seconds, self.engines(log) if mode == "holdfast" else None)

    def stock(self, server: str, fresh: bool, may_run: bool = True) -> Run | None:
        """Return the stock run: a stored one of the same versions and tests, or else a new one."""
        versions = self.environment.versions(self.packages, server)
        junit = RESULTS / f"{self.stem}-stock.xml"
        about = junit.with_suffix(".json")
        if not fresh and not self.words and junit.exists() and about.exists():
            stored = json.loads(about.read_text())
            if stored["versions"] == versions:
                report = {test: result for test, result in read_report(junit).items() if self.has(test)}
                return Run(report, stored["seconds"] if self.whole else None)
        if not may_run:
            return None
        if self.whole:
            about.unlink(missing_ok=True)
        run = self.run("stock")
        if self.whole:
            about.write_text(json.dumps({"versions": versions, "seconds": run.seconds}, indent=1))
        return run

    def engines(self, log: Path) -> int:
        """Read how many engines holdfast was on: those it held, or on SQLite those it stepped aside for.

        With none, the run proves nothing.
        """
        found = re.findall(r"^holdfast held (\d+) engines and passed by (\d+)", log.read_text(errors="replace"), re.M)
        if not found:
            raise RunBroken(f"no count of engines in {log}")
        held, passed_by = found[-1]
        return int(passed_by if self.database == SQLITE else held)


@dataclass(frozen=True)
class Comparison:
    """The two runs of one suite, and what is left of their differences after the second look."""

    suite: Suite
    stock: Run | None
    held: Run | None
    lost: dict[str, str]
    won: list[str]
    unsteady: dict[str, str]

    def unexpected(self) -> list[str]:
        """Name the lost tests that are not in KNOWN."""
        return [test for test in self.lost if (self.suite.database, plain(test)) not in KNOWN]


def compare(suite: Suite, stock: Run | None, held: Run | None) -> Comparison:
    """Compare the two runs, and look at each lost test again before calling it lost."""
    if stock is None or held is None:
        return Comparison(suite, stock, held, {}, [], {})
    ran = (test for test in stock.report if stock.passed(test) and not held.passed(test))
    suspects = {test: held.report[test].message if test in held.report else "did not run" for test in ran}
    won = [test for test in held.report if held.passed(test) and not stock.passed(test)]
    lost: dict[str, str] = {}
    if suspects:
        say(f"  {len(suspects)} lost in the first run; running them again alone")
        stock_alone = suite.run("stock", "-alone", suspects)
        held_alone = suite.run("holdfast", "-alone", suspects)
        lost = {t: m for t, m in suspects.items() if stock_alone.passed(t) and not held_alone.passed(t)}
        rest = suspects.keys() - lost.keys()
        again = [t for t in rest if stock_alone.passed(t)]
        if again:
            say(f"  {len(again)} of them pass alone; running their files again")
            modules = {module(t) for t in again}
            held_files = suite.run("holdfast", "-files", {t for t in stock.report if module(t) in modules})
            lost |= {t: suspects[t] for t in again if not held_files.passed(t)}
    unsteady = {test: message for test, message in suspects.items() if test not in lost}
    return Comparison(suite, stock, held, lost, won, unsteady)


def module(test: str) -> str:
    """Return the dotted name of a test's file: all before the class."""
    return ".".join(part for part in test.partition("::")[0].split(".") if part[:1].islower())


def plain(test: str) -> str:
    """Drop what the suite adds to a class for each database, such as `_mariadb+pymysql_10_11_19`."""
    return re.sub(r"_(mysql|mariadb)\+\w+::", "::", test)


def read_report(junit: Path) -> Report:
    """Read a junit report; where a test has two entries (its end failed as well) the worse counts."""
    ranks = ("passed", "skipped", "failed", "error")
    report: Report = {}
    for case in ET.parse(junit).iter("testcase"):
        outcome, message = "passed", ""
        for child in case:
            if child.tag in ("skipped", "failure", "error"):
                outcome = "failed" if child.tag == "failure" else child.tag
                message = last_line(child)
        name = f"{case.get('classname')}::{case.get('name')}"
        if name not in report or ranks.index(outcome) > ranks.index(report[name].outcome):
            report[name] = Result(outcome, message)
    return report


def last_line(problem: ET.Element) -> str:
    """Return the line of a traceback that names the exception, or the message where there is none."""
    lines = [line for line in (problem.text or "").splitlines() if re.match(r"[\w.]+(Error|Exception|\w+):", line)]
    return (lines[-1] if lines else problem.get("message") or "").partition("\n")[0][:200]


def finish(process: subprocess.Popen[bytes], limit: float) -> None:
    """Wait for a run; at its limit interrupt it, then have its stacks printed, then kill it."""
    for seconds, end in ((limit, signal.SIGINT), (30, signal.SIGABRT), (10, signal.SIGKILL)):
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, end)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    process.wait()


@contextmanager
def database() -> Iterator[Server]:
    """Start a server as the suite wants it (its README.unittests.rst), and stop it at the end."""
    options = {"character_set_server": "utf8mb4", "collation_server": "utf8mb4_general_ci"}
    with Server(options=options) as server:
        for name in ("test", "test_schema", "test_schema_2"):
            server.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
        for host in ("localhost", "127.0.0.1", "%"):
            server.execute(f"CREATE USER scott@'{host}' IDENTIFIED BY 'tiger'")
            server.execute(f"GRANT ALL PRIVILEGES ON *.* TO scott@'{host}' WITH GRANT OPTION")
        yield server


def command(*arguments: str | Path) -> None:
    """Run a command that is expected to succeed."""
    subprocess.run(arguments, check=True)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def print_table(comparisons: Iterable[Comparison]) -> None:
    """Print one row for each suite, line and database."""
    outcomes = ("passed", "failed", "error")
    row = "{:<21} {:<10} {:<14} {:>7} {:>7} {:>7} {:>7} {:>5}  {:>7} {:>7} {:>7} {:>7} {:>5}  {:>5} {:>4} {:>9}"
    say("")
    say(row.format("", "", "", "stock", *[""] * 4, "held", *[""] * 7).rstrip())
    head = [*outcomes, "skipped", "s", *outcomes, "engines", "s", "lost", "won", "unsteady"]
    say(row.format("suite", "SQLAlchemy", "database", *head))
    for c in comparisons:
        stock = counts(c.stock, *outcomes, "skipped")
        held = counts(c.held, *outcomes)
        engines = "-" if c.held is None else c.held.engines
        both = c.stock is not None and c.held is not None
        differences = [len(c.lost), len(c.won), len(c.unsteady)] if both else ["-"] * 3
        say(
            row.format(
                *(c.suite.title, c.suite.version, c.suite.database, *stock, in_seconds(c.stock)),
                *(*held, str(engines), in_seconds(c.held), *differences),
            )
        )


def counts(run: Run | None, *outcomes: str) -> list[str]:
    """Return the number of tests for each outcome, or dashes for a run that was not made."""
    return ["-" if run is None else str(run.count(outcome)) for outcome in outcomes]


def in_seconds(run: Run | None) -> str:
    """Return how long a run took, in whole seconds."""
    return "-" if run is None or run.seconds is None else f"{run.seconds:.0f}"


def print_names(comparison: Comparison) -> None:
    """Name each test that differs, with the error of the first held run."""
    where = f"{comparison.suite.title} {comparison.suite.version} {comparison.suite.database}"
    for test, message in comparison.lost.items():
        reason = KNOWN.get((comparison.suite.database, plain(test)))
        say(f"lost      {where}  {plain(test)}\n            {message}")
        if reason:
            say(f"            known: {reason}")
    for test, message in comparison.unsteady.items():
        say(f"unsteady  {where}  {plain(test)}\n            {message}")
    for test in comparison.won[:NAMED]:
        say(f"won       {where}  {plain(test)}")
    if comparison.won[NAMED:]:
        say(f"won       {where}  and {len(comparison.won) - NAMED} more")
