"""The test suites of Flask-SQLAlchemy and Flask-SQLAlchemy-Lite.

Both are written for SQLite, where holdfast steps aside. Flask-SQLAlchemy's runs with our class in the place of
its own. Lite's runs as it is, with the plugin named for each engine, and again on the lab's MariaDB with
`?plugin=holdfast` in each URL (on_mariadb.py). Flask-SQLAlchemy's cannot be moved like that: its fixtures drop
tables while a session that has read them is still open, for which MariaDB waits until lock_wait_timeout.

A test that fails in stock as well cannot be lost. With holdfast's class two of Flask-SQLAlchemy's are left:
test_model_bind.py::test_explicit_table[db2] and [db4] give `__table__` to a MappedAsDataclass, which SQLAlchemy
refuses since 2.0.36, also in stock. Of Lite's, the two of test_isolation.py fail in stock on 2.1, and seven that
look at the URL or want SQLite's pool fail on MariaDB.
"""

from __future__ import annotations

import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy_holdfast.lab import Server
from tests.peers.runs import CACHE, DRIVERS, ROOT, SQLITE, Environment, Suite, Unavailable

FLASK_SQLALCHEMY = "3.1.1"
LITE = "0.2.1"

# The source package of Flask-SQLAlchemy-Lite has no tests; its repository at the release's tag has.
LITE_SOURCE = f"https://github.com/pallets-eco/flask-sqlalchemy-lite/archive/refs/tags/{LITE}.tar.gz"

PACKAGES = (
    f"Flask-SQLAlchemy=={FLASK_SQLALCHEMY}",
    f"Flask-SQLAlchemy-Lite=={LITE}",
    "aiosqlite",
    *DRIVERS.values(),
    "cryptography",
    "pytest>=8,<10",
    "pytest-timeout",
)


@dataclass(frozen=True)
class FlaskSQLAlchemySuite(Suite):
    """Flask-SQLAlchemy's suite, of its source package."""

    title = "Flask-SQLAlchemy"
    plugin = "flask_held"
    packages = ("SQLAlchemy", "Flask", "Flask-SQLAlchemy", "pytest")

    @property
    def stem(self) -> str:
        """What the names of its results begin with."""
        return f"{self.version}-flask-{self.database}"

    @property
    def directory(self) -> Path:
        """The unpacked source package."""
        return self.environment.home / f"flask_sqlalchemy-{FLASK_SQLALCHEMY}"

    def arguments(self, mode: str, server: Server) -> list[str]:
        """Return the folder of the tests."""
        return ["tests"]

    def download(self) -> None:
        """Get the source package, unless that has been done."""
        if self.directory.exists():
            return
        home, wanted = self.environment.home, f"Flask-SQLAlchemy=={FLASK_SQLALCHEMY}"
        self.environment.pip("download", "--no-deps", "--no-binary", "Flask-SQLAlchemy", f"--dest={home}", wanted)
        unpack(self.directory.with_name(f"{self.directory.name}.tar.gz"))


@dataclass(frozen=True)
class LiteSuite(Suite):
    """Flask-SQLAlchemy-Lite's suite, on SQLite or moved to MariaDB."""

    title = "Flask-SQLAlchemy-Lite"
    plugin = "holdfast_everywhere"

    @property
    def stem(self) -> str:
        """What the names of its results begin with."""
        return f"{self.version}-lite-{self.database}"

    @property
    def directory(self) -> Path:
        """The unpacked archive of the repository."""
        return self.environment.home / f"flask-sqlalchemy-lite-{LITE}"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that its results depend on."""
        driver = () if self.database == SQLITE else (DRIVERS[self.database],)
        return ("SQLAlchemy", "Flask", "Flask-SQLAlchemy-Lite", "aiosqlite", "pytest", *driver)

    def arguments(self, mode: str, server: Server) -> list[str]:
        """Return the folder of the tests, and the plugin that moves them."""
        return ["tests", *(() if self.database == SQLITE else ("-pon_mariadb",))]

    def variables(self, mode: str, server: Server) -> dict[str, str]:
        """Return the server's URL for that plugin; it names holdfast as a user would."""
        query = "?plugin=holdfast" if mode == "holdfast" else ""
        url = f"mysql+{self.database}://scott:tiger@127.0.0.1:{server.port}/test{query}"
        return {} if self.database == SQLITE else {"HOLDFAST_PEERS_URL": url}

    def download(self) -> None:
        """Get the repository's archive, unless that has been done or somebody has put it there.

        :raises Unavailable: when it cannot be had.
        """
        if self.directory.exists():
            return
        # Shared by all lines, so that one file put there by hand is enough.
        archive = CACHE / f"{self.directory.name}.tar.gz"
        if not archive.exists():
            partial = archive.with_suffix(".partial")
            try:
                with urllib.request.urlopen(LITE_SOURCE, timeout=60) as answer:
                    partial.write_bytes(answer.read())
            except (urllib.error.URLError, OSError) as error:
                raise Unavailable(
                    f"its tests are in no source package, and {LITE_SOURCE} cannot be had: {error}. Put that "
                    f"file to {archive.relative_to(ROOT)}, or leave the suite out with --suite"
                ) from None
            partial.rename(archive)
        unpack(archive, self.environment.home)


def unpack(archive: Path, destination: Path | None = None) -> None:
    """Unpack an archive, beside itself when nothing else is said."""
    with tarfile.open(archive) as package:
        package.extractall(destination or archive.parent, filter="data")


@cache
def environment_of(version: str) -> Environment:
    """Return the environment, made unless that has been done, that both suites share on a line of SQLAlchemy."""
    environment = Environment(CACHE / f"flask-{version}", (f"SQLAlchemy=={version}", *PACKAGES))
    environment.prepare()
    return environment


def flask_suites(version: str, words: str, limit: float) -> Iterator[FlaskSQLAlchemySuite]:
    """Yield Flask-SQLAlchemy's suite, ready to run."""
    suite = FlaskSQLAlchemySuite(version, SQLITE, environment_of(version), words, limit)
    suite.download()
    yield suite


def lite_suites(version: str, drivers: list[str], words: str, limit: float) -> Iterator[LiteSuite]:
    """Yield Flask-SQLAlchemy-Lite's suite, ready to run, for SQLite and each driver."""
    environment = environment_of(version)
    for database in (SQLITE, *drivers):
        suite = LiteSuite(version, database, environment, words, limit)
        suite.download()
        yield suite
