"""What is known to only read, judged by the text alone, and whether servers agree."""

from __future__ import annotations

import contextlib

import pymysql
import pytest

from holdfast import statements
from holdfast.lab import Server
from holdfast.statements import only_reads

ONLY_READS = [
    "SELECT 1",
    "  select id, name\nfrom guests where id = %s",
    "SELECT g.id FROM guests AS g JOIN (SELECT id FROM guests) AS h ON (g.id = h.id) WHERE g.id IN (%s, %s)",
    "SELECT count(*) AS n, coalesce(max(name), 'none; (of us)') FROM guests GROUP BY `for`.`id` HAVING (n > 1)",
    "SELECT 'f(1) FOR UPDATE @x -- ; /* */ :=' FROM guests",
    "SELECT 'it''s', \"f(1)\", `lock`, X'00', 'a@b.c' FROM guests",
    "SELECT 1 /* traceparent='00-4bf9' */",
    "SELECT row_number() OVER (PARTITION BY id ORDER BY name) FROM guests",
    "SELECT CAST(name AS CHAR(10)) FROM guests UNION ALL (SELECT 'x')",
    "SELECT EXISTS (SELECT * FROM guests) OR NOT (1 = 2)",
    "SELECT DISTINCT(name) FROM guests USE INDEX (PRIMARY)",
    "SHOW TABLES",
    "-- first\nSELECT 1",
    "/* first */ SELECT 1",
    "(SELECT 1)",
    "WITH x AS (SELECT 1) SELECT * FROM x",
]
MAY_DO_MORE = [
    "",
    "INSERT INTO t VALUES (1)",
    "SELECT 1; DELETE FROM guests",
    "SELECT 1;",
    "SELECT * FROM guests FOR UPDATE",
    "SELECT * FROM guests for share skip locked",
    "SELECT * FROM guests LOCK IN SHARE MODE",
    "SELECT * FROM guests FOR/**/UPDATE",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO @x",
    "SELECT @x := 1",
    "SELECT @@last_insert_id",
    "SELECT * FROM guests PROCEDURE ANALYSE()",
    "SELECT f(1)",
    "SELECT f (1)",
    "SELECT f/* */(1)",
    "SELECT `f`(1)",
    'SELECT "f"(1)',
    "SELECT shop.f(1)",
    "SELECT shop . `f` (1)",
    "SELECT shop.count(1)",
    "SELECT count (1)",
    "SELECT ƒ(1)",
    "SELECT f☃(1)",
    "SELECT sleep(1)",
    "SELECT benchmark(1, 1)",
    "SELECT get_lock('x', 1)",
    "SELECT release_lock('x')",
    "SELECT last_insert_id(1)",
    "SELECT last_insert_id()",
    "SELECT found_rows()",
    "SELECT nextval(s)",
    "SELECT NEXT VALUE FOR s",
    "SELECT s.nextval",
    "SELECT setval(s, 1)",
    "SELECT load_file('/etc/hosts')",
    "SELECT 1 /*! INTO OUTFILE 'x' */",
    "SELECT 1 /*!50000 , f(1) */",
    "SELECT 1 /*M! , f(1) */",
    "SELECT /*+ SET_VAR(sort_buffer_size = 1) */ 1",
    "SELECT 1 -- it's\n, f('x')",
    "SELECT 1 # it's\n, f('x')",
    "SELECT 'a\\', f(1), '",
    "SELECT 'unended",
    "WITH x AS (SELECT 1) DELETE FROM guests",
    "EXPLAIN SELECT 1",
    "VALUES (1)",
    "TABLE guests",
    "SELECT 1" + " " * 200_000,
]


@pytest.mark.parametrize("statement", ONLY_READS)
def test_ordinary_reads_are_known(statement: str) -> None:
    assert only_reads(statement)


@pytest.mark.parametrize("statement", MAY_DO_MORE)
def test_what_may_do_more_or_is_not_understood_is_not_a_read(statement: str) -> None:
    assert not only_reads(statement)


OURS = "RETURNS VARCHAR(20) DETERMINISTIC RETURN 'our own'"


def calls_its_own_functions_by_the_names_on_the_lists(server: Server) -> None:
    """Give a server functions of the site's own with the names on the lists, and call those."""
    with contextlib.closing(
        pymysql.connect(host=server.host, port=server.port, user="app", password="app", database="test")
    ) as connection:
        cursor = connection.cursor()
        for name in sorted(statements._FUNCTIONS):
            for arguments in ("", "a INT", "a INT, b INT", "a INT, b INT, c INT"):
                cursor.execute(f"DROP FUNCTION IF EXISTS `{name}`")
                cursor.execute(f"CREATE FUNCTION `{name}` ({arguments}) {OURS}")
                values = ", ".join("1" for _ in arguments.split(",") if arguments)
                cursor.execute(f"SELECT test.`{name}`({values})")
                assert cursor.fetchall() == (("our own",),), "the test can tell"
                try:
                    cursor.execute(f"SELECT {name}({values})")
                except pymysql.err.MySQLError:
                    continue  # the server's own takes other arguments
                assert cursor.fetchall() != (("our own",),), f"{name}() may be a function of the site's own"
            cursor.execute(f"DROP FUNCTION IF EXISTS `{name}`")
        for name in sorted(statements._KEYWORDS):
            with pytest.raises(pymysql.err.ProgrammingError, match="syntax"):
                cursor.execute(f"CREATE FUNCTION {name} () {OURS}")


def test_no_name_on_the_list_means_a_function_of_the_sites_own() -> None:
    with Server() as server:
        calls_its_own_functions_by_the_names_on_the_lists(server)


@pytest.mark.mysql
def test_the_same_on_mysql(mysql_server: Server) -> None:
    mysql_server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    calls_its_own_functions_by_the_names_on_the_lists(mysql_server)
