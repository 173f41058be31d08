"""What a statement leaves behind in its session, by its text: never a wrong no."""

from __future__ import annotations

import contextlib
import random
import time

import pymysql
import pytest

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.session_changes import (
    changes_session,
    is_plainly_clean,
    may_be_said_again,
    may_change_database,
    may_follow_reset,
    use,
)

CLEAN = (
    "SELECT 1",
    "(SELECT 1) UNION (SELECT 2)",
    "SELECT guest.id AS guest_id, guest.name AS guest_name \nFROM guest \nWHERE guest.id = 1 FOR UPDATE",
    "select `order`.`id`, count(*) from `order` where `order`.`id` in (1, 2) and (x = 'a@b.c')",
    "INSERT INTO guest (name) VALUES ('bob@x; f(1) := @a')",
    "INSERT INTO `my`.`guest` (`name`) VALUES (1), (2) ON DUPLICATE KEY UPDATE name = VALUES(name)",
    "INSERT INTO guest (name) SELECT COALESCE(a, 1) FROM t",
    "REPLACE INTO t (a) VALUES (DEFAULT)",
    "UPDATE t SET a = a + 1 WHERE id IN (SELECT MAX(id) FROM x)",
    "DELETE FROM t WHERE d < DATE_SUB(NOW(), INTERVAL (1) DAY)",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT LAST_INSERT_ID()",
    "SELECT LAST_INSERT_ID( )",
    "SELECT ROW_COUNT(), FOUND_ROWS()",
    "SELECT @@transaction_isolation, @@session.sql_mode, @@GLOBAL.read_only",
    "SELECT 1 -- a comment about f(x) and @a",
    "SELECT /* f(1) */ 1",
    "SELECT 'grüße @ 1'",
    "SELECT @a, @'b', f FROM t WHERE x = @c",
    "INSERT INTO t (a) VALUES (@a)",
    "COMMIT",
    "ROLLBACK TO SAVEPOINT one",
    "SAVEPOINT one",
    "BEGIN",
    "START TRANSACTION",
    "SHOW WARNINGS",
    "SELECT 1;",
)
CHANGING = (
    "SET @a = 1",
    "SET NAMES utf8mb4",
    "SELECT @a := 1",
    "SELECT 1 INTO @a",
    "SELECT 1 INTO @`a`",
    "SELECT 1 INTO/**/@a",
    "SELECT 1 INTO @a, @b",
    "SELECT @a: = 1",
    "/*!50000 SET @a = 1 */",
    "SELECT /*!50000 @a := */ 1",
    "SELECT /*M! @a := */ 1",
    "SELECT 1; SET sql_mode = ''",
    "SELECT GET_LOCK('x', 1)",
    "SELECT get_lock ('x', 1)",
    "SELECT RELEASE_ALL_LOCKS()",
    "DO GET_LOCK('x', 1)",
    "SELECT f()",
    "SELECT `f`()",
    "SELECT `f` ()",
    "SELECT `my f`()",
    'SELECT "f"()',
    "SELECT db.f()",
    "SELECT db . f (1)",
    "SELECT f/**/(1)",
    "SELECT f -- \n (1)",
    "SELECT f\x0b(1)",
    "SELECT éCOUNT(1)",
    "SELECT \u017fUM(1)",
    "SELECT COUNT$(1)",
    "SELECT COALESCE (1)",
    "INSERT INTO t (a) VALUES (f())",
    "INSERT INTO t(a) VALUES (1) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
    "SELECT LAST_INSERT_ID(42)",
    "SELECT LAST_INSERT_ID /**/ (42)",
    "SELECT 'x\\', @a := 1, \\'y'",
    "SELECT NEXT VALUE FOR s",
    "SELECT NEXTVAL(s)",
    "CALL p()",
    "PREPARE s FROM 'SELECT 1'",
    "EXECUTE s",
    "USE x",
    "HANDLER t OPEN",
    "LOCK TABLES t READ",
    "UNLOCK TABLES",
    "CREATE TEMPORARY TABLE x (a INT)",
    "LOAD DATA INFILE 'x' INTO TABLE t (@a)",
    "XA START 'x'",
    "BEGIN NOT ATOMIC SET @a = 1; END",
    "FLUSH TABLES WITH READ LOCK",
    "",
    "\x00SELECT 1",
)


@pytest.mark.parametrize("statement", CLEAN)
def test_what_leaves_nothing(statement: str) -> None:
    assert not changes_session(statement)
    assert not changes_session(statement.lower())
    assert not changes_session(statement.encode())
    assert not changes_session(bytearray(statement.encode()))


@pytest.mark.parametrize("statement", CHANGING)
def test_what_may_leave_something(statement: str) -> None:
    lower = statement if "M!" in statement else statement.lower()  # only MariaDB's own comments have a capital
    for form in (statement, lower, statement.encode(), memoryview(statement.encode())):
        assert not is_plainly_clean(form)
        assert changes_session(form)


PIECES = (
    "SELECT",
    "1",
    ",",
    "'",
    '"',
    "`",
    "\\",
    "''",
    "/*",
    "*/",
    "/*!",
    "-- ",
    "#",
    "\n",
    "@a := 1",
    "changing()",
    "changing ( )",
    "`changing`()",
    "'x'",
    "INTO @a",
    "FROM t",
    "(",
    ")",
    "AS x",
    "NULL",
    "COUNT(*)",
    " ",
)


def changes_something(server: Server, seed: int) -> None:
    """Run statements made of pieces: whatever has set the variable was judged to."""
    chance = random.Random(seed)
    server.execute("DROP FUNCTION IF EXISTS test.changing")
    server.execute("CREATE FUNCTION test.changing() RETURNS INT NO SQL BEGIN SET @a = 1; RETURN 1; END")
    server.execute("CREATE OR REPLACE TABLE test.t (id INT)")
    changed = ran = 0
    with contextlib.closing(
        pymysql.connect(host=server.host, port=server.port, user="app", password="app", database="test")
    ) as connection:
        cursor = connection.cursor()
        for mode in ("", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"):
            cursor.execute(f"SET sql_mode = '{mode}'")
            for _ in range(300):
                statement = "SELECT " + " ".join(chance.choices(PIECES, k=chance.randint(1, 6)))
                try:
                    cursor.execute(statement)
                except pymysql.err.MySQLError:
                    pass
                else:
                    ran += 1
                cursor.execute("SELECT @a")
                if cursor.fetchall() != ((None,),):
                    changed += 1
                    assert changes_session(statement), statement
                    assert changes_session(statement.encode(), backslash_escapes=mode != "NO_BACKSLASH_ESCAPES")
                    cursor.execute("SET @a = NULL")
    assert changed > 20, "the test can tell"
    assert ran > changed


@pytest.mark.slow
def test_whatever_changed_a_session_on_a_server_was_judged_to(server: Server) -> None:
    changes_something(server, 7)


@pytest.mark.parametrize(
    "statement",
    [
        "SET NAMES utf8mb4",
        "SET @a = 1, time_zone = 'PERSIST_'",
        "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET ROLE app",
        "USE `x`",
        "SET autocommit = 0;",
    ],
)
def test_what_sets_a_session_up_may_be_said_again(statement: str) -> None:
    assert may_be_said_again(statement)
    assert may_follow_reset(statement) is not any(word in statement for word in ("autocommit", "ROLE"))


@pytest.mark.parametrize(
    "statement",
    [
        "SET GLOBAL x = 1",
        "SET @@global.x = 1",
        "SET a = 1, @@GLOBAL.x = 1",
        "SET PERSIST x = 1",
        "SET PASSWORD = 'x'",
        "SET DEFAULT ROLE x TO y",
        "SET TRANSACTION READ ONLY",
        "SET STATEMENT x = 1 FOR SELECT 1",
        "SET @a = f()",
        "SET @a = GET_LOCK('x', 1)",
        "SET @a = 1; SET @b = 2",
        "SET @a = 'open",
        "SELECT @a := 1",
        "CALL p()",
        "CREATE TEMPORARY TABLE x (a INT)",
        "/*!50000 SET @a = 1 */",
    ],
)
def test_what_does_more_is_not_said_again(statement: str) -> None:
    assert not may_be_said_again(statement)
    assert not may_follow_reset(statement)


def test_what_may_select_another_database() -> None:
    assert all(map(may_change_database, ("USE x", "SELECT 1; USE x", "/*!50000 USE x */", "EXECUTE s", "")))
    same = ("SET @a = 1", "CALL p()", "SELECT f()", "create temporary table x (a int)")
    assert not any(map(may_change_database, same))
    assert use("a`b") == "USE `a``b`"
    assert use(b"a") == "USE `a`"


@pytest.mark.parametrize(
    "unit", ["a", "a ", "(", "a(", "'", "`", "/*", "-- ", "@", "VALUE ", "INSERT ", "\\'", "x.", "é", "/*!"]
)
def test_the_time_grows_with_the_length(unit: str) -> None:
    """A regular expression runs with the interpreter's lock held."""

    def seconds(length: int) -> float:
        statements = [
            f"{start}{unit * (length // len(unit))}" for start in ("SELECT ", "INSERT INTO t (a) ", "SET @a = ")
        ]
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            for statement in statements:
                changes_session(statement)
                may_be_said_again(statement)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(90_000) < 40 * seconds(9_000) + 0.05
