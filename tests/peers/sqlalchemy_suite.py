"""SQLAlchemy's own test suite, with holdfast on every engine."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy_holdfast.lab import Server
from tests.peers.runs import CACHE, DRIVERS, Environment, Suite

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


@dataclass(frozen=True)
class SQLAlchemySuite(Suite):
    """SQLAlchemy's suite of the same release, or the files and folders of it that `paths` names."""

    paths: tuple[str, ...]

    title = "SQLAlchemy"
    plugin = "holdfast_everywhere"

    @property
    def stem(self) -> str:
        """What the names of its results begin with."""
        return f"{self.version}-{self.database}"

    @property
    def directory(self) -> Path:
        """The unpacked source package."""
        return self.environment.home / f"sqlalchemy-{self.version}"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that its results depend on."""
        return ("SQLAlchemy", DRIVERS[self.database], "greenlet", "pytest")

    @property
    def whole(self) -> bool:
        """Whether all of the suite is asked for."""
        return self.paths == FULL and not self.words

    def has(self, test: str) -> bool:
        """Say whether a test of a stored report lies in one of the files or folders asked for."""
        dotted = tuple(path.removesuffix(".py").replace("/", ".") + "." for path in self.paths)
        return test.startswith(dotted)

    def arguments(self, mode: str, server: Server) -> list[str]:
        """Return the tests, and the suite's own option for the database."""
        url = f"mysql+{self.database}://scott:tiger@127.0.0.1:{server.port}/test?charset=utf8mb4"
        return [*self.paths, "--dburi", url]


def sqlalchemy_suites(
    version: str, databases: list[str], quick: bool, words: str, limit: float
) -> Iterator[SQLAlchemySuite]:
    """Make the environment and get the suite, unless that has been done; yield one suite for each driver."""
    environment = Environment(CACHE / version, (f"SQLAlchemy=={version}", *PACKAGES))
    environment.prepare()
    paths = QUICK if quick else FULL
    for driver in databases:
        suite = SQLAlchemySuite(version, driver, environment, words, limit, paths)
        if not suite.directory.exists():
            # pip builds the package's metadata on the way; --no-binary :all: would build the build tools.
            wanted = environment.packages[0]
            environment.pip("download", "--no-deps", "--no-binary", "SQLAlchemy", f"--dest={environment.home}", wanted)
            with tarfile.open(environment.home / f"sqlalchemy-{version}.tar.gz") as package:
                package.extractall(environment.home, filter="data")
        yield suite
