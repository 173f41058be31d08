"""Servers, engines and drivers for every test. No server is a failure, not a skip."""

from __future__ import annotations

import logging
import os
import select
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, text

from sqlalchemy_holdfast import status
from sqlalchemy_holdfast.lab import Proxy, Server
from tests._report import report_lines

MYSQLD = os.environ.pop("HOLDFAST_LAB_MYSQLD", None) or os.environ.get("HOLDFAST_TESTS_MYSQLD")
"""Oracle's server, for the tests marked mysql. Taken out of the environment, so that every other Server is MariaDB."""
if MYSQLD is not None:
    os.environ["HOLDFAST_TESTS_MYSQLD"] = MYSQLD  # for xdist's other processes

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
    """Oracle's MySQL, with its performance schema, which it has unless it is told otherwise."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, options={"performance_schema": 1}) as server:
        yield server


@pytest.fixture(scope="session")
def limited_server() -> Iterator[Server]:
    """A server with limits of its own, whose account the tests may change."""
    with Server(options={"wait_timeout": 1000, "interactive_timeout": 2000, "max_connections": 44}) as server:
        yield server


@pytest.fixture
def unlimited(limited_server: Server) -> Iterator[Server]:
    """The same, for a test that limits its account: there is no limit any more afterwards."""
    yield limited_server
    limited_server.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 0")


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
    """What holdfast logged so far, with its logger's children."""
    caplog.set_level(logging.INFO, "holdfast")
    return lambda: [record.getMessage() for record in caplog.records if record.name.partition(".")[0] == "holdfast"]


def inside(engine: Engine) -> Any:
    """Return what holds an engine, for what is nobody's to see but a test's."""
    return status(engine)


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


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def waits(proxy: Proxy, unit: Callable[[], object], units: int = 8) -> tuple[float, Counter[str]]:
    """How many round trips one unit of work waits for, and the commands that all of them sent.

    The shortest of the units counts: other load on the machine makes one longer, nothing makes one shorter. So it goes
    on as long as that finds a shorter one, but the commands are those of so many units. The delay
    is so long that what a unit computes, and what it is woken up too late, as busy as the machine is now, is a small
    part of it.
    """
    computing = statistics.median(seconds(unit) for _ in range(units))
    overslept = statistics.median(seconds(lambda: time.sleep(0.001)) - 0.001 for _ in range(20))
    proxy.delay = max(0.01, 6 * computing, 20 * overslept)
    commands: Counter[str] = Counter()
    shortest, as_good = float("inf"), 0
    for number in range(100):
        with proxy.measure() as measured:
            unit()
        as_good = 0 if measured.waits_per_unit < shortest - 0.1 else as_good + 1
        shortest = min(shortest, measured.waits_per_unit)
        if number < units:
            commands += measured.commands
        elif as_good >= units:
            break
    proxy.delay = 0
    return shortest, commands
