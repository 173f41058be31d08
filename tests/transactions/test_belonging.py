"""Which unit of work a `run()` is a part of: one that is under way here, and has not been committed."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from typing import Any

import greenlet
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE

Names = Callable[[], list[str]]

TARGETS = ["engine", "sessionmaker", "scoped_session"]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, server: Server, held: EngineFactory) -> Any:
    return make_target(request.param, held(server.url("pymysql")))


def make_target(kind: str, engine: Engine) -> Any:
    make = sessionmaker(engine)
    return {"engine": engine, "sessionmaker": make, "scoped_session": scoped_session(make)}[kind]


def adds(name: str) -> Callable[[Any], None]:
    return lambda subject: subject.execute(WRITE, {"name": name})


def in_a_thread(call: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def in_a_thread_with_a_copied_context(call: Callable[[], object]) -> None:
    context = contextvars.copy_context()
    in_a_thread(lambda: context.run(call))


def in_asyncio_to_thread(call: Callable[[], object]) -> None:
    async def main() -> None:
        await asyncio.to_thread(call)

    asyncio.run(main())


def in_a_greenlet_with_a_copied_context(call: Callable[[], object]) -> None:
    child = greenlet.greenlet(lambda: contextvars.copy_context().run(call))
    child.gr_context = contextvars.copy_context()
    child.switch()


ELSEWHERE = [
    in_a_thread,
    in_a_thread_with_a_copied_context,
    in_asyncio_to_thread,
    in_a_greenlet_with_a_copied_context,
]


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=lambda way: way.__name__)
def test_one_that_runs_elsewhere_is_a_unit_of_its_own(
    target: Any, entries: Names, elsewhere: Callable[[Callable[[], object]], None]
) -> None:
    """What it wrote is committed when it returns, whatever becomes of the unit that it was begun in."""
    if isinstance(target, scoped_session) and elsewhere is in_a_greenlet_with_a_copied_context:
        pytest.skip("a greenlet has its thread's current session, which has changes")

    def unit(subject: Any) -> None:
        subject.execute(WRITE, {"name": "outer"})
        elsewhere(lambda: holdfast.run(target, adds("inner")))
        assert entries() == ["inner"]
        raise KeyError("the outer one fails")

    with pytest.raises(KeyError):
        holdfast.run(target, unit)
    assert entries() == ["inner"]


def test_one_in_a_greenlet_refuses_a_session_with_changes(server: Server, held: EngineFactory, entries: Names) -> None:
    registry = scoped_session(sessionmaker(held(server.url("pymysql"))))

    def unit(session: Session) -> None:
        session.execute(WRITE, {"name": "outer"})
        in_a_greenlet_with_a_copied_context(lambda: holdfast.run(registry, adds("inner")))

    with pytest.raises(InvalidRequestError, match="may have changed something"):
        holdfast.run(registry, unit)
    assert entries() == []


def test_one_in_another_task_of_the_thread_is_a_unit_of_its_own(target: Any, entries: Names) -> None:
    """The task copied the context of a unit whose function it was made in, and runs when that is over."""

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        async def later() -> None:
            holdfast.run(target, adds("inner"))

        def unit(subject: Any) -> None:
            subject.execute(WRITE, {"name": "outer"})
            tasks.append(asyncio.get_running_loop().create_task(later()))

        holdfast.run(target, unit)
        await tasks[0]

    asyncio.run(main())
    assert entries() == ["outer", "inner"]


def test_one_in_the_same_thread_and_a_copied_context_takes_part(target: Any, entries: Names) -> None:
    def unit(subject: Any) -> None:
        subject.execute(WRITE, {"name": "outer"})
        contextvars.copy_context().run(holdfast.run, target, adds("inner"))
        raise KeyError("the outer one fails")

    with pytest.raises(KeyError):
        holdfast.run(target, unit)
    assert entries() == []


@pytest.mark.parametrize("how", ["returned", "raised", "was begun again"])
def test_one_in_the_context_of_a_unit_that_has_ended_is_a_unit_of_its_own(
    target: Any, entries: Names, how: str
) -> None:
    contexts: list[contextvars.Context] = []

    def unit(subject: Any) -> None:
        contexts.append(contextvars.copy_context())
        if how == "raised":
            raise KeyError("it fails")
        if how == "was begun again" and len(contexts) == 1:
            subject.execute(text("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))

    if how == "raised":
        with pytest.raises(KeyError):
            holdfast.run(target, unit)
    else:
        holdfast.run(target, unit)
    contexts[0].run(holdfast.run, target, adds("later"))
    assert entries() == ["later"]


@pytest.mark.parametrize("kind", ["engine", "sessionmaker"])
def test_one_in_a_forked_child_is_a_unit_of_its_own(
    server: Server, held: EngineFactory, driver: str, kind: str, entries: Names
) -> None:
    target = make_target(kind, held(server.url(driver)))

    def unit(subject: Any) -> None:
        subject.execute(WRITE, {"name": "parent"})
        child = os.fork()
        if child == 0:
            code = 1
            try:
                holdfast.run(target, adds("child"))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert entries() == ["child"]

    holdfast.run(target, unit)
    assert sorted(entries()) == ["child", "parent"]


def test_a_child_does_not_do_its_parents_unit(server: Server, held: EngineFactory, driver: str, entries: Names) -> None:
    """The child goes on in the function, and comes to the COMMIT of what its parent has begun."""
    engine = held(server.url(driver))
    parent = os.getpid()
    children: list[int] = []

    def unit(connection: Connection) -> None:
        connection.execute(WRITE, {"name": "begun"})
        if os.getpid() == parent:
            children.append(os.fork())
        connection.execute(WRITE, {"name": "parent" if os.getpid() == parent else "child"})

    try:
        holdfast.run(engine, unit)
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(7 if "parent process" in str(error) else 1)
        raise
    if os.getpid() != parent:
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
    assert entries() == ["begun", "parent"]


# -- after its COMMIT --------------------------------------------------------------------------------------------------


def test_a_session_whose_commit_publishes_afterwards(server: Server, held: EngineFactory, entries: Names) -> None:
    class Publishing(Session):
        def commit(self) -> None:
            super().commit()
            if not published:
                published.append(1)
                holdfast.run(make, adds("published"))

    published: list[int] = []
    make = sessionmaker(held(server.url("pymysql")), class_=Publishing)
    holdfast.run(make, adds("written"))
    assert entries() == ["written", "published"]


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("name", ["after_commit", "after_transaction_end"])
def test_a_listener_that_hears_of_the_commit(
    server: Server, held: EngineFactory, entries: Names, name: str, verify: bool
) -> None:
    make = sessionmaker(held(server.url("pymysql")))
    heard: list[int] = []

    @event.listens_for(make, name)
    def publish(*args: Any) -> None:
        if not heard:
            heard.append(1)
            holdfast.run(make, adds("published"))
            assert "published" in entries()

    holdfast.run(make, adds("written"), verify=verify)
    assert sorted(entries()) == ["published", "written"]


def test_a_listener_of_the_current_session_that_hears_of_the_commit(
    server: Server, held: EngineFactory, entries: Names
) -> None:
    """SQLAlchemy takes no SQL in a session that is being committed: an error, and nothing is lost in silence."""
    registry = scoped_session(sessionmaker(held(server.url("pymysql"))))
    errors: list[Exception] = []

    @event.listens_for(registry, "after_commit")
    def publish(session: Session) -> None:
        try:
            holdfast.run(registry, adds("published"))
        except InvalidRequestError as error:
            errors.append(error)

    holdfast.run(registry, adds("written"))
    assert entries() == ["written"]
    assert len(errors) == 1


def test_a_listener_after_the_commit_of_another_database(server: Server, entries: Names) -> None:
    """The rule holds for databases that are not held as well."""
    engine = create_engine("sqlite://")
    make = sessionmaker(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT)"))
    heard: list[int] = []

    @event.listens_for(make, "after_commit")
    def publish(session: Session) -> None:
        if not heard:
            heard.append(1)
            holdfast.run(make, adds("published"))

    holdfast.run(make, adds("written"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM entry")).scalars().all() == ["written", "published"]
    engine.dispose()


def test_what_is_done_before_the_commit_takes_part(server: Server, held: EngineFactory, entries: Names) -> None:
    make = sessionmaker(held(server.url("pymysql")))

    @event.listens_for(make, "before_commit")
    def audit(session: Session) -> None:
        if "audited" not in session.info:
            session.info["audited"] = True
            holdfast.run(make, adds("audited"))
            assert entries() == []

    holdfast.run(make, adds("written"))
    assert entries() == ["written", "audited"]


def test_what_is_done_after_a_rollback_is_a_unit_of_its_own(
    server: Server, held: EngineFactory, entries: Names
) -> None:
    make = sessionmaker(held(server.url("pymysql")))
    heard: list[int] = []

    @event.listens_for(make, "after_rollback")
    def note(session: Session) -> None:
        if not heard:
            heard.append(1)
            holdfast.run(make, adds("failed"))

    def unit(session: Session) -> None:
        session.execute(WRITE, {"name": "no"})
        raise KeyError

    with pytest.raises(KeyError):
        holdfast.run(make, unit)
    assert entries() == ["failed"]


def test_what_is_done_while_it_connects_is_a_unit_of_its_own(
    server: Server, held: EngineFactory, entries: Names
) -> None:
    """The outer unit has no connection yet that anybody could take part in."""
    engine = held(server.url("pymysql"))
    checked_out: list[int] = []

    @event.listens_for(engine, "checkout")
    def register(*args: Any) -> None:
        if not checked_out:
            checked_out.append(1)
            holdfast.run(engine, adds("registered"))

    holdfast.run(engine, adds("written"))
    assert entries() == ["registered", "written"]


def test_the_next_attempt_takes_part_in_nothing_of_the_last(
    server: Server, held: EngineFactory, entries: Names
) -> None:
    make = sessionmaker(held(server.url("pymysql")))
    calls: list[int] = []

    def unit(session: Session) -> None:
        calls.append(1)
        holdfast.run(make, adds(f"call {len(calls)}"))
        if len(calls) == 1:
            session.execute(text("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))

    holdfast.run(make, unit)
    assert entries() == ["call 2"]
