"""A read that ran into a time limit on this side is not sent again, and the program hears of its own limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read

SLOW = "SELECT COUNT(*) FROM guests a JOIN guests b ON a.id = b.id"


class TaskTimeout(TimeoutError):
    """A program's own, as `signal.alarm()` recipes raise it."""


class SocketLike(OSError):
    """One that looks like the network's: it has an errno."""


class Soft(Exception):
    """As Celery's SoftTimeLimitExceeded."""


@contextmanager
def alarm(
    when: Callable[[], object], error: BaseException, *, first: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Raise an error in this thread, as a time limit does, once something is so."""

    def raise_it(*args: Any) -> None:
        first()
        raise error

    over, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not when():
            if over.wait(0.005):
                return
        if not over.wait(0.05):  # for the driver to be reading
            signal.pthread_kill(thread, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, raise_it)
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def guests(server: Server) -> Iterator[None]:
    server.execute("CREATE OR REPLACE TABLE guests (id INT PRIMARY KEY)", database="test")
    server.execute("INSERT INTO guests VALUES (1), (2)", database="test")
    yield
    server.execute("DROP TABLE guests", database="test")


def make(server: Server, proxy: Proxy, driver: str, held: EngineFactory, **options: Any) -> Engine:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0, **options)
    read(engine)
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    return engine


def sent(proxy: Proxy) -> int:
    return sum(statement.startswith(SLOW) for statement in proxy.statements)


LIMITS: dict[str, dict[str, Any]] = {"mysqldb": {"read_timeout": 1}, "pymysql": {"read_timeout": 0.5}}


@pytest.mark.parametrize("driver", ["mysqldb", "pymysql"])
def test_a_drivers_read_timeout(server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None) -> None:
    """The server goes on with the query; sent again, it would run twice."""
    engine = make(server, proxy, driver, held, connect_args=LIMITS[driver])
    with engine.connect() as connection:
        proxy.hold_replies()
        with pytest.raises(DBAPIError):
            connection.execute(text(SLOW))
    proxy.restore()
    assert sent(proxy) == 1
    assert holdfast.status(engine).counters.statements_repeated == 0


def test_mysql_connectors_read_timeout(server: Server, proxy: Proxy, held: EngineFactory, guests: None) -> None:
    engine = make(server, proxy, "mysqlconnector", held)
    with engine.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        driver_connection._read_timeout = 0.5
        driver_connection._holdfast.set_up = None  # this test's own doing
        proxy.hold_replies()
        with pytest.raises(DBAPIError):
            connection.execute(text(SLOW))
    proxy.restore()
    assert sent(proxy) == 1


ERRORS = [TaskTimeout("out of time"), TimeoutError("out of time"), SocketLike(104, "reset, as told"), Soft("soft")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])
def test_a_programs_own_time_limit(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None, error: BaseException
) -> None:
    """Drivers make an error of their own of what a signal's handler raises in a read. It ends the statement."""
    engine = make(server, proxy, driver, held)
    began = time.monotonic()
    with engine.connect() as connection:
        proxy.hold_replies()
        with pytest.raises((DBAPIError, type(error))), alarm(lambda: sent(proxy), error):
            connection.execute(text(SLOW))
        connection.invalidate()
    assert time.monotonic() - began < 60
    proxy.restore()
    assert sent(proxy) == 1
    assert holdfast.status(engine).counters.statements_repeated == 0
    assert read(engine, 7) == 7


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])
def test_a_units_function_is_not_called_again_for_it(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None, error: BaseException
) -> None:
    engine = make(server, proxy, driver, held)
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        proxy.hold_replies()
        connection.execute(text(SLOW))

    with pytest.raises((DBAPIError, type(error))), alarm(lambda: sent(proxy), error):
        holdfast.run(engine, unit)
    proxy.restore()
    assert calls == [1]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])
def test_one_that_comes_while_a_rollbacks_reply_is_read(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, error: BaseException
) -> None:
    """That is holdfast's own reading: the program gets its exception, and nobody takes it for a closed connection."""
    engine = make(server, proxy, driver, held)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        proxy.reset_counts()
        proxy.hold_replies()

    def rolled_back() -> bool:
        return "ROLLBACK" in proxy.statements

    with pytest.raises(type(error)) as caught, alarm(rolled_back, error), engine.connect() as connection:
        connection.execute(text("SET @a = 1"))  # waits for the reply first
    assert caught.value is error
    proxy.restore()
    assert read(engine, 7) == 7


def in_the_greeting(engine: Engine, proxy: Proxy) -> Callable[[], object]:
    proxy.hold_replies()
    return lambda: proxy.connections


def in_the_first_question(engine: Engine, proxy: Proxy) -> Callable[[], object]:
    """holdfast asks a new connection for the server's limits."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        connection = dialect.loaded_dbapi.connect(*arguments, **options)
        proxy.hold_replies()
        proxy.reset_counts()
        return connection

    return lambda: proxy.statements


@pytest.mark.parametrize("how", ["connect", "run"])
@pytest.mark.parametrize("where", [in_the_greeting, in_the_first_question], ids=lambda where: where.__name__)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])
def test_one_that_comes_while_connecting(
    server: Server,
    proxy: Proxy,
    driver: str,
    held: EngineFactory,
    where: Callable[[Engine, Proxy], Callable[[], object]],
    how: str,
    error: BaseException,
) -> None:
    """The server can be reached a moment later: whoever tries again hides the limit."""
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    reached = where(engine, proxy)
    use = engine.connect if how == "connect" else lambda: holdfast.run(engine, lambda connection: None)
    with pytest.raises((DBAPIError, type(error))), alarm(reached, error, first=proxy.restore):
        use()


def test_a_connection_that_was_reset_is_another_matter(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None
) -> None:
    engine = make(server, proxy, driver, held)
    with engine.connect() as connection:
        proxy.truncate_reply(0)
        assert connection.execute(text(SLOW)).scalar() == 2
    assert holdfast.status(engine).counters.statements_repeated == 1


def test_one_that_the_program_is_handling_already_is_another_matter(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None
) -> None:
    """Python notes it as the context of whatever error is raised meanwhile."""
    engine = make(server, proxy, driver, held)
    try:
        raise TaskTimeout("out of time")
    except TaskTimeout:
        with engine.connect() as connection:
            proxy.truncate_reply(0)
            assert connection.execute(text(SLOW)).scalar() == 2
        engine.dispose()
        proxy.refuse()
        threading.Timer(0.3, proxy.restore).start()
        assert read(engine, 7) == 7
    assert holdfast.status(engine).counters.statements_repeated == 1
    assert holdfast.status(engine).counters.unanswered


def test_an_error_of_a_listeners_while_it_is_replaced_is_not_hidden(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, guests: None
) -> None:
    """A program's time limit that is up while the new connection is made."""
    engine = make(server, proxy, driver, held)
    cut: Callable[[], None] = lambda: proxy.truncate_reply(0)  # noqa: E731
    with engine.connect() as connection:
        cut()
        before = engine.dialect.connect

        def connect(*args: Any, **kwargs: Any) -> Any:
            raise Soft("soft")

        engine.dialect.connect = connect  # type: ignore[method-assign]
        try:
            with pytest.raises(Soft):
                connection.execute(text(SLOW))
        finally:
            engine.dialect.connect = before  # type: ignore[method-assign]
