"""The ways to each row of the table of errors: a real server and a real driver, wherever this machine can.

What cannot be produced here is sent by the server all the same, with SIGNAL: an error packet of that number and text,
from a server whose connection is in fact well. That holds for 1047 (Galera), 1836 (innodb_read_only), 1053 (MariaDB
10.5 sends it, later ones and MySQL 9.7 close the socket instead) and, where there is no MySQL, 4031.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.server import faults
from sqlalchemy_holdfast.server.error_table import RULES, ErrorRule
from tests.conftest import DRIVERS, eventually, wait_until_ended

ROWS = [rule for rule in RULES if rule.effect is not None]
"""The rows that say something about the connection."""


def rule_of(error: BaseException, *, connected: bool = True) -> ErrorRule | None:
    """The row of an error that says something about the connection."""
    verdict = faults.judge(error, connected=connected)
    return verdict.rule if verdict.effect is not None else None


def row(number: int | None, part: str = "") -> ErrorRule:
    """The one row of this number, or, where a driver gives none, with this part in its texts."""
    (found,) = (row for row in ROWS if (row.number == number if number is not None else part in " ".join(row.texts)))
    return found


@dataclass
class Scene:
    """A server, what stands before it, and an engine."""

    server: Server
    proxy: Proxy
    engine: Engine
    first: list[tuple[ErrorRule | None, type, bool]] = field(default_factory=list)
    """The driver's exceptions, in order: row and class, and whether SQLAlchemy's dialect knew each for a disconnect."""

    def __post_init__(self) -> None:
        # After holdfast's own listener, but the dialect's verdict on an error is that of is_disconnect itself.
        @event.listens_for(self.engine, "handle_error")
        def note(context: ExceptionContext) -> None:
            if context.connection is None:
                return
            error = context.original_exception
            known = context.dialect.is_disconnect(error, None, None)  # type: ignore[arg-type]
            self.first.append((rule_of(error), type(error), known))


Fail = Callable[[Scene, Connection], None]


# -- how each error comes about ----------------------------------------------------------------------------------------


def number_of(connection: Connection) -> int:
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def while_it_sleeps(scene: Scene, connection: Connection, act: Callable[[int], object]) -> None:
    """Run a statement that takes long; act when the server is at it."""
    number = number_of(connection)

    def asleep() -> bool:
        return any(p.id == number and "SLEEP" in (p.info or "") for p in scene.server.processlist(user="app"))

    def run() -> None:
        eventually(asleep)
        act(number)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        connection.execute(text("SELECT SLEEP(20)")).all()
        connection.rollback()  # MySQL ends SLEEP without an error
    finally:
        thread.join()


def killed_while_it_sleeps(scene: Scene, connection: Connection) -> None:
    while_it_sleeps(scene, connection, scene.server.kill_connection)


def stopped_while_it_sleeps(scene: Scene, connection: Connection) -> None:
    while_it_sleeps(scene, connection, lambda _: scene.server.stop())


def sigkilled_while_it_sleeps(scene: Scene, connection: Connection) -> None:
    while_it_sleeps(scene, connection, lambda _: scene.server.kill())


def reset_while_it_sleeps(scene: Scene, connection: Connection) -> None:
    while_it_sleeps(scene, connection, lambda _: scene.proxy.reset())


def reset_before_the_statement(scene: Scene, connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
    scene.proxy.reset()
    wait_until_ended(connection.connection.driver_connection)
    connection.execute(text("SELECT 1"))


def kills_itself(scene: Scene, connection: Connection) -> None:
    connection.execute(text("KILL CONNECTION_ID()"))


NUMBERS = text("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n")


def second_statement_before_the_first_was_read(scene: Scene, connection: Connection) -> None:
    streaming = connection.execution_options(stream_results=True, max_row_buffer=1)
    result = streaming.execute(NUMBERS)
    assert result.fetchone() == (1,)
    connection.execute(text("SELECT 1"))


def rows_forgotten_by_the_driver(scene: Scene, connection: Connection) -> None:
    """As when an exception hits PyMySQL between two packets."""
    streaming = connection.execution_options(stream_results=True, max_row_buffer=1)
    result = streaming.execute(NUMBERS)
    assert result.fetchone() == (1,)
    driver_connection: Any = connection.connection.driver_connection
    driver_connection._result.unbuffered_active = False
    driver_connection._result = None
    connection.execute(text("SELECT 1"))


def closed_by_the_driver(scene: Scene, connection: Connection) -> None:
    """As PyMySQL does after an error that SQLAlchemy was not told of."""
    connection.execute(text("SELECT 1"))
    connection.connection.driver_connection._force_close()  # type: ignore[union-attr]
    connection.execute(text("SELECT 1"))


def closed_below(scene: Scene, connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
    connection.connection.driver_connection.disconnect()  # type: ignore[union-attr]
    connection.execute(text("SELECT 1"))


def lost_while_the_driver_asks_for_sql_mode(scene: Scene, connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
    driver_connection: Any = connection.connection.driver_connection
    driver_connection._sql_mode = None  # as on a new connection
    scene.proxy.cut_at("SELECT @@session.sql_mode", delivered=True)
    connection.execute(text("SELECT :number"), {"number": 1})


def shut_down_while_the_driver_asks_for_sql_mode(scene: Scene, connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
    driver_connection: Any = connection.connection.driver_connection
    driver_connection._sql_mode = None  # as on a new connection
    ask = driver_connection.info_query
    answer = "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1053, MESSAGE_TEXT = 'Server shutdown in progress'"
    driver_connection.info_query = lambda query: ask(answer)
    connection.execute(text("SELECT :number"), {"number": 1})


def slower_than_the_read_timeout(scene: Scene, connection: Connection) -> None:
    connection.execute(text("SELECT SLEEP(3)"))


def idle_too_long(scene: Scene, connection: Connection) -> None:
    number = number_of(connection)
    connection.execute(text("SET SESSION wait_timeout = 1"))
    eventually(lambda: all(process.id != number for process in scene.server.processlist()))
    wait_until_ended(connection.connection.driver_connection)
    connection.execute(text("SELECT 1"))


def signal(number: int, words: str) -> Fail:
    """The server sends an error of this number and text."""

    def send(scene: Scene, connection: Connection) -> None:
        connection.exec_driver_sql(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{words}'")

    send.__name__ = "sent_by_signal"
    return send


def written_while_read_only(scene: Scene, connection: Connection) -> None:
    scene.server.execute("SET GLOBAL read_only = 1")
    try:
        connection.execute(text("INSERT INTO ledger VALUES (9, 9)"))
    finally:
        scene.server.execute("SET GLOBAL read_only = 0")


def written_in_a_read_only_transaction(scene: Scene, connection: Connection) -> None:
    connection.exec_driver_sql("START TRANSACTION READ ONLY")
    connection.execute(text("INSERT INTO ledger VALUES (9, 9)"))


# -- the table ---------------------------------------------------------------------------------------------------------

INACTIVE = "The client was disconnected by the server because of inactivity."
WSREP = "WSREP has not yet prepared node for application use"


@dataclass(frozen=True)
class Case:
    """One way to one row."""

    rows: tuple[ErrorRule, ...]
    """The row; two where it depends on the server's version, or is decided by a race."""
    drivers: tuple[str, ...]
    fail: Fail
    through: str = "server"
    """Which server: "server", "proxy" (to the server), "tls_server", "own_server" or "mysql_server"."""
    options: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    known_to_stock: tuple[str, ...] = DRIVERS
    """The drivers whose dialect calls the first of the rows a disconnect; the second it never does."""

    def known(self, driver: str, row: ErrorRule | None) -> bool:
        """Whether the driver's dialect calls it a disconnect when this row comes of the case."""
        return driver in self.known_to_stock and row == self.rows[0]

    def params(self) -> Iterator[Any]:
        """One parameter set for each driver."""
        marks = [pytest.mark.slow] if self.slow else []
        if self.through == "mysql_server":
            marks.append(pytest.mark.mysql)
        name = getattr(self.fail, "__name__", "")
        for driver in self.drivers:
            yield pytest.param(self, driver, id=f"{self.rows[0].number} {name} {self.through} {driver}", marks=marks)


LOST = [
    Case((row(2006),), ("mysqldb", "pymysql"), reset_before_the_statement, "proxy"),
    Case((row(2013),), DRIVERS, killed_while_it_sleeps, slow=True),
    Case((row(2013),), ("pymysql", "mysqlconnector"), killed_while_it_sleeps, "tls_server", slow=True),
    Case((row(2013), row(1053)), DRIVERS, stopped_while_it_sleeps, "own_server", slow=True),
    Case((row(2013),), DRIVERS, sigkilled_while_it_sleeps, "own_server", slow=True),
    Case((row(2055),), ("mysqlconnector",), reset_while_it_sleeps, "proxy", slow=True),
    Case((row(-1),), ("mysqlconnector",), reset_before_the_statement, "proxy", known_to_stock=()),
    Case((row(2014),), ("mysqldb",), second_statement_before_the_first_was_read),
    Case((row(0),), ("pymysql",), closed_by_the_driver),
    Case(
        (row(None, "packet sequence"),),
        ("pymysql",),
        rows_forgotten_by_the_driver,
        options={"poolclass": StaticPool},  # in other pools holdfast notices before the statement is sent
        known_to_stock=(),
    ),
    Case((row(-1),), ("mysqlconnector",), closed_below, known_to_stock=()),
    Case(
        (row(None, "format-parameters"),),
        ("mysqlconnector",),
        lost_while_the_driver_asks_for_sql_mode,
        "proxy",
        known_to_stock=(),
    ),
    Case(
        (row(None, "format-parameters"),),
        ("mysqlconnector",),
        shut_down_while_the_driver_asks_for_sql_mode,
        known_to_stock=(),
    ),
    Case(
        (row(3024),),
        ("mysqlconnector",),
        slower_than_the_read_timeout,
        options={"connect_args": {"read_timeout": 1}},
        slow=True,
        known_to_stock=(),
    ),
    Case((row(2026),), ("mysqldb",), killed_while_it_sleeps, "tls_server", slow=True, known_to_stock=()),
    Case((row(1053),), DRIVERS, signal(1053, "Server shutdown in progress"), known_to_stock=()),
    Case((row(1927),), DRIVERS, kills_itself, known_to_stock=("mysqldb", "pymysql")),
    Case((row(4031),), DRIVERS, signal(4031, INACTIVE), known_to_stock=("mysqldb", "pymysql")),
    Case((row(3032),), DRIVERS, signal(3032, "The server is currently in offline mode"), known_to_stock=()),
    Case((row(6400),), DRIVERS, signal(6400, "The server is currently in offline mode since"), known_to_stock=()),
    Case((row(4031),), ("mysqldb",), idle_too_long, "mysql_server", slow=True),
    Case((row(-1),), ("mysqlconnector",), idle_too_long, "mysql_server", slow=True, known_to_stock=()),
]
RETIRED = [
    Case((row(1290),), DRIVERS, written_while_read_only),
    Case((row(1792),), DRIVERS, written_in_a_read_only_transaction),
    Case((row(1836),), DRIVERS, signal(1836, "Running in read-only mode")),
    Case((row(1047),), DRIVERS, signal(1047, WSREP)),
    Case((row(1290),), DRIVERS, written_while_read_only, "mysql_server"),
    Case((row(1792),), DRIVERS, written_in_a_read_only_transaction, "mysql_server"),
]


def by_driver(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("case", "driver"), [param for case in cases for param in case.params()])


# -- a connection that is gone -----------------------------------------------------------------------------------------


def failing(case: Case, scene: Scene) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught, scene.engine.connect() as connection:
        case.fail(scene, connection)
    return caught.value
