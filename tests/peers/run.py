"""Run SQLAlchemy's own test suite with holdfast on every engine, and compare with stock: nothing may be lost.

    make peers                                             all: two SQLAlchemy lines, three drivers
    make peers ARGS='--quick --sqlalchemy 2.1 --drivers pymysql'
    make peers ARGS='--drivers mysqldb -k reconnect'

Each line of SQLAlchemy gets an environment of its own under .lab/peers, with the suite from its source
package beside it. Each run gets a fresh server. Stock results are kept there and used again while no version
changes.

A test is *lost* when it passes in stock and not with holdfast. What is lost in the first run is run again
alone, both stock and held; what then passes held is run a third time with the whole of its file, because one
test may lose another. Passing all that, it is *unsteady*: shown, and no failure.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "peers"
CACHE = ROOT / ".lab" / "peers"
RESULTS = CACHE / "results"

LINES = {"2.1": "2.1.9", "2.0": "2.0.58"}
DRIVERS = {"mysqldb": "mysqlclient", "pymysql": "PyMySQL", "mysqlconnector": "mysql-connector-python"}

# greenlet: without it the suite leaves out its tests of the pool under asyncio.
PACKAGES = (*DRIVERS.values(), "cryptography", "greenlet", "pytest>=8,<10", "pytest-timeout", "pytest-xdist")

QUICK = (
    "test/engine/test_pool.py",
    "test/engine/test_reconnect.py",
    "test/engine/test_transaction.py",
    "test/engine/test_execute.py",
    "test/dialect/mysql",
)
FULL = (*QUICK, "test/dialect/test_suite.py", "test/orm/test_session.py", "test/orm/test_transaction.py")

TEST_SECONDS = 120

# Tests that may be lost, and why: (driver, name as printed) -> the reason, with the page that documents it.
KNOWN: dict[tuple[str, str], str] = {}


class RunBroken(Exception):
    """Raised when a run of the suite did not come to its end, or says nothing about holdfast."""


@dataclass(frozen=True)
class Result:
    """What became of one test: passed, failed, error or skipped, and the first line of its message."""

    outcome: str
    message: str


Report = dict[str, Result]


@dataclass(frozen=True)
class Run:
    """One run of the suite: its tests, how long it took (None: a part of a stored run), and how many engines
    were held (None: stock)."""

    report: Report
    seconds: float | None
    held: int | None = None

    def count(self, outcome: str) -> int:
        """Count the tests with this outcome."""
        return Counter(result.outcome for result in self.report.values())[outcome]

    def passed(self, test: str) -> bool:
        """Say whether this test ran and passed."""
        return test in self.report and self.report[test].outcome == "passed"


@dataclass(frozen=True)
class Line:
    """One line of SQLAlchemy: its environment and the suite of the same release."""

    name: str

    @property
    def version(self) -> str:
        """The release that stands for this line."""
        return LINES[self.name]

    @property
    def home(self) -> Path:
        """Where environment and suite lie."""
        return CACHE / self.version

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.home / "venv" / "bin" / "python"

    @property
    def suite(self) -> Path:
        """The unpacked source package."""
        return self.home / f"sqlalchemy-{self.version}"

    def prepare(self) -> None:
        """Download the suite and build the environment, unless that has been done."""
        self.home.mkdir(parents=True, exist_ok=True)
        wanted = [f"SQLAlchemy=={self.version}", *PACKAGES]
        ready = self.home / "ready.json"
        if not ready.exists() or json.loads(ready.read_text()) != wanted:
            say(f"SQLAlchemy {self.version}: making its environment in {self.home.relative_to(ROOT)}")
            command(sys.executable, "-m", "venv", "--clear", self.home / "venv")
            # A wheel, for its compiled parts.
            self.pip("install", "--only-binary", "SQLAlchemy", *wanted)
            ready.write_text(json.dumps(wanted))
        if not self.suite.exists():
            # pip builds the package's metadata on the way; --no-binary :all: would build the build tools.
            self.pip("download", "--no-deps", "--no-binary", "SQLAlchemy", f"--dest={self.home}", wanted[0])
            with tarfile.open(self.home / f"sqlalchemy-{self.version}.tar.gz") as package:
                package.extractall(self.home, filter="data")

    def install_holdfast(self) -> None:
        """Make this repository's holdfast and its entry point known to the environment."""
        self.pip("install", "--no-deps", "--editable", ROOT)

    def pip(self, *arguments: str | Path) -> None:
        """Run the environment's pip."""
        command(self.python, "-m", "pip", "--quiet", *arguments)

    def versions(self, driver: str, server: str) -> dict[str, str]:
        """List what a result depends on."""
        code = (
            "import json, platform, sys; from importlib.metadata import version;"
            "print(json.dumps({'Python': platform.python_version()} | {p: version(p) for p in sys.argv[1:]}))"
        )
        packages = ("SQLAlchemy", DRIVERS[driver], "greenlet", "pytest")
        answer = subprocess.run([self.python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout
        return {**json.loads(answer), "server": server}


@dataclass(frozen=True)
class Suite:
    """What to run: one line, one driver, a choice of tests, and the time limit of each run."""

    line: Line
    driver: str
    paths: tuple[str, ...]
    words: str
    limit: float

    def run(self, mode: str, label: str = "", only: Iterable[str] | None = None) -> Run:
        """Run the suite on a fresh server; junit report and log go to RESULTS."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        choice = "" if self.paths == FULL and not self.words else "-part"
        stem = RESULTS / f"{self.line.version}-{self.driver}-{mode}{choice}{label}"
        junit, log, listed = (stem.with_name(f"{stem.name}.{ending}") for ending in ("xml", "log", "txt"))
        junit.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONFAULTHANDLER": "1"}
        environment.pop("HOLDFAST_PEERS_ONLY", None)
        if only is not None:
            listed.write_text("".join(f"{test}\n" for test in sorted(only)))
            environment["HOLDFAST_PEERS_ONLY"] = str(listed)
        plugins = ["in_suite", "holdfast_everywhere"] if mode == "holdfast" else ["in_suite"]
        started = time.monotonic()
        with database() as server, log.open("w") as output:
            arguments = [
                # Without -s the suite's conftest would put its own, uncompiled copy first.
                *(self.line.python, "-s", "-m", "pytest", *self.paths),
                *(f"-p{plugin}" for plugin in plugins),
                *(
                    "--dburi",
                    f"mysql+{self.driver}://scott:tiger@127.0.0.1:{server.port}/test?charset=utf8mb4",
                ),
                # The suite's own settings stop after 250 failures.
                *(
                    "--maxfail=0",
                    f"--timeout={TEST_SECONDS}",
                    "-o",
                    f"faulthandler_timeout={TEST_SECONDS + 30}",
                ),
                *(f"--junitxml={junit}", "-o", "junit_family=xunit2"),
                *(("-k", self.words) if self.words else ()),
            ]
            process = subprocess.Popen(
                arguments,
                cwd=self.line.suite,
                env=environment,
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
        return Run(read_report(junit), seconds, engines_held(log) if mode == "holdfast" else None)

    def stock(self, server: str, fresh: bool, may_run: bool = True) -> Run | None:
        """Return the stock run: a stored one of the same versions and tests, or else a new one."""
        versions = self.line.versions(self.driver, server)
        junit = RESULTS / f"{self.line.version}-{self.driver}-stock.xml"
        about = junit.with_suffix(".json")
        if not fresh and not self.words and junit.exists() and about.exists():
            stored = json.loads(about.read_text())
            if stored["versions"] == versions:
                report = {t: r for t, r in read_report(junit).items() if in_paths(t, self.paths)}
                return Run(report, stored["seconds"] if self.paths == FULL else None)
        if not may_run:
            return None
        whole = self.paths == FULL and not self.words
        if whole:
            about.unlink(missing_ok=True)
        run = self.run("stock")
        if whole:
            about.write_text(json.dumps({"versions": versions, "seconds": run.seconds}, indent=1))
        return run


@dataclass(frozen=True)
class Comparison:
    """The two runs of one line and driver, and what is left of their differences after the second look."""

    suite: Suite
    stock: Run | None
    held: Run | None
    lost: dict[str, str]
    won: list[str]
    unsteady: dict[str, str]

    def unexpected(self) -> list[str]:
        """Name the lost tests that are not in KNOWN."""
        return [test for test in self.lost if (self.suite.driver, plain(test)) not in KNOWN]


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


def in_paths(test: str, paths: Iterable[str]) -> bool:
    """Say whether a test of a report lies in one of these files or folders."""
    dotted = tuple(path.removesuffix(".py").replace("/", ".") + "." for path in paths)
    return test.startswith(dotted)


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


def engines_held(log: Path) -> int:
    """Read how many engines holdfast held; a run that held none proves nothing."""
    found = re.findall(r"^holdfast held (\d+) engines", log.read_text(errors="replace"), re.MULTILINE)
    if not found:
        raise RunBroken(f"no count of engines held in {log}")
    return int(found[-1])


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


def server_version() -> str:
    """Ask a server for its version."""
    with database() as server:
        return str(server.execute("SELECT VERSION()")[0][0])


@contextmanager
def alone() -> Iterator[None]:
    """Let one run at a time use the environments and results."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is under way; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def command(*arguments: str | Path) -> None:
    """Run a command that is expected to succeed."""
    subprocess.run(arguments, check=True)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def print_table(comparisons: Iterable[Comparison]) -> None:
    """Print one row for each line and driver."""
    outcomes = ("passed", "failed", "error")
    row = "{:<11} {:<15} {:>7} {:>7} {:>7} {:>7} {:>5}  {:>7} {:>7} {:>7} {:>7} {:>5}  {:>5} {:>4} {:>9}"
    say("")
    say(row.format("", "", "stock", *[""] * 4, "held", *[""] * 7).rstrip())
    head = [*outcomes, "skipped", "s", *outcomes, "engines", "s", "lost", "won", "unsteady"]
    say(row.format("SQLAlchemy", "driver", *head))
    for c in comparisons:
        stock = counts(c.stock, *outcomes, "skipped")
        held = counts(c.held, *outcomes)
        engines = "-" if c.held is None else c.held.held
        both = c.stock is not None and c.held is not None
        differences = [len(c.lost), len(c.won), len(c.unsteady)] if both else ["-"] * 3
        say(
            row.format(
                *(c.suite.line.version, c.suite.driver, *stock, in_seconds(c.stock)),
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
    where = f"{comparison.suite.line.version} {comparison.suite.driver}"
    for test, message in comparison.lost.items():
        reason = KNOWN.get((comparison.suite.driver, plain(test)))
        say(f"lost      {where}  {plain(test)}\n            {message}")
        if reason:
            say(f"            known: {reason}")
    for test, message in comparison.unsteady.items():
        say(f"unsteady  {where}  {plain(test)}\n            {message}")
    for test in comparison.won:
        say(f"won       {where}  {plain(test)}")


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sqlalchemy", nargs="+", choices=LINES, default=list(LINES), help="lines to run")
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=list(DRIVERS), help="drivers to run")
    parser.add_argument("--quick", action="store_true", help="only the tests of the engine and the dialect")
    parser.add_argument("--mode", choices=("stock", "holdfast", "both"), default="both", help="default: both")
    parser.add_argument("-k", dest="words", default="", help="handed to pytest; then nothing stored is used")
    parser.add_argument("--fresh", action="store_true", help="run stock again although a result is stored")
    parser.add_argument("--limit-minutes", type=float, default=20, help="of each run of the suite; default 20")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if a test is lost, 2 if a run broke."""
    options = arguments_of(argv)
    comparisons: list[Comparison] = []
    broken = False
    with alone():
        server = server_version()
        for name in options.sqlalchemy:
            line = Line(name)
            line.prepare()
            if options.mode != "stock":
                line.install_holdfast()
            for driver in options.drivers:
                paths = QUICK if options.quick else FULL
                suite = Suite(line, driver, paths, options.words, options.limit_minutes * 60)
                say(f"SQLAlchemy {line.version}, {driver}, {server}")
                try:
                    stock = suite.stock(server, options.fresh, may_run=options.mode != "holdfast")
                    held = None if options.mode == "stock" else suite.run("holdfast")
                    comparison = compare(suite, stock, held)
                except RunBroken as error:
                    say(f"BROKEN: {error}")
                    broken = True
                    continue
                comparisons.append(comparison)
                print_names(comparison)
                if held is not None and not held.held:
                    say("BROKEN: holdfast held no engine, so this run proves nothing")
                    broken = True
    print_table(comparisons)
    lost = sum(len(comparison.unexpected()) for comparison in comparisons)
    say(f"\n{lost} tests lost that are not known")
    return 2 if broken else 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
