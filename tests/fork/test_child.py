"""A forked child works with connections of its own, also through objects that it inherited."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import AssertionPool, NullPool, Pool, SingletonThreadPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read
from tests.fork.conftest import TRANSPORTS, ParentFactory
from tests.fork.processes import TABLE, Parent, in_child, server_id


def insert(connection: Any, number: int) -> None:
    connection.execute(text(f"INSERT INTO {TABLE} VALUES ({number}, 9)"))


def refused(function: Callable[[], object], parent_pid: int) -> str:
    """Call something that must fail clearly; return the error's text."""
    with pytest.raises(OperationalError) as caught:
        function()
    message = str(caught.value)
    assert "2006" in message
    assert str(parent_pid) in message, "the parent's process id helps to find it"
    assert str(os.getpid()) in message
    return message


def listed(server: Server, ids: set[int]) -> set[int]:
    """Which of these sessions the server has, after a moment in which it may notice that some ended."""
    deadline = time.monotonic() + 60
    while True:
        left = {process.id for process in server.processlist()} & ids
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


# -- a new checkout --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_a_checkout_in_the_child_has_a_session_of_its_own(parent: ParentFactory, transport: str) -> None:
    one = parent("idle")

    def child() -> tuple[int, int]:
        with one.engine.connect() as connection:
            first = server_id(connection)
        with one.engine.connect() as connection:
            return first, server_id(connection)

    first, second = in_child(child)
    assert first != one.id
    assert first == second, "the child pools its connection"
    one.judge()


def test_counters_start_anew_and_tell_how_many_were_left(parent: ParentFactory) -> None:
    one = parent("idle", pool_size=3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(one.engine.connect()).execute(text("SELECT 1"))

    def child() -> Any:
        before = holdfast.status(one.engine).counters
        with one.engine.connect() as connection:
            server_id(connection)
        after = holdfast.status(one.engine).counters
        return before.replaced, before.checkouts, after.replaced, after.checkouts, after.connects

    inherited = {Cause.INHERITED: 3}
    assert in_child(child) == (inherited, 0, inherited, 1, 1)
    counters = holdfast.status(one.engine).counters
    assert counters.replaced == {}
    assert counters.connects == 3


def test_one_line_is_logged_when_the_child_connects(parent: ParentFactory) -> None:
    one = parent("idle")

    def child() -> list[str]:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("holdfast")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        for _ in range(3):
            with one.engine.connect() as connection:
                server_id(connection)
        with one.engine.connect() as first, one.engine.connect() as second:
            assert server_id(first) != server_id(second)
        return lines

    (line,) = in_child(child)
    assert "1 connection" in line
    assert "parent" in line


def test_a_pool_whose_one_place_the_parent_holds_is_free_in_the_child(parent: ParentFactory) -> None:
    one = parent("in_transaction", pool_size=1, max_overflow=0)

    def child() -> float:
        start = time.monotonic()
        with one.engine.connect() as connection:
            assert server_id(connection) != one.id
        return time.monotonic() - start

    assert in_child(child) < 25, "the default of pool_timeout is 30 s"
    one.judge()


def test_every_place_of_the_pool_is_usable_in_the_child(parent: ParentFactory) -> None:
    one = parent("in_transaction", pool_size=2, max_overflow=1, pool_timeout=1)
    with one.engine.connect() as connection:
        server_id(connection)  # one idle, one checked out

    def child() -> Any:
        pool: Any = one.engine.pool
        assert one.session is not None
        one.session.execute(text("SELECT 1"))
        with contextlib.ExitStack() as stack:
            ids = {server_id(stack.enter_context(one.engine.connect())) for _ in range(3)}
            during = pool.checkedout()
            one.session.close()
            assert pool.checkedout() == during, "what was inherited has no place in the new pool"
        return len(ids), during, pool.checkedout(), pool.checkedin()

    assert in_child(child) == (3, 3, 0, 2)


def test_an_engine_that_never_connected_and_one_made_in_the_child_work(url: URL) -> None:
    unused = create_engine(url, plugins=["holdfast"])

    def child() -> Any:
        own = create_engine(url, plugins=["holdfast"])
        with unused.connect() as first, own.connect() as second:
            different = server_id(first) != server_id(second)
        counters = holdfast.status(unused).counters.replaced, holdfast.status(own).counters.replaced
        own.dispose()
        return different, counters

    assert in_child(child) == (True, ({}, {}))
    unused.dispose()


def test_an_sqlite_engine_is_not_touched() -> None:
    engine = create_engine("sqlite://", plugins=["holdfast"], poolclass=StaticPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (id INT)"))
    pool = engine.pool

    def child() -> Any:
        with engine.connect() as connection:
            return engine.pool is pool, connection.execute(text("SELECT COUNT(*) FROM t")).scalar()

    assert in_child(child) == (True, 0)
    engine.dispose()


@pytest.mark.parametrize("poolclass", [StaticPool, NullPool, AssertionPool, SingletonThreadPool])
@pytest.mark.parametrize("state", ["idle", "in_transaction"])
def test_engines_with_every_other_pool_work(
    parent: ParentFactory, ledger: Server, poolclass: type[Pool], state: str
) -> None:
    one = parent(state, poolclass=poolclass)

    def child() -> set[int]:
        ids = set()
        if one.session is not None:
            with pytest.raises(OperationalError):
                one.session.commit()
            one.session.rollback()
            ids.add(server_id(one.session))
            insert(one.session, -one.number)
            one.session.commit()
            one.session.close()
        for _ in range(2):
            with one.engine.begin() as connection:
                ids.add(server_id(connection))
        one.engine.dispose()
        del connection
        one.forget_connections()
        assert one.id not in ids
        assert not listed(ledger, ids), "the child left a session open"
        return ids

    in_child(child)
    if poolclass is NullPool and state == "idle":
        return  # there is no connection to keep
    one.judge()
    assert one.session is None or outside(one, -one.number) == 1


# -- what was inherited ----------------------------------------------------------------------------------------


def outside(one: Parent, number: int) -> int:
    with one.outside.connect() as connection:
        sql = f"SELECT COUNT(*) FROM {TABLE} WHERE id = {number}"
        return int(connection.execute(text(sql)).scalar_one())


@pytest.mark.parametrize("how", ["close", "rollback", "remove", "invalidate", "reset"])
def test_an_inherited_session_is_ended_quietly_and_then_works(url: URL, parent: ParentFactory, how: str) -> None:
    one = parent("idle")
    registry = scoped_session(sessionmaker(one.engine))
    insert(registry(), one.number)

    def child() -> int:
        getattr(registry() if how != "remove" else registry, how)()
        mine = server_id(registry())
        insert(registry(), -one.number)
        registry().commit()
        registry.remove()
        return mine

    assert in_child(child) != one.id
    assert outside(one, one.number) == 0
    assert outside(one, -one.number) == 1
    assert server_id(registry()) == one.id
    registry().commit()
    assert outside(one, one.number) == 1
    registry.remove()


def test_the_child_cannot_commit_what_the_parent_began(parent: ParentFactory) -> None:
    one = parent("in_transaction")
    pid = os.getpid()

    def child() -> str:
        assert one.session is not None
        message = refused(one.session.commit, pid)
        one.session.rollback()
        one.session.execute(text("SELECT 1"))
        one.session.commit()
        one.session.close()
        return message

    assert "belong to the parent process" in in_child(child)
    one.judge()


@pytest.mark.parametrize("through", ["session", "connection"])
def test_a_statement_on_what_was_inherited_runs_on_a_connection_of_the_childs(
    parent: ParentFactory, ledger: Server, through: str
) -> None:
    one = parent("in_transaction")

    def child() -> int:
        assert one.session is not None
        assert one.connection is not None
        inherited: Any = one.session if through == "session" else one.connection
        mine = server_id(inherited)
        insert(inherited, -one.number)
        assert server_id(inherited) == mine
        one.session.rollback()
        one.session.close()
        one.session = one.connection = None
        gc.collect()
        assert not listed(ledger, {mine}), "one more than the pool's size is not kept"
        return mine

    assert in_child(child) != one.id
    assert outside(one, -one.number) == 0
    assert one.rows() == 0
    one.judge()


HALVES: dict[str, Callable[[Any, Any], object]] = {
    "commit()": lambda session, connection: session.commit(),
    "commit() of the connection": lambda session, connection: connection.commit(),
    "the driver's commit()": lambda session, connection: connection.connection.commit(),
    "COMMIT": lambda session, connection: session.execute(text("COMMIT")),
    "a statement that commits": lambda session, connection: session.execute(text("/* x */ CREATE TABLE half (id INT)")),
    "a raw cursor": lambda session, connection: connection.connection.cursor().execute("COMMIT"),
    "AUTOCOMMIT": lambda session, connection: session.execute(text("SET autocommit = 1")),
}


@pytest.mark.parametrize("commit", HALVES.values(), ids=HALVES)
def test_a_child_does_not_commit_its_half_of_a_parents_transaction(
    parent: ParentFactory, commit: Callable[[Any, Any], object]
) -> None:
    """What the parent did is not in the child's part. The parent can commit it, and the child begin anew."""
    one = parent("in_transaction")

    def child() -> None:
        session, connection = one.session, one.connection
        insert(session, -one.number)
        with pytest.raises(Exception, match="parent process began this transaction") as caught:
            commit(session, connection)
        assert "2006" in str(caught.value)
        assert session is not None
        session.rollback()
        insert(session, -one.number)
        session.commit()

    in_child(child)
    assert outside(one, -one.number) == 1, "what the child has begun itself, once"
    assert one.rows() == 0
    one.judge()


def test_objects_that_a_session_had_not_sent_yet_are_not_committed_twice(url: URL, parent: ParentFactory) -> None:
    """The child's commit() sends them before it commits, on a connection of its own; and so does the parent's."""
    one = parent("idle")

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = TABLE
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[int]

    session = Session(one.engine)
    session.add(Row(id=one.number * 1000 + 1, value=1))
    session.flush()
    session.add(Row(id=one.number * 1000 + 2, value=1))

    def child() -> None:
        with pytest.raises(OperationalError, match="parent process began this transaction"):
            session.commit()
        session.rollback()
        session.close()

    in_child(child)
    assert outside(one, one.number * 1000 + 2) == 0
    session.commit()
    session.close()
    assert outside(one, one.number * 1000 + 2) == 1
    one.judge()


@pytest.mark.parametrize("read", [True, False], ids=["read", "AUTOCOMMIT"])
def test_what_the_parent_changed_nothing_in_can_be_committed(url: URL, parent: ParentFactory, read: bool) -> None:
    one = parent("idle")
    engine = one.engine if read else one.engine.execution_options(isolation_level="AUTOCOMMIT")
    session = Session(engine)
    if read:
        session.execute(text(f"SELECT COUNT(*) FROM {TABLE}"))
    else:
        insert(session, one.number)

    def child() -> None:
        insert(session, -one.number)
        session.commit()
        session.close()

    in_child(child)
    session.close()
    assert outside(one, -one.number) == 1
    one.judge()


def test_an_inherited_connection_whose_server_refuses_works_once_it_does_not(parent: ParentFactory, url: URL) -> None:
    one = parent("in_transaction")

    def child() -> int:
        assert one.session is not None
        refusing = True

        @event.listens_for(one.engine, "do_connect")
        def refuse(*arguments: Any) -> None:
            if refusing:
                raise one.engine.dialect.loaded_dbapi.OperationalError(2003, "refused")

        with pytest.raises(OperationalError):
            one.session.execute(text("SELECT 1"))
        refusing = False
        one.session.rollback()
        mine = server_id(one.session)
        one.session.close()
        return mine

    assert in_child(child) != one.id
    one.judge()


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE", "READ COMMITTED"])
@pytest.mark.parametrize("of", ["connection", "engine", "options"])
def test_the_isolation_level_survives_on_the_replacement(url: URL, parent: ParentFactory, level: str, of: str) -> None:
    one = parent("idle", **({"isolation_level": level} if of == "engine" else {}))
    source = one.engine.execution_options(isolation_level=level) if of == "options" else one.engine
    connection = source.connect()
    if of == "connection":
        connection = connection.execution_options(isolation_level=level)
    connection.execute(text("SELECT 1"))

    def child() -> Any:
        insert(connection, -one.number)
        if level == "AUTOCOMMIT":
            assert outside(one, -one.number) == 1, "a write in AUTOCOMMIT is committed"
            shown: Any = level
        else:
            inner: Any = connection.connection.dbapi_connection
            shown = one.engine.dialect.get_isolation_level(inner)
        connection.close()
        with one.engine.connect() as other:
            own = one.engine.dialect.get_isolation_level(cast(Any, other.connection.dbapi_connection))
        return shown, own

    shown, own = in_child(child)
    assert shown == level
    if of != "engine":
        assert own == "REPEATABLE READ", "the level was that connection's alone"
    assert server_id(connection) == one.id
    connection.close()


def test_a_level_can_be_set_on_an_inherited_connection(parent: ParentFactory) -> None:
    one = parent("idle")
    connection = one.engine.connect()

    def child() -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        insert(connection, -one.number)
        assert outside(one, -one.number) == 1
        connection.close()

    in_child(child)
    connection.close()
    one.judge()


def test_leaving_a_begin_block_in_the_child_raises_and_the_parents_commit_works(parent: ParentFactory) -> None:
    one = parent("idle")
    pid = os.getpid()

    def child() -> str:
        return refused(lambda: block.__exit__(None, None, None), pid)

    block = one.engine.begin()
    connection = block.__enter__()
    insert(connection, one.number)
    in_child(child)
    assert outside(one, one.number) == 0
    block.__exit__(None, None, None)
    assert outside(one, one.number) == 1
    one.judge()


@pytest.mark.parametrize("how", ["session.close", "session.rollback", "nested.rollback"])
def test_an_inherited_savepoint_is_ended_quietly(parent: ParentFactory, how: str) -> None:
    one = parent("in_transaction")
    assert one.session is not None
    nested = one.session.begin_nested()
    insert(one.session, -one.number)

    def child() -> None:
        assert one.session is not None
        {
            "session.close": one.session.close,
            "session.rollback": one.session.rollback,
            "nested.rollback": nested.rollback,
        }[how]()
        one.session.close()
        assert server_id(one.session) != one.id
        one.session.close()

    in_child(child)
    nested.rollback()
    one.judge()
    assert outside(one, -one.number) == 0, "the parent's savepoint could be rolled back"


def test_releasing_an_inherited_savepoint_is_an_error(parent: ParentFactory) -> None:
    one = parent("in_transaction")
    assert one.session is not None
    nested = one.session.begin_nested()
    insert(one.session, -one.number)  # sends SAVEPOINT

    def child() -> None:
        with pytest.raises(DBAPIError):
            nested.commit()

    in_child(child)
    nested.commit()
    one.judge()


def test_a_detached_connection_raises_the_clear_error(parent: ParentFactory, ledger: Server) -> None:
    one = parent("idle")
    connection = one.engine.connect()
    connection.detach()
    mine = server_id(connection)
    pid = os.getpid()

    def child() -> None:
        refused(lambda: connection.execute(text("SELECT 1")), pid)
        with contextlib.suppress(DBAPIError):
            connection.rollback()
        connection.close()

    in_child(child)
    assert server_id(connection) == mine
    connection.close()


def test_a_cursor_opened_before_the_fork_raises_the_clear_error(parent: ParentFactory) -> None:
    one = parent("idle")
    raw: Any = one.engine.raw_connection()
    cursor = raw.cursor()
    pid = os.getpid()

    def child() -> str:
        with pytest.raises(one.engine.dialect.loaded_dbapi.Error) as caught:
            cursor.execute("SELECT 1")
        own = raw.cursor()
        own.execute("SELECT CONNECTION_ID()")
        assert own.fetchone()[0] != one.id
        own.close()
        raw.close()
        return str(caught.value)

    assert str(pid) in in_child(child)
    cursor.execute("SELECT CONNECTION_ID()")
    assert cursor.fetchone()[0] == one.id
    cursor.close()
    raw.close()


def test_a_driver_connection_that_is_told_to_reconnect_becomes_the_childs(parent: ParentFactory, driver: str) -> None:
    if driver == "mysqldb":
        pytest.skip("mysqlclient has no way to reconnect")
    one = parent("idle")
    raw: Any = one.engine.raw_connection()

    def child() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            raw.driver_connection.ping(reconnect=True)
        cursor = raw.cursor()
        cursor.execute("SELECT CONNECTION_ID()")
        mine = int(cursor.fetchone()[0])
        raw.commit()
        raw.close()
        return mine

    assert in_child(child, destructors_may_fail=True) != one.id  # PyMySQL leaves its old socket to the collector
    raw.close()
    one.judge()


# -- generations -----------------------------------------------------------------------------------------------


def test_a_childs_connections_survive_the_grandchild(parent: ParentFactory) -> None:
    one = parent("in_transaction")

    def child() -> dict[str, int]:
        assert one.session is not None
        own = one.engine.connect()
        mine = server_id(own)
        insert(own, -one.number)
        pooled = one.engine.connect()
        idle = server_id(pooled)
        pooled.close()

        def grandchild() -> Any:
            assert one.session is not None
            counters = holdfast.status(one.engine).counters
            ids = {server_id(one.session), server_id(own)}
            with one.engine.connect() as connection:
                ids.add(server_id(connection))
            one.session.close()
            own.close()
            one.engine.dispose()
            one.forget()
            return ids, counters.replaced[Cause.INHERITED]

        ids, left = in_child(grandchild)
        assert len(ids) == 3
        assert not ids & {one.id, mine, idle}
        assert left >= 2
        assert server_id(own) == mine
        with one.engine.connect() as connection:
            assert server_id(connection) == idle
        own.commit()
        own.close()
        one.session.close()
        return holdfast.status(one.engine).counters.replaced

    assert in_child(child) == {Cause.INHERITED: 1}
    assert outside(one, -one.number) == 1
    one.judge()


@pytest.mark.parametrize("state", ["idle", "in_transaction"])
def test_a_process_without_a_free_descriptor_leaves_its_parents_connections_alone(
    parent: ParentFactory, state: str
) -> None:
    import resource

    one = parent(state)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    end, start = os.pipe()
    spare: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limits[1]), limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        pid = os.fork()
        if pid == 0:
            try:
                for descriptor in spare:
                    os.close(descriptor)
                with one.engine.connect() as connection:
                    server_id(connection)
                one.forget()
                os.write(start, b"done")
            finally:
                os._exit(0)
    finally:
        for descriptor in spare:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.waitpid(pid, 0)
    os.close(start)
    with os.fdopen(end, "rb") as answer:
        assert answer.read() == b"done"
    one.judge()


# -- descriptors -----------------------------------------------------------------------------------------------


def sockets_of(driver_connection: Any) -> int:
    for path in ("fileno", "_sock.fileno", "_socket.sock.fileno"):
        found = driver_connection
        try:
            for name in path.split("."):
                found = getattr(found, name)
        except AttributeError:
            continue
        return int(found())
    raise AssertionError("no socket")


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_a_program_that_is_started_does_not_get_the_connections(
    request: pytest.FixtureRequest, parent: ParentFactory, transport: str
) -> None:
    server: Server = request.getfixturevalue("tls_ledger" if transport == "tls" else "ledger")
    one = parent("idle")
    assert not os.get_inheritable(sockets_of(one.driver_connection))
    program = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        close_fds=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        program.stdout.readline()
        one.driver_connection = None
        one.engine.dispose()
        gc.collect()
        assert not listed(server, {one.id}), "the program keeps the parent's session open"
    finally:
        program.stdin.close()
        program.wait(60)
        program.stdout.close()


@pytest.mark.parametrize("transport", ["tcp", "TLS"])
def test_a_child_whose_program_dies_of_sigpipe_is_not_killed_by_a_drivers_farewell(
    server: Server, tls_server: Server, driver: str, held: EngineFactory, transport: str
) -> None:
    """Command-line programs set SIGPIPE back to its default."""
    which = tls_server if transport == "TLS" else server
    engine = held(which.url(driver, query={"ssl_ca": which.tls_ca or ""} if transport == "TLS" else None))
    session = Session(engine)
    session.execute(text("SELECT 1")).scalar()
    read(engine)

    def child() -> list[Any]:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        answers = [session.execute(text("SELECT 2")).scalar(), read(engine, 3)]
        session.close()
        engine.dispose()
        gc.collect()
        return answers

    assert in_child(child) == [2, 3]
    session.close()


@pytest.mark.slow
def test_a_child_of_many_connections_can_drop_them_all(driver: str, held: EngineFactory) -> None:
    """More last words than fit into one socket that nobody reads."""
    with Server(options={"max_connections": 400}) as server:
        engine = held(server.url(driver), pool_size=300, max_overflow=0)
        connections = [engine.connect() for _ in range(300)]

        def child() -> int:
            for connection in connections:
                connection.close()
            engine.dispose()
            gc.collect()
            return int(read(engine, 3))

        assert in_child(child) == 3
        for number, connection in enumerate(connections):
            assert connection.execute(text(f"SELECT {number}")).scalar() == number
            connection.close()
        engine.dispose()
