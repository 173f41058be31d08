"""Servers, engines and drivers for every test. No server is a failure, not a skip."""

from __future__ import annotations

import logging
import os
import select
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, text

from holdfast.lab import Proxy, Server
from tests._report import report_lines

MYSQLD = os.environ.pop("HOLDFAST_LAB_MYSQLD", None)
"""Oracle's server, for the tests marked mysql. Taken out of the environment, so that every other Server is MariaDB."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: programs the tests start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

if len(os.fsencode(tempfile.gettempdir())) > 70:  # multiprocessing's sockets lie there, and a path of one has 107 bytes
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"

DRIVERS = ("mysqldb", "pymysql", "mysqlconnector")

EngineFactory = Callable[..., Engine]


def pytest_report_header() -> list[str]:
    servers = []
    for executable in (None, MYSQLD) if MYSQLD else (None,):
        with Server(executable=executable) as server:
            servers.append(f"{server.flavour} {server.version}")
    return report_lines(*servers)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The MariaDB that tests share. One that a test stops or restarts it makes itself."""
    # Besides the time for tests of locks: what some tests need and a server's own default may refuse.
    with Server(options={"innodb_lock_wait_timeout": 5, "local_infile": 1, "max_allowed_packet": "16M"}) as server:
        yield server


@pytest.fixture(scope="session")
def tls_server() -> Iterator[Server]:
    with Server(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[Server]:
    """Oracle's MySQL."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy.for_server(server) as proxy:
        yield proxy


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _factory(plugin: bool) -> Iterator[EngineFactory]:
    engines: list[Engine] = []

    def make(url: URL, **options: Any) -> Engine:
        if url.get_driver_name() == "mysqlconnector":
            url = url.update_query_dict({"use_pure": "1"})
        if plugin:
            url = url.update_query_dict({"plugin": "holdfast"})
        engines.append(create_engine(url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def held() -> Iterator[EngineFactory]:
    """Makes engines with ?plugin=holdfast, and disposes of them."""
    yield from _factory(plugin=True)


@pytest.fixture
def stock() -> Iterator[EngineFactory]:
    """Makes engines as SQLAlchemy does without holdfast, and disposes of them."""
    yield from _factory(plugin=False)


@pytest.fixture
def engine(server: Server, driver: str, held: EngineFactory) -> Engine:
    """A held engine on the shared server, for each driver."""
    return held(server.url(driver))


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    """An empty InnoDB table (id, value) in the shared server's test database."""
    name = "ledger"
    server.execute(f"CREATE OR REPLACE TABLE {name} (id INT PRIMARY KEY, value INT) ENGINE=InnoDB", database="test")
    yield name
    server.execute(f"DROP TABLE IF EXISTS {name}", database="test")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What holdfast logged so far."""
    caplog.set_level(logging.INFO, "holdfast")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "holdfast"]


def read(engine: Engine, value: int = 1) -> Any:
    """One unit of work: check out, read a number, return."""
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {value}")).scalar()


def connection_id(engine: Engine) -> int:
    """The server's id of the connection that the engine's pool hands out next."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds. The seconds are for a hang alone: a machine with other work to do takes its time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def wait_until_ended(driver_connection: Any) -> None:
    """Wait until the end of a connection, held or not, has arrived at this side."""
    for path in ("fileno", "_sock.fileno", "_socket.sock.fileno"):
        try:
            descriptor = attrgetter(path)(driver_connection)()
            break
        except AttributeError:
            continue
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)  # not POLLIN: that may be a ROLLBACK's reply
    assert poller.poll(60_000), "the connection goes on"


def waits(proxy: Proxy, unit: Callable[[], object], units: int = 8) -> tuple[float, Counter[str]]:
    """How many round trips one unit of work waits for, and the commands that all of them sent.

    The shortest of the units counts: other load on the machine makes one longer, nothing makes one shorter.
    """
    proxy.delay = 0.01
    commands: Counter[str] = Counter()
    shortest = float("inf")
    for _ in range(units):
        with proxy.measure() as measured:
            unit()
        shortest = min(shortest, measured.waits_per_unit)
        commands += measured.commands
    proxy.delay = 0
    return shortest, commands
