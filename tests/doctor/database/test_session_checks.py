"""What a new session is set to: each check finds it, on MariaDB and on MySQL."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from sqlalchemy_holdfast.doctor import Severity
from sqlalchemy_holdfast.lab import Server
from tests.doctor.database.examining import database, examine, found, held_url, set_global, silent

pytestmark = pytest.mark.slow

Held = Callable[..., Engine]


def test_a_sql_mode_that_is_not_strict(patient: Server) -> None:
    with set_global(patient, sql_mode="NO_ENGINE_SUBSTITUTION"):
        found("HF401", examine(held_url(patient)), "'NO_ENGINE_SUBSTITUTION'")


def test_autocommit(patient: Server, held: Held) -> None:
    found("HF402", examine(held(patient.url(), isolation_level="AUTOCOMMIT")), "autocommit is on")


@pytest.mark.parametrize(
    ("level", "severity"), [("READ UNCOMMITTED", Severity.WARNING), ("SERIALIZABLE", Severity.NOTE)]
)
def test_an_unusual_isolation_level(patient: Server, level: str, severity: Severity) -> None:
    patient.execute(f"SET GLOBAL TRANSACTION ISOLATION LEVEL {level}")
    try:
        found("HF403", examine(held_url(patient)), level, severity=severity)
    finally:
        patient.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def test_a_connection_in_latin1(patient: Server) -> None:
    finding = found("HF404", examine(held_url(patient, query={"charset": "latin1"})), "latin1")
    assert finding.cure == "Write charset=utf8mb4 in place of charset=latin1 in the URL."


def test_columns_that_cannot_store_everything(patient: Server) -> None:
    with database(patient, "CREATE TABLE old (id INT, word VARCHAR(9) CHARACTER SET latin1)") as url:
        found("HF405", examine(url), "1 column in latin1, old.word among them")


def test_a_database_whose_tables_cannot_store_everything(patient: Server) -> None:
    with database(patient, "ALTER DATABASE examined CHARACTER SET latin1") as url:
        finding = found("HF405", examine(url), "New tables of examined are made in latin1")
        assert finding.cure.startswith("ALTER DATABASE `examined` CHARACTER SET utf8mb4")


def test_columns_of_two_collations(patient: Server) -> None:
    column = "word VARCHAR(9) CHARACTER SET utf8mb4 COLLATE"
    other = f"other VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, {column} utf8mb4_unicode_ci"
    with database(
        patient, f"CREATE TABLE one (id INT, {column} utf8mb4_general_ci)", f"CREATE TABLE two (id INT, {other})"
    ) as url:
        finding = found("HF406", examine(url), "utf8mb4_general_ci (1 column, such as one.word)", "two.word")
        assert "_bin" not in finding.evidence


def test_a_time_zone(patient: Server) -> None:
    with set_global(patient, time_zone="+05:30"):
        finding = found("HF407", examine(held_url(patient)), "+05:30", "+5.5 h")
        (setting,) = re.findall(r"init_command=\S+ \S+'", finding.cure)
        url = f"{held_url(patient).render_as_string(hide_password=False)}&{setting}"
        silent("HF407", examine(url))  # the cure is one, as it is written


def test_a_statement_that_runs_first(patient: Server) -> None:
    query = {"init_command": "SET @reader = 1"}
    found("HF408", examine(held_url(patient, query=query)), "The URL has init_command")
    with set_global(patient, init_connect="SET @reader = 1"):
        found("HF408", examine(held_url(patient)), "The server has init_connect")


def test_transactions_that_cannot_write(patient: Server) -> None:
    patient.execute("SET GLOBAL TRANSACTION READ ONLY")
    try:
        found("HF409", examine(held_url(patient)))
    finally:
        patient.execute("SET GLOBAL TRANSACTION READ WRITE")


def test_keys_that_are_not_checked(patient: Server) -> None:
    with set_global(patient, foreign_key_checks=0, unique_checks=0):
        found("HF410", examine(held_url(patient)), "foreign_key_checks and unique_checks are off")


def test_statements_that_are_ended(patient: Server) -> None:
    limit = {"max_statement_time": 30} if patient.flavour == "mariadb" else {"max_execution_time": 30_000}
    with set_global(patient, **limit):
        found("HF411", examine(held_url(patient)), "after 30 s")
