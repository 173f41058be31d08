"""1226 has two meanings: as many connections as the account may have, and an allowance of the hour that is used up.

The first goes away when somebody returns a connection; the second is not waited for, and no unit of work is begun again
for it. The servers say which in the language of ``lc_messages``.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD, EngineFactory

pytestmark = pytest.mark.slow

MESSAGES = Path("/usr/share/mysql")
LANGUAGES = ("en_US", "ja_JP")
HOURLY = ("MAX_QUERIES_PER_HOUR 12", "MAX_UPDATES_PER_HOUR 1", "MAX_CONNECTIONS_PER_HOUR 1")
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def limited(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose accounts and whose language the tests change."""
    if request.param == "mysql":
        if MYSQLD is None:
            pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
        given: dict[str, Any] = {"executable": MYSQLD}
    else:
        given = {"options": {"lc_messages_dir": str(MESSAGES)} if MESSAGES.is_dir() else {}}
    with Server(**given) as server:
        server.execute("CREATE TABLE entry (id INT PRIMARY KEY)", database="test")
        yield server


Account = Callable[..., Any]


@pytest.fixture
def account(limited: Server, driver: str, held: EngineFactory) -> Iterator[Account]:
    """Makes an account with a limit, and an engine that uses it."""
    users: list[str] = []

    def make(limit: str, **options: Any) -> Engine:
        users.append(f"u{next(_numbers)}")
        limited.execute(f"CREATE USER {users[-1]}@'%' IDENTIFIED BY 'x'")
        limited.execute(f"GRANT ALL ON test.* TO {users[-1]}@'%'")
        # MySQL wants its first login with a password over TLS or with its key; mysql-connector can do neither here.
        first = create_engine(limited.url("pymysql", user=users[-1], password="x"), poolclass=NullPool)
        first.connect().close()
        limited.execute(f"ALTER USER {users[-1]}@'%' WITH {limit}")
        limited.execute("FLUSH USER_RESOURCES")
        return held(limited.url(driver, user=users[-1], password="x"), holdfast_budget="off", **options)

    yield make
    limited.execute("SET GLOBAL lc_messages = 'en_US'")
    for user in users:
        limited.kill_connections(user)
        limited.execute(f"DROP USER {user}@'%'")


def enter(entry: Any, connection: Connection) -> None:
    connection.execute(entry)


def work(engine: Engine) -> int:
    """Change something in connections of their own, until it is refused; how often that went well."""
    for turn in range(100):
        with engine.begin() as connection:
            connection.execute(text("UPDATE entry SET id = id WHERE id = -1"))
        if turn:
            engine.dispose()
    return 100


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("limit", HOURLY)
def test_an_allowance_of_the_hour_is_not_waited_for(
    limited: Server, account: Account, limit: str, language: str
) -> None:
    limited.execute(f"SET GLOBAL lc_messages = '{language}'")
    engine = account(limit)
    with pytest.raises(DBAPIError, match="1226"):
        work(engine)
    calls: list[int] = []

    def unit(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("UPDATE entry SET id = id WHERE id = -1"))
        connection.execute(text("UPDATE entry SET id = id WHERE id = -1"))

    began = time.monotonic()
    with pytest.raises(DBAPIError, match="1226") as caught:
        holdfast.run(engine, unit)
    assert time.monotonic() - began < 3.0
    assert len(calls) <= 1
    assert holdfast.status(engine).counters.units_repeated == {}
    assert holdfast.status(engine).counters.refused == 0
    if not calls:
        assert "within an hour" in str(caught.value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_account_that_is_full_is_waited_for(limited: Server, account: Account, language: str) -> None:
    limited.execute(f"SET GLOBAL lc_messages = '{language}'")
    engine = account("MAX_USER_CONNECTIONS 1", pool_timeout=0.3)
    with engine.connect(), pytest.raises(DBAPIError, match="1226"):
        engine.connect()
    assert holdfast.status(engine).counters.refused > 0


def test_a_commit_that_an_allowance_refuses_was_not_done_and_is_known_not_to_be(
    limited: Server, account: Account
) -> None:
    """Whichever of a unit's statements comes first that is one too many."""
    limited.execute("DELETE FROM entry", database="test")
    seen: dict[bool, int] = {True: 0, False: 0}
    for allowed in range(1, 25):
        engine = account(f"MAX_QUERIES_PER_HOUR {allowed}")
        failure: DBAPIError | None = None
        try:
            holdfast.run(engine, functools.partial(enter, text(f"INSERT INTO entry VALUES ({allowed})")))
        except DBAPIError as error:
            failure = error
        assert not isinstance(failure, holdfast.CommitOutcomeUnknown)
        assert failure is None or "1226" in str(failure)
        there = limited.execute(f"SELECT COUNT(*) FROM entry WHERE id = {allowed}", database="test")
        assert there == [(int(failure is None),)]
        seen[failure is None] += 1
    assert all(seen.values()), "some numbers are too small, and some are enough"
