"""Which statements may commit, judged by the text alone.

The lists are those of "Statements That Cause an Implicit Commit" in the manuals of MySQL 9 and MariaDB 12, and what was
found besides. ``test_statements_commit_on_servers.py`` has the servers' word on them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlalchemy_holdfast.server.statements import may_commit

DO_NOT = r"""
SELECT 1
select * from guests for update
  (SELECT 1) UNION (SELECT 2)
((SELECT 1))
/* a comment */ SELECT 1
-- a comment\n UPDATE guests SET n = 1
--\n UPDATE guests SET n = 1
# a comment\n UPDATE guests SET n = 1
/* a */ /**/ -- b\n # c\n /* ; COMMIT */ SELECT 1
SELECT /*+ MAX_EXECUTION_TIME(1000) */ 1
SELECT /*! SQL_NO_CACHE */ 1
INSERT INTO guests VALUES (%s)
INSERT INTO guests VALUES (%s);
INSERT INTO guests VALUES (1, 'x') ; \n;
INSERT INTO guests VALUES (2, 'a; b; COMMIT')
INSERT INTO guests VALUES (3, 'it''s; so'), (4, "a; b") /* ; */ -- ;
INSERT INTO guests (`n`, name) VALUES (5, 'a -- b; # c; /* d; ')
REPLACE INTO guests VALUES (1, 'x')
UPDATE guests SET name = 'x'
DELETE FROM guests
WITH x AS (SELECT 1) SELECT * FROM x
WITH x AS (SELECT 1 AS n) DELETE FROM guests WHERE n IN (SELECT n FROM x)
TABLE guests
VALUES ROW(1)
VALUES (1)
DO 1
DO RELEASE_LOCK('x')
LOAD DATA LOCAL INFILE 'x' INTO TABLE guests
LOAD DATA INFILE '/nowhere' INTO TABLE guests
LOAD XML INFILE '/nowhere' INTO TABLE guests
SET SESSION lock_wait_timeout = 1
SET @@session.lock_wait_timeout = 1
SET LOCAL sql_mode = ''
SET @a = 1
SET @a := 'x; y'
SET NAMES utf8mb4
SET CHARACTER SET utf8mb4
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
SET max_statement_time = 1
SAVEPOINT sa_savepoint_1
ROLLBACK TO SAVEPOINT sa_savepoint_1
RELEASE SAVEPOINT sa_savepoint_1
ROLLBACK
CREATE TEMPORARY TABLE mine (n INT)
create /* */ temporary -- \n table mine_too (n INT) SELECT 1 AS n
DROP TEMPORARY TABLE mine
DROP TEMPORARY TABLE IF EXISTS mine
SHOW TABLES
SHOW CREATE TABLE guests
SHOW WARNINGS
SHOW ENGINE INNODB STATUS
EXPLAIN SELECT 1
EXPLAIN UPDATE guests SET n = 1
DESCRIBE guests
DESC guests
USE test
HANDLER guests OPEN
HANDLER guests CLOSE
KILL QUERY 999999
SIGNAL SQLSTATE '45000'
"""
COMMIT = r"""
COMMIT
commit
Commit Work
COMMIT AND CHAIN
BEGIN
BEGIN WORK
START TRANSACTION
START TRANSACTION READ ONLY
ALTER DATABASE test CHARACTER SET utf8mb4
ALTER EVENT nothing COMMENT 'x'
ALTER FUNCTION nothing COMMENT 'x'
ALTER PROCEDURE nothing COMMENT 'x'
ALTER SERVER nothing OPTIONS (HOST 'x')
ALTER TABLE other ADD m INT
ALTER TABLE nothing ADD m INT
ALTER VIEW nothing AS SELECT 1
ALTER USER somebody@'%' ACCOUNT UNLOCK
ANALYZE TABLE other
CHECK TABLE other
CREATE DATABASE one_more
CREATE EVENT one_more ON SCHEDULE EVERY 1 DAY DO SELECT 1
CREATE FUNCTION one_more() RETURNS INT DETERMINISTIC RETURN 1
CREATE INDEX one_more ON other (n)
CREATE PROCEDURE one_more() SELECT 1
CREATE ROLE one_more
CREATE SERVER one_more FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')
CREATE TABLE one_more (n INT)
CREATE TABLE IF NOT EXISTS one_more (n INT)
CREATE TABLE one_more_still SELECT 1 AS n
CREATE TRIGGER one_more BEFORE INSERT ON other FOR EACH ROW SET @a = 1
CREATE USER one_more@'%'
CREATE VIEW a_view AS SELECT 1
CREATE /* TEMPORARY */ TABLE another (n INT)
CREATE /*!999999 TEMPORARY */ TABLE yet_another (n INT)
DROP DATABASE IF EXISTS nothing
DROP EVENT IF EXISTS nothing
DROP FUNCTION IF EXISTS nothing
DROP INDEX one_more ON other
DROP PROCEDURE IF EXISTS nothing
DROP ROLE IF EXISTS nothing
DROP SERVER IF EXISTS nothing
DROP TABLE IF EXISTS nothing
DROP TRIGGER IF EXISTS nothing
DROP USER IF EXISTS nothing@'%'
DROP VIEW IF EXISTS nothing
FLUSH STATUS
FLUSH PRIVILEGES
FLUSH TABLES
GRANT SELECT ON *.* TO somebody@'%'
INSTALL PLUGIN nothing SONAME 'nothing.so'
LOCK TABLES other READ
LOCK TABLES other WRITE
OPTIMIZE TABLE other
RENAME TABLE other TO another_one, another_one TO other
RENAME USER somebody@'%' TO anybody@'%', anybody@'%' TO somebody@'%'
REPAIR TABLE other
REVOKE SELECT ON *.* FROM somebody@'%'
SET PASSWORD FOR somebody@'%' = ''
TRUNCATE TABLE other
TRUNCATE other
UNINSTALL PLUGIN nothing
CALL commits()
call/**/commits ( )
SET autocommit = 1
set AutoCommit=ON
SET @@autocommit = 1
SET @@session.AUTOCOMMIT = 1
SET @@local . autocommit := 1
SET SESSION autocommit = 1
SET LOCAL autocommit = TRUE
SET @a = 1, autocommit = 1
SET NAMES utf8mb4, @@session.autocommit = 1
SET `autocommit` = 1
SET @@session.`autocommit` = 1
SET/**/autocommit/**/=/**/1
SET\nautocommit\x0b=\x0c1
SET @a = ';', autocommit = DEFAULT
SELECT 1; COMMIT
SELECT 1;COMMIT
SELECT ';'; COMMIT; SELECT ';'
(SELECT 1); COMMIT
SELECT 1 /* ' */; COMMIT /* ' */
SELECT 1 -- '\n; COMMIT -- '
SELECT 1 # '\n; COMMIT # '
SELECT '\\\\'; COMMIT; SELECT '\\\\'
SELECT "'"; COMMIT; SELECT "'"
SELECT 1 AS `'`; COMMIT; SELECT 1 AS `'`
SELECT 1 AS `\\`; COMMIT; SELECT 1 AS `\\`
SAVEPOINT a; COMMIT
PREPARE a FROM 'COMMIT'; EXECUTE a
/* a comment */ COMMIT
/**/COMMIT
/* /* */ COMMIT
-- a comment\nCOMMIT
--\tno\nCOMMIT
# a comment\r\nCOMMIT
/*+ no hint here */ COMMIT
/*! COMMIT */
/*!50000 COMMIT */
/*! CREATE */ TABLE of_a_comment (n INT)
 \n\t\f\x0bCOMMIT
"""
ONE_HAS = r"""
ALTER SEQUENCE numbers RESTART
BACKUP STAGE START
BEGIN NOT ATOMIC COMMIT; END
CASE 1 WHEN 1 THEN COMMIT; END CASE
CREATE OR REPLACE TABLE one_more_of (n INT)
CREATE SEQUENCE more_numbers
CREATE TEMPORARY SEQUENCE my_numbers
DROP SEQUENCE IF EXISTS nothing
EXECUTE IMMEDIATE 'COMMIT'
FOR i IN 1..1 DO COMMIT; END FOR
IF 1 THEN COMMIT; END IF
INSTALL SONAME 'nothing'
REPEAT COMMIT; UNTIL 1 END REPEAT
RESET QUERY CACHE
RESET MASTER
SET STATEMENT max_statement_time = 10 FOR COMMIT
SET STATEMENT max_statement_time = 10 FOR CALL commits()
SET STATEMENT max_statement_time = 10 FOR CREATE TABLE of_a_statement (n INT)
SET STATEMENT max_statement_time = 10 FOR TRUNCATE other
ALTER INSTANCE RELOAD TLS
CREATE SPATIAL REFERENCE SYSTEM 9999999 NAME 'x' DEFINITION 'GEOGCS["x"]'
CREATE TABLESPACE one_more ADD DATAFILE 'one_more.ibd'
CREATE RESOURCE GROUP one_more TYPE = USER
IMPORT TABLE FROM '/nowhere'
INSTALL COMPONENT 'file://nothing'
RESET BINARY LOGS AND GTIDS
RESET REPLICA
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'x'
CHANGE REPLICATION FILTER REPLICATE_DO_DB = ()
SET DEFAULT ROLE NONE TO somebody@'%'
"""
MAY = r"""
/*M! COMMIT */
/*M!100000 COMMIT */
ANALYZE UPDATE guests SET n = 1
BINLOG 'x'
CACHE INDEX other IN nothing
CHANGE MASTER TO MASTER_HOST = 'x'
CHECKSUM TABLE guests
CLONE LOCAL DATA DIRECTORY '/nowhere'
CREATE OR REPLACE TEMPORARY TABLE mine (n INT)
DEALLOCATE PREPARE a
DECLARE a INT
EXECUTE a
GET DIAGNOSTICS @a = NUMBER
HELP 'SELECT'
KILL 1; COMMIT
LOAD INDEX INTO CACHE guests
LOAD /*! INDEX INTO CACHE guests */ DATA
PREPARE a FROM 'SELECT 1'
PURGE BINARY LOGS BEFORE '2000-01-01'
RESET PERSIST
RESIGNAL
RESTART
SET completion_type = 1
SET @@completion_type = 'CHAIN'
SET GLOBAL max_connections = 10
SET @@GLOBAL.autocommit = 1
SET PERSIST max_connections = 10
SET PASSWORD = 'x'
SET RESOURCE GROUP x
SET ROLE NONE
SET STATEMENT max_statement_time = 10 FOR SELECT 1
SET \u00e1utocommit = 1
SET `autocomm\u0131t` = 1
SHUTDOWN
START GROUP_REPLICATION
START REPLICA
STOP REPLICA
START SLAVE
STOP SLAVE
UNLOCK TABLES
XA START 'x'
XA END 'x'
XA PREPARE 'x'
XA COMMIT 'x'
XA COMMIT 'x' ONE PHASE
XA RECOVER
label: BEGIN NOT ATOMIC COMMIT; END
{call commits()}
(COMMIT)
'SELECT' 1
`SELECT` 1
1
SELECTED
SELECTé 1
\xa0SELECT 1
\x1cSELECT 1
\0SELECT 1
/*!999999 x */ SELECT 1
/* unended SELECT 1
;
; SELECT 1
;;SELECT 1
SELECT 'unended; COMMIT
SELECT 1 /*! ; */
SELECT 1 --\x01'\n; SELECT '
SELECT 1 --\xa0'\n; SELECT '
SELECT `a\0; COMMIT; SELECT 1 AS `a`
SELECT /*+ QB_NAME("*/ ' ") */ 1; COMMIT -- '
"""


def lines(text: str) -> list[str]:
    return [
        line.replace("\\\\", "\1")
        .replace("\\'", "\2")
        .encode("latin-1", "backslashreplace")
        .decode("unicode_escape")
        .replace("\1", "\\")
        .replace("\2", "\\'")
        for line in text.strip("\n").split("\n")
    ]


@pytest.mark.parametrize("statement", lines(DO_NOT))
def test_statements_that_do_not_commit(statement: str) -> None:
    assert not may_commit(statement)
    assert not may_commit(statement.encode())


@pytest.mark.parametrize("statement", ["", *lines(COMMIT + ONE_HAS.lstrip("\n") + MAY.lstrip("\n"))])
def test_statements_that_may(statement: str) -> None:
    assert may_commit(statement)
    assert may_commit(statement.encode())
    assert may_commit(bytearray(statement.encode()))


@pytest.mark.parametrize(
    ("statement", "with_escapes", "without"),
    [
        ("INSERT INTO t VALUES ('it\\'s; so')", False, True),
        ("INSERT INTO t VALUES ('a\\\\', 'b; c')", False, False),
        ("INSERT INTO t VALUES ('a\\\\; b')", False, False),
        ("INSERT INTO t VALUES ('a\\'); COMMIT; SELECT ('b\\')", False, True),
        ("INSERT INTO t VALUES ('a\\'), ('; b')", True, False),
        ("INSERT INTO t VALUES ('a\\'', '; b', '\\'')", False, True),
        ("SELECT '\\'; COMMIT; SELECT 1", True, True),
        ("SELECT '\\'; COMMIT; SELECT '", False, True),
    ],
)
def test_a_backslash_is_what_the_session_says_and_both_where_it_is_not_known(
    statement: str, with_escapes: bool, without: bool
) -> None:
    for text in (statement, statement.encode()):
        assert may_commit(text, backslash_escapes=True) == with_escapes
        assert may_commit(text, backslash_escapes=False) == without
        assert may_commit(text) == (with_escapes or without)


@settings(deadline=None)
@given(st.text() | st.binary(), st.sampled_from([True, False, None]))
def test_any_text_has_an_answer(statement: str | bytes, backslash_escapes: bool | None) -> None:
    assert may_commit(statement, backslash_escapes=backslash_escapes) in (True, False)


SPACES = st.text(alphabet=" \t\n\r\f\v", min_size=1, max_size=3)
COMMENTS = st.sampled_from(
    ["/**/", "/* x */", "/* ' */", "/*\n*/", "-- x\n", "--\t'\n", "# x\n", "#\n", "/* ; */", "/*/ */"]
)


@settings(deadline=None)
@given(st.lists(SPACES | COMMENTS, max_size=5).map("".join), st.sampled_from(lines(COMMIT)), st.booleans())
def test_nothing_in_front_hides_a_statement_that_commits(front: str, statement: str, capitals: bool) -> None:
    assert may_commit(front + (statement.upper() if capitals else statement))
    assert may_commit("SELECT 'x'" + front + ";" + front + statement)


VALUES = st.text(alphabet=st.sampled_from("a;'\"`\\-#/*\n é日\0")) | st.sampled_from(
    ["; COMMIT; ", "'; COMMIT; '", "\\"]
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_no_value_that_a_driver_escaped_counts_as_a_statement(values: list[str]) -> None:
    escaped = ", ".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
    doubled = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    assert not may_commit(f"INSERT INTO guests VALUES ({escaped})", backslash_escapes=True)
    assert not may_commit(f"INSERT INTO guests VALUES ({doubled})", backslash_escapes=False)
    assert may_commit(f"INSERT INTO guests VALUES ({escaped}); COMMIT", backslash_escapes=True)
    assert may_commit(f"INSERT INTO guests VALUES ({doubled}); COMMIT", backslash_escapes=False)
