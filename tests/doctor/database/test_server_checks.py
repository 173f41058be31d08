"""The server, its settings and the database's tables: each check finds it."""

from __future__ import annotations

import pymysql
import pytest

from sqlalchemy_holdfast.doctor import Hosting, Severity
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.doctor.database.examining import (
    account,
    database,
    examine,
    facts_of,
    found,
    held_url,
    look_at,
    set_global,
    silent,
)

pytestmark = pytest.mark.slow

COMMITS = "CREATE TABLE holdfast_commits (token BINARY(16) PRIMARY KEY, created DATETIME NOT NULL, KEY (created))"


def test_what_can_be_set_at_the_start_alone(ailing: Server) -> None:
    report = examine(held_url(ailing))
    found("HF509", report)
    found("HF514", report, "innodb_flush_log_at_trx_commit is 2")


def test_a_version_without_support(patient: Server) -> None:
    with Server(options={"version": "10.5.29-MariaDB"}) as old:
        found("HF501", examine(held_url(old)), "MariaDB 10.5.29 was supported until 24 June 2025")
    seen = facts_of(held_url(patient))
    found("HF501", look_at(seen, flavour="MySQL", version="5.7.44-log"), "31 October 2023")
    silent("HF501", look_at(seen, flavour="MySQL", version="8.4.9"))
    silent("HF501", look_at(seen, flavour="MySQL", version="99.1.0"))  # newer than the table


def test_a_small_packet(patient: Server) -> None:
    with set_global(patient, max_allowed_packet=1024 * 1024):
        found("HF502", examine(held_url(patient)), "1024 KiB")


def test_a_long_wait_for_locks(patient: Server) -> None:
    found("HF503", examine(held_url(patient), hosting=Hosting(web_timeout=30)), "50 s, and a request may last 30 s")
    silent("HF503", examine(held_url(patient), hosting=Hosting(web_timeout=60)))
    with set_global(patient, innodb_lock_wait_timeout=200):
        found("HF503", examine(held_url(patient)), "200 s")


def test_a_server_that_takes_no_writes(patient: Server) -> None:
    with set_global(patient, read_only=1):
        finding = found("HF504", examine(held_url(patient)), "read_only is on")
        assert "SET GLOBAL read_only=OFF" in finding.cure


def test_tables_without_transactions(patient: Server) -> None:
    with database(
        patient, "CREATE TABLE visits (id INT) ENGINE=MyISAM", "CREATE TABLE page (id INT) ENGINE=InnoDB"
    ) as url:
        found("HF505", examine(url), "1 of 2 tables: visits (MyISAM)")


@pytest.mark.mysql
def test_tables_without_a_primary_key_in_a_cluster(mysql: Server) -> None:
    with database(mysql, "CREATE TABLE rows_ (id INT)", "CREATE TABLE keyed (id INT PRIMARY KEY)") as url:
        silent("HF506", examine(url))
        mysql.execute("INSTALL PLUGIN group_replication SONAME 'group_replication.so'")
        try:
            mysql.execute("SET GLOBAL group_replication_group_name = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'")
            found("HF506", examine(url), "1 table: rows_")
        finally:
            mysql.execute("UNINSTALL PLUGIN group_replication")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"{COMMITS} ENGINE=MyISAM", "MyISAM, which has no transactions"),
        ("CREATE TABLE holdfast_commits (token BINARY(16) PRIMARY KEY)", "no column created"),
        ("CREATE TABLE holdfast_commits (id INT)", "no column token and no column created"),
        (COMMITS.replace("BINARY(16)", "BINARY(8)"), "token is binary(8), not binary(16)"),
        (COMMITS.replace(" PRIMARY KEY", ""), "not its primary key"),
        (COMMITS.replace(", KEY (created)", ""), "created has no index"),
    ],
)
def test_a_table_of_commits_that_is_not_as_it_must_be(patient: Server, statement: str, words: str) -> None:
    with database(patient, statement) as url:
        found("HF507", examine(url), words)


def test_a_table_of_commits_that_is_not_pruned(patient: Server) -> None:
    with database(patient, COMMITS) as url:
        silent("HF507", examine(url))
        silent("HF508", examine(url))
        old = "INSERT INTO holdfast_commits VALUES (REPEAT('a', 16), UTC_TIMESTAMP() - INTERVAL 30 DAY)"
        patient.execute(old, database="examined")
        found("HF508", examine(url), "30 days old")


def test_a_server_that_was_started_just_now(ailing: Server) -> None:
    ailing.restart()
    report = examine(held_url(ailing))
    found("HF510", report)
    seen = facts_of(held_url(ailing))
    assert seen.server is not None
    silent("HF510", look_at(seen, status={**(seen.server.status or {}), "Uptime": "600"}))


@pytest.mark.parametrize(("ahead", "words"), [("+", "3600 s ahead"), ("-", "3600 s behind")])
def test_clocks_that_differ(patient: Server, ahead: str, words: str) -> None:
    with set_global(patient, init_connect=f"SET timestamp = UNIX_TIMESTAMP() {ahead} 3600"):
        assert words.split()[-1] in found("HF511", examine(held_url(patient))).evidence


def test_a_server_that_is_far_away(patient: Server) -> None:
    with Proxy.for_server(patient) as proxy:
        proxy.delay = 0.03
        found("HF512", examine(held_url(patient, port=proxy.port)), "The quickest answer took", severity=Severity.NOTE)
        proxy.delay = 0


def test_a_node_that_has_lost_its_cluster(mariadb: Server) -> None:
    """What a Galera node says then (MariaDB 10.11, Galera 4), in the place of what this server says."""
    seen = facts_of(held_url(mariadb))
    assert seen.server is not None
    session = {**(seen.server.session or {}), "wsrep_on": "ON"}
    lost = {**(seen.server.status or {}), "wsrep_cluster_status": "non-Primary", "wsrep_ready": "OFF"}
    found("HF513", look_at(seen, session=session, status=lost, clustered=True), "non-Primary", "wsrep_ready is OFF")
    sound = {**lost, "wsrep_cluster_status": "Primary", "wsrep_ready": "ON"}
    silent("HF513", look_at(seen, session=session, status=sound, clustered=True))


def test_connections_that_end_without_a_goodbye(crowded: Server) -> None:
    with account(crowded) as url:
        silent("HF515", examine(url))
        for _ in range(25):
            connection = pymysql.connect(host=crowded.host, port=crowded.port, user="patient", password="s3cret-Pw")
            connection._force_close()  # type: ignore[attr-defined]
        crowded.execute("DO SLEEP(0.2)")
        found("HF515", examine(url), "25 of ")
