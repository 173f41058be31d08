"""Every row of the table of errors, produced by a real server and a real driver wherever this machine can.

What cannot be produced here is sent by the server all the same, with SIGNAL: an error packet of that number and text,
from a server whose connection is in fact well. That holds for 1047 (Galera), 1836 (innodb_read_only), 1053 (MariaDB
10.5 sends it, later ones and MySQL 9.7 close the socket instead) and, where there is no MySQL, 4031.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mysql.connector.errors
import pymysql.err
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.server import faults
from sqlalchemy_holdfast.server.error_table import RULES, Effect, ErrorRule, Refusal
from sqlalchemy_holdfast.server.reasons import Reason
from tests.conftest import DRIVERS, EngineFactory, connection_id, eventually, wait_until_ended

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


def test_every_row_is_produced_by_a_case_that_needs_no_mysql() -> None:
    produced = {row for case in [*LOST, *RETIRED] if case.through != "mysql_server" for row in case.rows[:1]}
    assert produced == set(ROWS)


def test_every_case_has_the_effect_that_its_list_says() -> None:
    assert {row.effect for case in LOST for row in case.rows} == {Effect.LOST}
    assert {row.effect for case in RETIRED for row in case.rows} == {Effect.EVICT}


def test_every_row_says_where_it_comes_from() -> None:
    for each in ROWS:
        assert len(each.source) > 30
        assert each.meaning == each.meaning.strip(" .")
        assert all(part == part.lower() for part in each.texts), "compared with the message in lower case"
        assert each.number is not None or each.texts, "or it would match everything"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One to stop and kill."""
    with Server() as server:
        yield server


Set = Callable[[Case, str, EngineFactory], Scene]


@pytest.fixture
def scene(request: pytest.FixtureRequest, proxy: Proxy) -> Set:
    """Makes the scene of a case."""

    def make(case: Case, driver: str, factory: EngineFactory) -> Scene:
        server: Server = request.getfixturevalue("server" if case.through == "proxy" else case.through)
        server.start()
        query = {"ssl_ca": server.tls_ca} if server.tls_ca else {}
        place = {"host": proxy.host, "port": proxy.port} if case.through == "proxy" else {}
        url = server.url(driver, query=query, **place)  # type: ignore[arg-type]
        if case in RETIRED:
            server.execute("CREATE TABLE IF NOT EXISTS ledger (id INT PRIMARY KEY, value INT)", database="test")
            server.execute("DELETE FROM ledger", database="test")
        return Scene(server, proxy, factory(url, **case.options))

    return make


# -- a connection that is gone -----------------------------------------------------------------------------------------


def failing(case: Case, scene: Scene) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught, scene.engine.connect() as connection:
        case.fail(scene, connection)
    return caught.value


@by_driver(LOST)
def test_a_lost_connection_is_known_for_one_and_replaced(
    case: Case, driver: str, scene: Set, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    ours = scene(case, driver, held)
    with ours.engine.connect() as connection:
        before = number_of(connection)
        with pytest.raises(DBAPIError) as caught:
            case.fail(ours, connection)
        error = caught.value
        assert error.connection_invalidated
        assert connection.invalidated
        ours.server.start()
        connection.rollback()
        after = number_of(connection)
        assert after != before or case.through == "own_server", "a started server counts from the beginning"
    assert connection_id(ours.engine) == after, "the new one is kept"

    assert error.orig is not None
    found = rule_of(error.orig)
    assert found is not None
    assert found in case.rows
    counters = holdfast.status(ours.engine).counters
    assert counters.replaced == {Cause.LOST_IN_USE: 1}
    assert counters.connects == 2
    assert counters.disconnects_recognised == (0 if case.known(driver, found) else 1)
    (line,) = (line for line in log() if Cause.LOST_IN_USE in line)
    assert found.meaning in line


@by_driver(LOST)
def test_the_error_has_the_class_that_stock_raises(
    case: Case, driver: str, scene: Set, held: EngineFactory, stock: EngineFactory
) -> None:
    """Where stock does not know the error for a disconnect, it rolls back on the dead connection, and the application
    sees the second error; here the first. Compared is what the driver raised first."""
    theirs = scene(case, driver, stock)
    failing(case, theirs)
    ours = scene(case, driver, held)
    error = failing(case, ours)
    ours.server.start()
    assert ours.first[0][1] is type(error.orig)
    for found, _, known in (ours.first[0], theirs.first[0]):
        assert found in case.rows
        assert known == case.known(driver, found)
    if ours.first[0][0] != theirs.first[0][0]:  # the server was stopped at another moment: compared in other cases
        assert {ours.first[0][0], theirs.first[0][0]} == set(case.rows)
    else:
        assert ours.first[0] == theirs.first[0]


@pytest.mark.parametrize("driver", ["mysqldb", "pymysql", "mysqlconnector"])
def test_a_connection_killed_between_two_statements_raises_what_stock_raises(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    raised = []
    for make in (held, stock):
        engine = make(server.url(driver))
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:  # noqa: PT012
            server.kill_connection(number_of(connection))
            wait_until_ended(connection.connection.driver_connection)
            connection.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
        raised.append(type(caught.value))
    assert raised[0] is raised[1]


@pytest.mark.slow
def test_stock_keeps_a_connection_whose_statement_timed_out(
    server: Server, stock: EngineFactory, held: EngineFactory
) -> None:
    """mysql-connector has closed it; stock SQLAlchemy is not told, so the unit of work cannot go on."""
    failed = []
    for make in (stock, held):
        engine = make(server.url("mysqlconnector"), connect_args={"read_timeout": 1})
        with engine.connect() as connection:
            with pytest.raises(DBAPIError) as caught:
                connection.execute(text("SELECT SLEEP(3)"))
            failed.append(caught.value.connection_invalidated)
            if make is held:
                connection.rollback()
                assert connection.execute(text("SELECT 1")).scalar() == 1
            connection.invalidate()
    assert failed == [False, True]


# -- a server that is not one to go on with ----------------------------------------------------------------------------


@by_driver(RETIRED)
def test_a_retired_connection_ends_its_work_and_is_replaced_when_it_is_returned(
    case: Case, driver: str, scene: Set, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    ours = scene(case, driver, held)
    with ours.engine.connect() as connection:
        before = number_of(connection)
        with pytest.raises(DBAPIError) as caught:
            case.fail(ours, connection)
        error = caught.value
        assert not error.connection_invalidated
        assert not connection.invalidated
        connection.commit()
        connection.execute(text("INSERT INTO ledger VALUES (1, 1)"))
        connection.commit()
        assert number_of(connection) == before
        connection.rollback()
    assert connection_id(ours.engine) != before
    assert ours.server.execute("SELECT id FROM ledger", database="test") == [(1,)]

    assert error.orig is not None
    assert rule_of(error.orig) is case.rows[0]
    counters = holdfast.status(ours.engine).counters
    assert counters.replaced == {Cause.EVICTED: 1}
    assert counters.disconnects_recognised == 0
    (line,) = (line for line in log() if Cause.EVICTED in line)
    assert __file__ in line, "and where in the application"


@by_driver([case for case in RETIRED if case.through == "server"])
def test_stock_raises_the_same_and_keeps_the_connection(
    case: Case, driver: str, scene: Set, held: EngineFactory, stock: EngineFactory
) -> None:
    theirs = scene(case, driver, stock)
    before = connection_id(theirs.engine)
    expected = failing(case, theirs)
    assert connection_id(theirs.engine) == before
    error = failing(case, scene(case, driver, held))
    assert type(error) is type(expected)
    assert type(error.orig) is type(expected.orig)
    assert str(error) == str(expected)


def test_what_was_written_before_the_error_can_still_be_committed(
    server: Server, driver: str, held: EngineFactory, table: str
) -> None:
    engine = held(server.url(driver))
    with engine.connect() as connection:
        connection.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1047, MESSAGE_TEXT = '{WSREP}'")
        connection.execute(text(f"INSERT INTO {table} VALUES (2, 2)"))
        connection.commit()
    assert server.execute(f"SELECT id FROM {table} ORDER BY id", database="test") == [(1,), (2,)]
    assert holdfast.status(engine).counters.replaced == {Cause.EVICTED: 1}


# -- what says nothing about the connection ----------------------------------------------------------------------------


def assert_kept(engine: Engine, statement: str, match: str) -> None:
    before = connection_id(engine)
    with engine.connect() as connection:
        with pytest.raises(DBAPIError, match=match) as caught:
            connection.exec_driver_sql(statement)
        assert not caught.value.connection_invalidated
        assert caught.value.orig is not None
        assert rule_of(caught.value.orig) is None
    assert connection_id(engine) == before
    assert holdfast.status(engine).counters.replaced == {}


def test_1290_of_another_option_is_not_a_read_only_server(server: Server, driver: str, held: EngineFactory) -> None:
    server.execute("CREATE OR REPLACE USER 'filer'@'%' IDENTIFIED BY 'filer'")
    server.execute("GRANT ALL ON *.* TO 'filer'@'%'")
    engine = held(server.url(driver, user="filer", password="filer"))
    assert_kept(engine, "SELECT 1 INTO OUTFILE '/nowhere/at/all'", r"1290.*secure-file-priv")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1047, "Unknown command"),
        (3024, "Query execution was interrupted, maximum statement execution time exceeded"),
        (1205, "Lock wait timeout exceeded; try restarting transaction"),
        (1213, "Deadlock found when trying to get lock"),
        (1317, "Query execution was interrupted"),
        (1226, "User has exceeded the max_questions resource"),
        (1040, "Too many connections"),
    ],
)
def test_an_error_of_the_servers_about_a_statement_costs_no_connection(
    server: Server, driver: str, held: EngineFactory, number: int, words: str
) -> None:
    statement = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{words}'"
    assert_kept(held(server.url(driver)), statement, str(number))


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELEC 1"])
def test_a_wrong_statement_costs_no_connection(
    server: Server, driver: str, held: EngineFactory, statement: str
) -> None:
    assert_kept(held(server.url(driver)), statement, "1146|1064")


@pytest.mark.parametrize("words", ["packet sequence number wrong", "MySQL Connection not available"])
def test_words_of_the_applications_in_an_error_of_the_servers_cost_no_connection(
    server: Server, driver: str, held: EngineFactory, words: str
) -> None:
    """As in a table of log messages: the server repeats the value in its error."""
    assert_kept(held(server.url(driver)), f"SELEC '{words}'", "1064")


def test_a_statement_that_the_server_timed_out_costs_no_connection(
    server: Server, driver: str, held: EngineFactory
) -> None:
    """MariaDB's max_statement_time: 1969."""
    assert_kept(held(server.url(driver)), "SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(5)", "1969")


@pytest.mark.mysql
def test_a_real_3024_of_mysqls_costs_no_connection(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    columns = ", ".join(f"information_schema.columns c{number}" for number in range(3))
    statement = f"SELECT /*+ MAX_EXECUTION_TIME(50) */ COUNT(*) FROM {columns}"
    assert_kept(held(mysql_server.url(driver)), statement, "3024")


def test_a_refused_handshake_is_not_a_connection_that_was_cut(tls_server: Server, server: Server) -> None:
    """2026 again, while connecting: the same number for TLS that the server does not offer."""
    assert tls_server.tls_ca is not None
    verify = {"ssl": {"ca": tls_server.tls_ca}, "ssl_mode": "VERIFY_CA"}
    engine = holdfast.create_engine(server.url("mysqldb"), connect_args=verify)
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    assert caught.value.orig is not None
    assert caught.value.orig.args[0] == 2026
    assert not caught.value.connection_invalidated
    assert rule_of(caught.value.orig, connected=False) is None
    assert rule_of(caught.value.orig, connected=True) is row(2026)
    assert holdfast.status(engine).counters.replaced == {}


def test_an_exception_of_the_applications_is_none_of_the_drivers(engine: Engine) -> None:
    """Even one that looks like it."""

    class Lookalike(Exception):
        errno = 2006

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "refuse" in statement:
            raise Lookalike(2006, "MySQL server has gone away")

    before = connection_id(engine)
    with engine.connect() as connection, pytest.raises(Lookalike):
        connection.execute(text("SELECT 'refuse'"))
    assert connection_id(engine) == before
    assert holdfast.status(engine).counters.replaced == {}


# -- the two functions, on errors that only a cluster or another build of a driver raises ------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (mysql.connector.errors.WriteTimeoutError(errno=3024, msg="The Write Operation timed out"), row(3024)),
        (mysql.connector.errors.DatabaseError(errno=3024, msg="maximum statement execution time exceeded"), None),
        # the C extension's words, which its build on this machine cannot show
        (mysql.connector.errors.OperationalError(errno=-1, msg="MySQL Connection not available."), row(None, "not av")),
        (pymysql.err.InterfaceError(0, ""), row(0)),
        (pymysql.err.OperationalError(0, ""), None),
        # MySQL's words, and MariaDB's from 11 on
        (pymysql.err.OperationalError(1290, "running with the --super-read-only option"), row(1290)),
        (pymysql.err.OperationalError(1290, "running with the --READ_ONLY option"), row(1290)),
        (pymysql.err.OperationalError(1290, "running with the --skip-grant-tables option"), None),
        (pymysql.err.InternalError(1047, WSREP), row(1047)),
        (pymysql.err.InternalError("Packet sequence number wrong - got 5 expected 1"), row(None, "packet")),
        (pymysql.err.OperationalError(), None),
        (pymysql.err.OperationalError("2006"), None),
        (pymysql.err.OperationalError(None, None), None),
        (ValueError("nothing to do with it"), None),
        (OSError(104, "Connection reset by peer"), None),
    ],
    ids=repr,
)
def test_an_error_is_judged_by_number_class_and_text(error: Exception, expected: ErrorRule | None) -> None:
    assert rule_of(error) is expected


GROUP = "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"
GALERA = 'Got error 6 "No such device or address" during COMMIT (provider status: Not connected to Primary Component)'


@pytest.mark.parametrize("text", [GROUP, "Fehler 149 - '…' beim COMMIT", "COMMIT中にエラー149が発生しました"])
def test_a_commit_that_lost_to_another_group_member_was_not_done(text: str) -> None:
    """1180 with the number 149: 178 of 178 such COMMITs were not done on MySQL 9.7 with two and three primaries."""
    for error in (pymysql.err.OperationalError(1180, text), mysql.connector.errors.DatabaseError(errno=1180, msg=text)):
        assert faults.judge(error).rolled_back
        assert faults.judge(error).refuses_commit


@pytest.mark.parametrize("text", [GALERA, "Got error 1490 during COMMIT", "Got error 5149", ""])
def test_another_1180_does_not_tell(text: str) -> None:
    """On Galera 6 of 48 such COMMITs were done on all other nodes, once the node was back."""
    for error in (pymysql.err.OperationalError(1180, text), mysql.connector.errors.DatabaseError(errno=1180, msg=text)):
        assert not faults.judge(error).rolled_back
        assert not faults.judge(error).refuses_commit


def an_error_of(rule: ErrorRule) -> Exception:
    name = (rule.classes or ("OperationalError",))[0]
    text = (rule.texts or ("error 149" if rule.pattern else "",))[0]
    return type(name, (Exception,), {})(rule.number, text)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.number is None or rule.number >= 0], ids=repr)
def test_no_row_hides_another(rule: ErrorRule) -> None:
    """The first that matches wins; each row is found by the error that it describes."""
    if rule.number is not None:
        assert faults.judge(an_error_of(rule), connected=rule.while_connected).rule is rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.number} {rule.meaning}")
def test_every_row_says_where_it_comes_from_and_what_it_changes(rule: ErrorRule) -> None:
    assert len(rule.source) > 10
    answers = (
        rule.effect,
        rule.refusal,
        rule.retry,
        rule.rolls_back,
        rule.may_roll_back,
        rule.refuses_commit,
        rule.hint,
    )
    assert any(answers), "a row that answers nothing"
    assert not (rule.refusal and not rule.while_connecting)
    assert not (rule.hint and not rule.while_connecting)


VERDICTS = [
    # number, text, connected: lost, refusal, retry, rolled back, proves that COMMIT was not done
    (2006, "", True, True, Refusal.AWAY, Reason.LOST, False, False),
    (2006, "", False, True, Refusal.AWAY, Reason.UNREACHABLE, False, False),
    (2014, "", False, True, None, Reason.UNREACHABLE, False, False),
    (3032, "", True, True, Refusal.AWAY, Reason.NOT_READY, False, False),
    (3032, "", False, True, Refusal.AWAY, Reason.UNREACHABLE, False, False),
    (1040, "", True, False, Refusal.FULL, Reason.UNREACHABLE, False, False),
    (1226, "'max_user_connections'", False, False, Refusal.FULL, Reason.UNREACHABLE, False, True),
    (1226, "'max_questions'", True, False, None, None, False, True),
    (2003, "refused", False, False, Refusal.AWAY, Reason.UNREACHABLE, False, False),
    (2003, "Name or service not known", False, False, None, None, False, False),
    (1213, "", True, False, None, Reason.DEADLOCK, True, True),
    (1205, "", True, False, None, Reason.LOCK_TIMEOUT, False, True),
    (1206, "", True, False, None, None, True, False),
    (1290, "--read-only", False, False, None, Reason.READ_ONLY, False, True),
    (1290, "secure-file-priv", True, False, None, None, False, True),
    (1047, "unknown command", True, False, None, None, False, True),
    (1317, "interrupted", True, False, None, None, False, False),
    (1062, "duplicate", True, False, None, None, False, False),
]


@pytest.mark.parametrize(
    ("number", "text", "connected", "lost", "refusal", "retry", "rolled_back", "refuses"), VERDICTS
)
def test_one_verdict_answers_every_question(
    number: int,
    text: str,
    connected: bool,
    lost: bool,
    refusal: Refusal | None,
    retry: Reason | None,
    rolled_back: bool,
    refuses: bool,
) -> None:
    verdict = faults.judge(pymysql.err.OperationalError(number, text), connected=connected)
    assert (verdict.lost, verdict.refusal, verdict.retry) == (lost, refusal, retry)
    assert (verdict.rolled_back, verdict.refuses_commit) == (rolled_back, refuses)


def test_a_killed_connection_of_the_connector_fails_with_the_class_of_stock(
    server: Server, held: EngineFactory
) -> None:
    engine = held(server.url("mysqlconnector"))
    with engine.connect() as connection:
        server.kill_connection(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        wait_until_ended(connection.connection.driver_connection)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    assert connection_id(engine)
