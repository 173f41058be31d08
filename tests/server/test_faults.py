"""What one error means, judged by number, class and text: also errors of a cluster, or of another build of a driver."""

from __future__ import annotations

import mysql.connector.errors
import pymysql.err
import pytest

from sqlalchemy_holdfast.server import faults
from sqlalchemy_holdfast.server.error_table import ErrorRule, Refusal
from sqlalchemy_holdfast.server.reasons import Reason
from tests.server.error_cases import WSREP, row, rule_of


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
