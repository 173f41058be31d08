"""Run other projects' own test suites with holdfast in place, and compare with stock: nothing may be lost.

    make peers                                             all: three suites, two SQLAlchemy lines, three drivers
    make peers ARGS='--suite flask lite'
    make peers ARGS='--suite sqlalchemy --quick --sqlalchemy 2.1 --drivers pymysql'
    make peers ARGS='--suite sqlalchemy --drivers mysqldb -k reconnect'

The suites are SQLAlchemy's with holdfast on every engine, Flask-SQLAlchemy's with holdfast's class in the place
of its own, and Flask-SQLAlchemy-Lite's on SQLite and on MariaDB. Each line of SQLAlchemy gets environments of its
own under .lab/peers, with the suites beside them. Each run gets a fresh server. Stock results are kept there and
used again while no version changes.

A test is *lost* when it passes in stock and not with holdfast. What is lost in the first run is run again
alone, both stock and held; what then passes held is run a third time with the whole of its file, because one
test may lose another. Passing all that, it is *unsteady*: shown, and no failure.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# This file is run by its path, which puts its own folder there and not the repository's top.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.peers.flask_suites import flask_suites, lite_suites
from tests.peers.runs import (
    CACHE,
    DRIVERS,
    LINES,
    Comparison,
    RunBroken,
    Suite,
    Unavailable,
    compare,
    database,
    print_names,
    print_table,
    say,
)
from tests.peers.sqlalchemy_suite import sqlalchemy_suites

SUITES = ("sqlalchemy", "flask", "lite")


def suites_of(name: str, version: str, options: argparse.Namespace) -> Iterator[Suite]:
    """Yield what is to be run of one suite on one line of SQLAlchemy, each when it is ready."""
    limit = options.limit_minutes * 60
    if name == "sqlalchemy":
        yield from sqlalchemy_suites(version, options.drivers, options.quick, options.words, limit)
    elif name == "flask":
        yield from flask_suites(version, options.words, limit)
    else:
        yield from lite_suites(version, options.drivers, options.words, limit)


def compared(suite: Suite, server: str, options: argparse.Namespace) -> Comparison:
    """Run one suite stock and held, and print what differs."""
    say(f"{suite.title} on SQLAlchemy {suite.version}, {suite.database}, {server}")
    stock = suite.stock(server, options.fresh, may_run=options.mode != "holdfast")
    held = None if options.mode == "stock" else suite.run("holdfast")
    comparison = compare(suite, stock, held)
    print_names(comparison)
    return comparison


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


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=list(SUITES), help="suites to run; default all")
    parser.add_argument("--sqlalchemy", nargs="+", choices=LINES, default=list(LINES), help="lines to run")
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=list(DRIVERS), help="drivers to run")
    parser.add_argument("--quick", action="store_true", help="of SQLAlchemy's, only the tests of engine and dialect")
    parser.add_argument("--mode", choices=("stock", "holdfast", "both"), default="both", help="default: both")
    parser.add_argument("-k", dest="words", default="", help="handed to pytest; then nothing stored is used")
    parser.add_argument("--fresh", action="store_true", help="run stock again although a result is stored")
    parser.add_argument("--limit-minutes", type=float, default=20, help="of each run of a suite; default 20")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if a test is lost, 2 if a run broke or a suite cannot be had."""
    options = arguments_of(argv)
    comparisons: list[Comparison] = []
    broken = False
    with alone():
        server = server_version()
        for name in options.suite:
            for line in options.sqlalchemy:
                suites = suites_of(name, LINES[line], options)
                while True:
                    try:
                        suite = next(suites, None)
                        if suite is None:
                            break
                        comparison = compared(suite, server, options)
                    except Unavailable as error:
                        say(f"LEFT OUT: {name} on SQLAlchemy {line}: {error}")
                        broken = broken or options.suite == [name]
                        continue
                    except RunBroken as error:
                        say(f"BROKEN: {name} on SQLAlchemy {line}: {error}")
                        broken = True
                        continue
                    comparisons.append(comparison)
                    if comparison.held is not None and not comparison.held.engines:
                        say("BROKEN: holdfast was on no engine, so this run proves nothing")
                        broken = True
    print_table(comparisons)
    lost = sum(len(comparison.unexpected()) for comparison in comparisons)
    say(f"\n{lost} tests lost that are not known")
    return 2 if broken else 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
