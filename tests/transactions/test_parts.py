"""The parts that need no server: which statements may commit, the pauses, what an attempt says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.transactions import Attempt, Commit, Reason
from holdfast.transactions.attempts import Pace
from holdfast.transactions.statements import may_commit


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


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@given(st.floats(0, 1), st.floats(0.01, 100))
def test_pauses_grow_have_a_limit_and_end_with_the_deadline(jitter: float, deadline: float) -> None:
    clock = Clock()
    pace = Pace(deadline, clock=clock, sleep=clock.sleep, jitter=lambda: jitter)
    number = 0
    while pace.pause(number + 1) and number < 200:
        number += 1
    assert clock.now <= 100 + deadline + 1e-6
    slept = 0.0
    for index, seconds in enumerate(clock.slept):
        wanted = jitter * min(Pace.LONGEST, Pace.FIRST * 2**index)
        assert seconds == pytest.approx(min(wanted, deadline - slept), abs=1e-9)
        slept += seconds


def test_a_pace_whose_time_is_up_does_not_sleep() -> None:
    clock = Clock()
    pace = Pace(1, clock=clock, sleep=clock.sleep, jitter=lambda: 1)
    clock.now += 2
    assert not pace.pause(1)
    assert clock.slept == []
    assert pace.grace(3).left() == 3


def test_an_attempt_says_what_happened() -> None:
    attempt = Attempt(2, 0.5, 0.25, ValueError("words"), Reason.DEADLOCK, Commit.NOT_SENT)
    assert str(attempt) == "attempt 2, after 0.50 s and for 0.25 s: deadlock, COMMIT not sent: words"
