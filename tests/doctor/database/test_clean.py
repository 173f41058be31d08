"""Servers that are in order: no check finds anything. And what an examination costs, and what it needs."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import Engine as AnyEngine

from sqlalchemy_holdfast.doctor import Hosting, Report
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.transactions import create_commit_table
from tests._long import LONG
from tests.conftest import DRIVERS, eventually
from tests.doctor.database.examining import IDS, OURS, examine, found, held_url, silent
from tests.examples.running import EXAMPLES, environment, run

pytestmark = pytest.mark.slow

Make = Callable[..., Engine]

HOSTING = Hosting(processes=2, threads=4, web_timeout=60)
SLOW_HERE = {"HF114", "HF512", "HF511"}
"""What the load of the machine that runs the tests can bring about. It is given three chances."""
OTHER_DRIVERS_TOO = pytest.mark.parametrize("driver", DRIVERS if LONG else ["pymysql"])
"""Where what is sent and found is the same with each driver; the first test has them all, always."""
YOUNG = {"HF510"}
"""A test's server was started just now."""


def ids_found(report: Report) -> set[str]:
    return {finding.id for finding in report.findings} - YOUNG


def assert_clean(report_of: Callable[[], Report], *, unseen_allowed: frozenset[str] = frozenset()) -> Report:
    for _ in range(3):
        report = report_of()
        if not ids_found(report) & SLOW_HERE:
            break
    assert ids_found(report) == set(), report.findings
    not_run = {skipped.check.id: skipped.reason for skipped in report.skipped if skipped.check.group in OURS}
    assert not_run == {}, "each check was able to look"
    assert {check.id for check in report.checks} >= set(IDS)
    assert report.unseen == ()
    return report


def test_a_clean_server_has_no_findings(patient: Server, driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = held_url(patient, driver)
    report = assert_clean(lambda: examine(url, hosting=HOSTING, only=OURS))
    with capsys.disabled():
        print(
            f"\n{report.server} with {driver}: {report.statements} statements, {report.seconds:.3f} s, "
            f"connecting {report.connect_seconds:.3f} s"
        )
    assert 10 < report.statements <= 25
    assert report.seconds < 2


@OTHER_DRIVERS_TOO
def test_an_engine_on_a_clean_server_has_no_findings(patient: Server, driver: str, held: Make) -> None:
    engine = held(patient.url(driver))
    create_commit_table(engine)
    engine.dispose()
    try:

        def fresh() -> Report:
            engine.dispose()
            return examine(engine, hosting=HOSTING, only=OURS)

        report = assert_clean(fresh)
        assert report.statements <= 25
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        again = examine(engine, hosting=HOSTING, only=OURS)
        assert again.connect_seconds is None, "the pool had a connection"
        assert again.statements <= 20
    finally:
        patient.execute("DROP TABLE holdfast_commits", database="test")


@OTHER_DRIVERS_TOO
def test_everything_that_is_asked_reads_and_nothing_is_left_behind(patient: Server, driver: str) -> None:
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    before = patient.execute("SHOW TABLES", database="test"), len(patient.processlist(user="app"))
    event.listen(AnyEngine, "before_cursor_execute", note)
    try:
        examine(held_url(patient, driver))
    finally:
        event.remove(AnyEngine, "before_cursor_execute", note)
    assert len(sent) > 8
    for statement in sent:
        assert re.match(r"(SELECT|SHOW|SET STATEMENT max_statement_time=[\d.]+ FOR SELECT) ", statement), statement
    assert patient.execute("SHOW TABLES", database="test") == before[0]
    eventually(lambda: len(patient.processlist(user="app")) == before[1])  # its connection is closed


def test_an_account_that_may_only_select_in_its_own_database(patient: Server) -> None:
    patient.execute("CREATE USER reader@'%' IDENTIFIED BY 'r3ad-Only'")
    try:
        patient.execute("GRANT SELECT ON test.* TO reader@'%'")
        url = held_url(patient, user="reader", password="r3ad-Only", query={"ssl_ca": patient.tls_ca})
        report = assert_clean(lambda: examine(url, hosting=HOSTING, only=OURS))
        assert report.statements <= 25
        patient.execute("CREATE TABLE visits (id INT) ENGINE=MyISAM", database="test")
        patient.execute("ALTER USER reader WITH MAX_QUERIES_PER_HOUR 9000")
        report = examine(url)
        found("HF505", report, "visits (MyISAM)")
        found("HF209", report, "MAX_QUERIES_PER_HOUR 9000")
    finally:
        patient.execute("DROP TABLE IF EXISTS visits", database="test")
        patient.execute("DROP USER reader@'%'")


def test_what_the_server_does_not_answer_makes_its_checks_silent(patient: Server) -> None:
    """No database in the URL: nothing is known of tables, and nothing is said of them."""
    report = examine(held_url(patient, database=""))
    skipped = {skipped.check.id: skipped.reason for skipped in report.skipped}
    assert skipped["HF505"] == "not seen: the tables"
    silent("HF401", report)


def test_the_time_is_kept_on_a_server_that_is_slow(mariadb: Server) -> None:
    """After two seconds no further question is sent, and the report says which were not."""
    with Proxy.for_server(mariadb) as proxy:
        proxy.delay = 0.2
        report = examine(held_url(mariadb, port=proxy.port))
        proxy.delay = 0
    assert report.statements <= 25
    assert any("no time left" in line for line in report.unseen), report.unseen
    found("HF512", report)
    assert report.seconds < 2 + 10 * 0.2


def test_every_check_of_a_database_has_a_lab_in_which_it_finds_something() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(IDS) - set(re.findall(r'found\(\s*"(HF\d+)"', texts)) == set()


def test_the_guestbooks_database_has_no_findings(mariadb: Server, tmp_path: Path) -> None:
    """As its reader makes it: the example's migrations, on a server that is in order."""
    pytest.importorskip("flask_migrate")
    ignored = shutil.ignore_patterns("instance", ".venv", "__pycache__")
    folder = Path(shutil.copytree(EXAMPLES / "guestbook", tmp_path / "guestbook", ignore=ignored))
    mariadb.create_database("guestbook")
    url = held_url(mariadb, database="guestbook")
    address = url.render_as_string(hide_password=False)
    run([sys.executable, "-m", "flask", "--app", "guestbook", "db", "upgrade"], folder, environment(address))
    report = assert_clean(lambda: examine(url, hosting=HOSTING, only=OURS))
    assert report.statements <= 25
    assert ("entry",) in mariadb.execute("SHOW TABLES", database="guestbook")
