"""Which statements may commit, judged by the text alone, and whether servers agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.statements import may_commit


@pytest.mark.parametrize(
    "statement",
    """
    SELECT 1
    select * from t for update
      (SELECT 1) UNION (SELECT 2)
    /* a comment */ SELECT 1
    -- a comment\\n UPDATE t SET a = 1
    # a comment\\n UPDATE t SET a = 1
    INSERT INTO t VALUES (%s)
    INSERT INTO t VALUES (%s);
    REPLACE INTO t VALUES (1)
    DELETE FROM t
    WITH x AS (SELECT 1) SELECT * FROM x
    LOAD DATA LOCAL INFILE 'x' INTO TABLE t
    SET SESSION lock_wait_timeout = 1
    SET @a = 1
    SAVEPOINT sa_savepoint_1
    ROLLBACK TO SAVEPOINT sa_savepoint_1
    RELEASE SAVEPOINT sa_savepoint_1
    CREATE TEMPORARY TABLE t (a INT)
    DROP TEMPORARY TABLE t
    SHOW TABLES
    """.strip().splitlines(),
)
def test_statements_that_do_not_commit(statement: str) -> None:
    assert not may_commit(statement.replace("\\n", "\n"))


@pytest.mark.parametrize(
    "statement",
    """
    COMMIT
    commit
    /* a comment */ COMMIT
    /*! COMMIT */
    /*M! COMMIT */
    BEGIN
    START TRANSACTION
    ALTER TABLE t ADD b INT
    CREATE TABLE t (a INT)
    DROP TABLE t
    TRUNCATE t
    RENAME TABLE t TO u
    LOCK TABLES t WRITE
    UNLOCK TABLES
    GRANT SELECT ON *.* TO x
    CALL p()
    SET autocommit = 1
    SET @@session.AUTOCOMMIT = 1
    SET PASSWORD = 'x'
    SELECT 1; COMMIT
    XA COMMIT 'x'
    OPTIMIZE TABLE t
    EXECUTE s

    ;
    """.strip("\n").splitlines(),
)
def test_statements_that_may(statement: str) -> None:
    assert may_commit(statement)


@given(st.text())
def test_any_text_has_an_answer(statement: str) -> None:
    assert may_commit(statement) in (True, False)
