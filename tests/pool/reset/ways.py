"""Ways to change a session, and what can be seen of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast.lab import Server

Seen = dict[str, Any]
"""What a unit of work sees of the session it was given."""

OF_THE_MOMENT = re.compile(
    "gtid.*|last_gtid|pseudo_thread_id|rand_seed.|identity|error_count|warning_count|in_transaction|statement_id"
    "|innodb_.*status.*|timestamp"
)
_BOTH = (
    "autocommit character_set_client character_set_connection character_set_results collation_connection "
    "foreign_key_checks group_concat_max_len innodb_lock_wait_timeout insert_id lc_time_names optimizer_switch "
    "session_track_state_change sql_mode sql_safe_updates sql_select_limit time_zone unique_checks wait_timeout "
)
_VARIABLES = _BOTH + "max_statement_time tx_isolation tx_read_only"
_VARIABLES_OF_MYSQL = _BOTH + "max_execution_time transaction_isolation transaction_read_only"
_ASKED = {
    "user variables": "SELECT @a, @b",
    "temporary table": "SELECT COUNT(*) FROM only_mine",
    "database": "SELECT DATABASE()",
    "role": "SELECT CURRENT_ROLE()",
    "lock": "SELECT IS_USED_LOCK('mine') = CONNECTION_ID()",
    "prepared": "EXECUTE mine",
    "handler": "HANDLER opened READ FIRST",
    "tables": "SELECT COUNT(*) FROM test.other",
    "last id": "SELECT LAST_INSERT_ID()",
    "clock": "SELECT NOW() < '2001-01-01'",
}


def prepare(server: Server) -> None:
    """Give a server what the ways need."""
    for statement in (
        "CREATE TABLE IF NOT EXISTS test.kept (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40))",
        "CREATE TABLE IF NOT EXISTS test.other (id INT PRIMARY KEY)",
        "DELETE FROM test.kept",
        "INSERT INTO test.kept VALUES (1, 'one')",
        "DROP PROCEDURE IF EXISTS test.changes",
        "CREATE PROCEDURE test.changes() SET @a = 1, SESSION sql_mode = ''",
        "DROP FUNCTION IF EXISTS test.changing",
        "CREATE FUNCTION test.changing() RETURNS INT NO SQL BEGIN SET @a = 1; RETURN 1; END",
        "CREATE ROLE IF NOT EXISTS guest",
        "GRANT guest TO app",
        "CREATE DATABASE IF NOT EXISTS elsewhere",
        "GRANT ALL ON elsewhere.* TO app",
    ):
        server.execute(statement)


def look(connection: Connection, *, at_all: bool = False) -> Seen:
    """Return what a unit of work can see of its session.

    :param at_all: all of its variables, and not only those that the ways change.
    """
    if at_all:
        variables = connection.exec_driver_sql("SHOW SESSION VARIABLES").all()
        seen: Seen = {str(name): str(value) for name, value in variables if not OF_THE_MOMENT.fullmatch(str(name))}
    else:
        own = _VARIABLES if connection.dialect.is_mariadb else _VARIABLES_OF_MYSQL  # type: ignore[attr-defined]
        names = own.split()
        row = connection.exec_driver_sql("SELECT @@" + ", @@".join(names)).one()
        seen = dict(zip(names, map(str, row), strict=True))
    for name, statement in _ASKED.items():
        seen[name] = _answer(connection, statement)
    seen["may write"] = _answer(connection, "REPLACE INTO test.kept (id) VALUES (77)")
    connection.rollback()
    return seen


def _answer(connection: Connection, statement: str) -> Any:
    try:
        result = connection.exec_driver_sql(statement)
        return str(result.all()) if result.returns_rows else "done"
    except DBAPIError as error:
        return getattr(error.orig, "errno", None) or (error.orig.args[0] if error.orig else None)


@dataclass(frozen=True)
class Way:
    """One way to change a session."""

    name: str
    change: Callable[[Connection], object]
    on: str = ""
    """The one kind of server that has it."""


def _by(*statements: str, on: str = "") -> Way:
    def change(connection: Connection) -> None:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            if result.returns_rows:
                result.all()

    return Way("; ".join(statements), change, on)


def _raw(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _switch_autocommit(connection: Connection) -> None:
    raw = _raw(connection)
    if callable(raw.autocommit):
        raw.autocommit(True)
    else:
        raw.autocommit = True


def _select_database(connection: Connection) -> None:
    raw = _raw(connection)
    if hasattr(raw, "select_db"):
        raw.select_db("elsewhere")
    else:
        raw.cmd_init_db("elsewhere")


def _set_character_set(connection: Connection) -> None:
    raw = _raw(connection)
    if hasattr(raw, "set_character_set"):
        raw.set_character_set("latin1")
    else:
        raw.set_charset_collation("latin1")


def _leave_level(connection: Connection) -> None:
    connection.engine.dialect.set_isolation_level(_raw(connection), "READ UNCOMMITTED")


def _commit_and_change(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO test.kept (v) VALUES (test.changing())")
    connection.commit()
    connection.exec_driver_sql("DELETE FROM test.kept WHERE v = '1'")
    connection.commit()


WAYS: tuple[Way, ...] = (
    _by("SET @a = 1"),
    _by("SELECT @a := 1"),
    _by("SELECT 1 INTO @a"),
    _by("SELECT id FROM kept LIMIT 1 INTO @a"),
    _by("/*!50000 SET @a = 1 */"),
    _by("CREATE TEMPORARY TABLE only_mine (id INT)"),
    _by("SET SESSION sql_mode = ''"),
    _by("SET @@sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')"),
    _by("SET foreign_key_checks = 0"),
    _by("SET unique_checks = 0"),
    _by("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    _by("SET SESSION TRANSACTION READ ONLY"),
    _by("SELECT GET_LOCK('mine', 0)"),
    _by("DO GET_LOCK('mine', 0)"),
    _by("PREPARE mine FROM 'SELECT 1'"),
    _by("USE elsewhere"),
    _by("SET ROLE guest"),
    _by("SET time_zone = '+05:00'"),
    _by("SET NAMES latin1"),
    _by("SET NAMES utf8mb4 COLLATE utf8mb4_bin"),
    _by("SET CHARACTER SET latin1"),
    _by("SET collation_connection = utf8mb4_bin"),
    _by("LOCK TABLES kept READ"),
    _by("HANDLER kept OPEN AS opened"),
    _by("SET autocommit = 1"),
    _by("SELECT LAST_INSERT_ID(42)"),
    _by("INSERT INTO kept (id, v) VALUES (1, 'x') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)"),
    _by("SET insert_id = 77"),
    _by("SET timestamp = 1"),
    _by("SET innodb_lock_wait_timeout = 1"),
    _by("SET wait_timeout = 100"),
    _by("SET max_statement_time = 3", on="mariadb"),
    _by("SET max_execution_time = 3000", on="mysql"),
    _by("SET sql_safe_updates = 1"),
    _by("SET sql_select_limit = 1"),
    _by("SET lc_time_names = 'de_DE'"),
    _by("SET group_concat_max_len = 8"),
    _by("SET optimizer_switch = 'index_merge=off'"),
    _by("SET session_track_state_change = ON"),
    _by("CALL changes()"),
    _by("SELECT changing()"),
    _by("UPDATE kept SET v = `changing`()"),
    Way("a function called by a write that is committed", _commit_and_change),
    Way("the driver's autocommit", _switch_autocommit),
    Way("the driver's way to select a database", _select_database),
    Way("the driver's way to set the character set", _set_character_set),
    Way("an isolation level that is not put back", _leave_level),
)


def of(flavour: str) -> tuple[Way, ...]:
    """Return the ways that a kind of server has."""
    return tuple(way for way in WAYS if way.on in ("", flavour))
