"""Whether servers commit where the answer says that they may, and nowhere else."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.statements import may_commit
from tests.server.test_statements_may_commit import COMMIT, DO_NOT, ONE_HAS, lines


class Court:
    """Runs statements in an open transaction, and looks from another session whether it was committed."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.numbers = itertools.count()
        self.went_on = False
        """The last statements that were judged left the session in its transaction."""
        self.understood = True
        """The server's parser knew the last one."""
        self.witness = self.session(autocommit=True)
        for statement in (
            "CREATE TABLE rows_ (n INT PRIMARY KEY) ENGINE=InnoDB",
            "CREATE TABLE guests (n INT PRIMARY KEY, name VARCHAR(100)) ENGINE=InnoDB",
            "CREATE TABLE other (n INT) ENGINE=MyISAM",
            "CREATE PROCEDURE commits() COMMIT",
            "CREATE USER somebody@'%'",
        ):
            self.witness.query(statement)
        if server.flavour == "mariadb":
            self.witness.query("CREATE SEQUENCE numbers")

    def session(self, *, autocommit: bool) -> pymysql.Connection[Any]:
        return pymysql.connect(
            unix_socket=self.server.socket,
            user="root",
            database="test",
            autocommit=autocommit,
            client_flag=CLIENT.MULTI_STATEMENTS,
            read_timeout=30,
        )

    def has(self, number: int) -> bool:
        with self.witness.cursor() as cursor:
            return bool(cursor.execute("SELECT 1 FROM rows_ WHERE n = %s", (number,)))

    def committed(self, *statements: str) -> tuple[bool, bool]:
        """Say whether what came before statements was committed by them, and whether what comes behind them is."""
        before, behind = next(self.numbers), next(self.numbers)
        session = self.session(autocommit=False)
        try:
            session.query(f"INSERT INTO test.rows_ VALUES ({before})")
            for statement in statements:
                self.understood = True
                try:
                    session.query(statement)
                    result: Any = session  # each statement of several has a result of its own
                    while result._result is not None and result._result.has_next:
                        session.next_result()
                except pymysql.err.MySQLError as error:
                    self.understood = error.args[0] != 1064  # ER_PARSE_ERROR
            was = self.has(before)
            self.went_on = _sees(session, before)
            with contextlib.suppress(pymysql.err.MySQLError):
                session.query(f"INSERT INTO test.rows_ VALUES ({behind})")
            return was, self.has(behind)
        finally:
            with contextlib.suppress(pymysql.err.MySQLError):
                session.close()


SETS_MORE = re.compile("autocommit|completion_type|password")


def _sees(session: pymysql.Connection[Any], number: int) -> bool:
    with contextlib.suppress(pymysql.err.MySQLError), session.cursor() as cursor:
        return bool(cursor.execute(f"SELECT 1 FROM test.rows_ WHERE n = {number}"))
    return False


LIMITS = {"lock_wait_timeout": 5, "innodb_lock_wait_timeout": 5}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Court]:
    with Server(options=LIMITS) as server:
        yield Court(server)


@pytest.fixture(scope="module")
def mysql(mysql_server: Server) -> Iterator[Court]:
    with Server(executable=mysql_server._executable.path, options=LIMITS) as server:
        yield Court(server)


COURTS = ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.mark.slow
@pytest.mark.parametrize("court", COURTS)
def test_servers_do_not_commit_where_the_answer_is_no(court: str, request: pytest.FixtureRequest) -> None:
    judged: Court = request.getfixturevalue(court)
    assert {text: judged.committed(text) for text in lines(DO_NOT)} == dict.fromkeys(lines(DO_NOT), (False, False))


@pytest.mark.slow
@pytest.mark.parametrize("court", COURTS)
def test_servers_commit_what_the_manuals_say_they_commit(court: str, request: pytest.FixtureRequest) -> None:
    """Else the other tests would prove nothing."""
    judged: Court = request.getfixturevalue(court)
    found = {text: any(judged.committed(text)) for text in lines(COMMIT)}
    assert {text for text, committed in found.items() if not committed} == set()


@pytest.mark.slow
@pytest.mark.parametrize("court", COURTS)
def test_each_of_the_others_is_committed_by_a_server_that_knows_it(court: str, request: pytest.FixtureRequest) -> None:
    judged: Court = request.getfixturevalue(court)
    found = {text: any(judged.committed(text)) or not judged.understood for text in lines(ONE_HAS)}
    assert {text for text, committed in found.items() if not committed} == set()


@pytest.mark.slow
@pytest.mark.parametrize("court", COURTS)
def test_no_session_variable_commits_unless_its_name_is_known_to(court: str, request: pytest.FixtureRequest) -> None:
    judged: Court = request.getfixturevalue(court)
    with judged.witness.cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES")
        names = [row[0] for row in cursor.fetchall()]
    assert len(names) > 500
    texts = [f"SET {name} = {value}" for name in names for value in ("DEFAULT", "1")]
    assert {text for text in texts if may_commit(text)} == {
        f"SET {name} = {value}" for name in names for value in ("DEFAULT", "1") if SETS_MORE.search(name)
    }
    texts = [text for text in texts if not may_commit(text)]
    for first in range(0, len(texts), 50):
        batch = texts[first : first + 50]
        assert judged.committed(*batch) == (False, False), batch
        assert judged.went_on, batch
