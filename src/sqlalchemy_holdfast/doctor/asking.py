"""Asks the server everything in one go: read-only, few statements, little time.

Each question may fail: an account that may only SELECT in its own database sees less, and a middlebox may not know a
question. What is not answered is ``None`` in the facts, and ``unseen`` says why. The questions are SHOW and SELECT, and
none of them needs a right of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from ..server.faults import said
from .server_facts import AccountFacts, CommitsFacts, ServerFacts, SessionFacts, TableFacts

__all__ = (
    "LONGEST",
    "MOST",
    "NOT_TRANSACTIONAL",
    "ask",
)

MOST = 25
"""How many statements are sent at most, those that SQLAlchemy sends on a new connection among them."""
LONGEST = 2.0
"""How many seconds the statements may take together."""
NOT_TRANSACTIONAL = frozenset(
    {"myisam", "aria", "memory", "csv", "archive", "mrg_myisam", "blackhole", "federated", "s3", "columnstore"}
)
"""Storage engines without transactions, in lower case (``information_schema.ENGINES`` of MariaDB 10.11, MySQL 9.7)."""

_SESSION = [
    "autocommit",
    "character_set_client",
    "character_set_connection",
    "character_set_database",
    "collation_connection",
    "collation_database",
    "foreign_key_checks",
    "group_replication_group_name",
    "init_connect",
    "innodb_flush_log_at_trx_commit",
    "innodb_lock_wait_timeout",
    "innodb_read_only",
    "innodb_rollback_on_timeout",
    "interactive_timeout",
    "max_allowed_packet",
    "max_connections",
    "max_execution_time",
    "max_statement_time",
    "max_user_connections",
    "port",
    "read_only",
    "sql_mode",
    "sql_safe_updates",
    "super_read_only",
    "system_time_zone",
    "time_zone",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "unique_checks",
    "version_comment",
    "wait_timeout",
    "wsrep_on",
    "wsrep_provider",
    "default_password_lifetime",
]
_GLOBAL = (
    "autocommit",
    "max_allowed_packet",
    "max_user_connections",
    "sql_mode",
    "time_zone",
    "wait_timeout",
)
_STATUS = [
    "Aborted_clients",
    "Connection_errors_max_connections",
    "Connections",
    "Max_used_connections",
    "Threads_connected",
    "Uptime",
    "wsrep_cluster_size",
    "wsrep_cluster_status",
    "wsrep_ready",
]
_OWN_STATUS = (
    "Questions",
    "Ssl_cipher",
    "Ssl_server_not_after",
    "Ssl_version",
)

_BASICS = (
    "SELECT VERSION(), CONNECTION_ID(), CURRENT_USER(), USER(), DATABASE(), UTC_TIMESTAMP(6), "
    "TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())"
)
_SESSIONS = "ID, USER, HOST, COMMAND, TIME FROM information_schema.PROCESSLIST"
_TABLES = (
    "TABLE_NAME, ENGINE, TABLE_COLLATION FROM information_schema.TABLES "
    "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' LIMIT 1000"
)
_COLUMNS = (
    "COLLATION_NAME, COUNT(*), MIN(CONCAT(TABLE_NAME, '.', COLUMN_NAME)) FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = DATABASE() AND COLLATION_NAME IS NOT NULL GROUP BY COLLATION_NAME"
)
_WITHOUT_KEY = (
    "T.TABLE_NAME FROM information_schema.TABLES T LEFT JOIN information_schema.STATISTICS S "
    "ON S.TABLE_SCHEMA = T.TABLE_SCHEMA AND S.TABLE_NAME = T.TABLE_NAME AND S.INDEX_NAME = 'PRIMARY' "
    "WHERE T.TABLE_SCHEMA = DATABASE() AND T.TABLE_TYPE = 'BASE TABLE' AND S.INDEX_NAME IS NULL LIMIT 1000"
)
_COMMITS = "holdfast_commits"
_COMMITS_COLUMNS = (
    "COLUMN_NAME, COLUMN_TYPE, COLUMN_KEY FROM information_schema.COLUMNS "
    f"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{_COMMITS}'"
)
_COMMITS_AGE = f"TIMESTAMPDIFF(HOUR, MIN(created), UTC_TIMESTAMP()) FROM {_COMMITS}"


class _Questions:
    """Sends questions while there is time, and remembers what was not answered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = time.monotonic()
        self._mariadb = True
        self._lost = False
        self.asked = 0
        self.shortest: float | None = None
        """How long the quickest answer took: a round trip, and little more."""
        self.unseen: list[str] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def is_(self, *, mariadb: bool) -> None:
        self._mariadb = mariadb

    def rows(self, what: str, question: str) -> Sequence[Any] | None:
        """Return the rows of an answer, or note that there is none."""
        left = LONGEST - self.seconds
        if self._lost or left <= 0.05 or self.asked >= MOST:
            self.unseen.append(f"{what}: {'the connection was lost' if self._lost else 'there was no time left'}")
            return None
        self.asked += 1
        began = time.monotonic()
        try:
            found = self._connection.exec_driver_sql(question).all()
        except DBAPIError as error:
            self._lost = error.connection_invalidated
            self.unseen.append(f"{what}: {said(error)}")
        except Exception as error:  # an answer that the driver cannot read
            self.unseen.append(f"{what}: {type(error).__name__}")
        else:
            took = time.monotonic() - began
            self.shortest = took if self.shortest is None else min(self.shortest, took)
            return found
        return None

    def limited(self, what: str, question: str) -> Sequence[Any] | None:
        """The same for a question that may take long in a large database; the server ends it in time."""
        left = max(0.1, (LONGEST - self.seconds) / 2)
        if self._mariadb:
            return self.rows(what, f"SET STATEMENT max_statement_time={left:.1f} FOR SELECT {question}")
        return self.rows(what, f"SELECT /*+ MAX_EXECUTION_TIME({left * 1000:.0f}) */ {question}")

    def values(self, what: str, show: str, names: Sequence[str]) -> dict[str, str] | None:
        """Return what SHOW says of some names."""
        listed = ", ".join(f"'{name}'" for name in names)
        found = self.rows(what, f"SHOW {show} WHERE Variable_name IN ({listed})")
        return None if found is None else {str(_plain(row[0])): str(_plain(row[1])) for row in found}


def ask(connection: Connection, *, new: bool) -> tuple[ServerFacts, float | None]:
    """Ask the server, and return what it said and how long the quickest answer took, in seconds.

    :param new: whether the connection was made for this. Then the server's own count of statements has those that
        SQLAlchemy and holdfast sent on it, too.
    """
    questions = _Questions(connection)
    sent = datetime.now(timezone.utc)
    basics = questions.rows("who it is", _BASICS)
    clock_ahead = utc_offset = None
    version, account, client, database = "", None, None, None
    if basics:
        version, _, account, client, database, utc, offset = (_plain(value) for value in basics[0])
        utc_offset = float(offset)
        if isinstance(utc, datetime):
            clock_ahead = (utc.replace(tzinfo=timezone.utc) - sent).total_seconds()
    mariadb = "mariadb" in str(version).lower()
    questions.is_(mariadb=mariadb)
    session = questions.values("the session's variables", "SESSION VARIABLES", _SESSION)
    variables = questions.values("the server's variables", "GLOBAL VARIABLES", _GLOBAL)
    status = questions.values("the server's counters", "GLOBAL STATUS", _STATUS)
    clustered = _clustered(session)
    facts_of_database = _database(questions, clustered=clustered) if database else {}
    account_facts = _account(questions, (session or {}).get("default_password_lifetime", "0"))
    sessions = _sessions(questions)
    own = questions.values("the session's encryption", "SESSION STATUS", _OWN_STATUS)
    asked = questions.asked
    if new and own is not None and own.get("Questions", "").isdigit():
        asked = int(own["Questions"])
    facts = ServerFacts(
        flavour="MariaDB" if mariadb else "MySQL",
        version=str(version),
        session=session,
        variables=variables,
        status={**(status or {}), **(own or {})} if status is not None or own is not None else None,
        account_name=account,
        account=account_facts,
        client=client,
        database=database,
        clock_ahead=clock_ahead,
        utc_offset=utc_offset,
        sessions=sessions,
        clustered=clustered,
        unseen=tuple(questions.unseen),
        statements=asked + 1,  # the ROLLBACK at the end
        seconds=questions.seconds,
        **facts_of_database,
    )
    return facts, questions.shortest


def _clustered(session: Mapping[str, str] | None) -> bool:
    known = session or {}
    galera = known.get("wsrep_on") == "ON" and known.get("wsrep_provider", "none") not in ("", "none")
    return galera or bool(known.get("group_replication_group_name"))


def _database(questions: _Questions, *, clustered: bool) -> dict[str, Any]:
    found = questions.limited("the tables", _TABLES)
    tables = None
    if found is not None:
        rows = [[str(_plain(value) or "") for value in row] for row in found]
        tables = tuple(TableFacts(name, engine, collation) for name, engine, collation in sorted(rows))
    found = questions.limited("the columns", _COLUMNS)
    columns = None
    if found is not None:
        columns = {str(_plain(row[0])): (int(row[1]), str(_plain(row[2]))) for row in found}
    without_key = None
    if clustered:
        found = questions.limited("the tables without a primary key", _WITHOUT_KEY)
        without_key = None if found is None else tuple(sorted(str(_plain(row[0])) for row in found))
    kept = next((table for table in tables or () if table.name.lower() == _COMMITS), None)
    commits = None if kept is None else _commits(questions, kept)
    return {"tables": tables, "columns": columns, "without_key": without_key, "commits": commits}


def _commits(questions: _Questions, table: TableFacts) -> CommitsFacts:
    described = questions.limited("the columns of holdfast_commits", _COMMITS_COLUMNS) or ()
    rows = [[str(_plain(value)) for value in row] for row in described]
    columns = {name.lower(): kind.lower() for name, kind, _ in rows}
    keys = {name.lower(): key for name, _, key in rows}
    age = None
    if "created" in columns and keys["created"]:  # without an index the question would read the whole table
        found = questions.limited("the oldest row of holdfast_commits", _COMMITS_AGE)
        age = float(found[0][0]) / 24 if found and found[0][0] is not None else None
    return CommitsFacts(
        engine=table.engine,
        transactional=table.engine.lower() not in NOT_TRANSACTIONAL,
        columns=columns,
        keys=keys,
        oldest_days=age,
    )


def _account(questions: _Questions, lifetime: str) -> AccountFacts | None:
    """Read what CREATE USER would say. The answer has the password's hash in it, and is not kept."""
    made = questions.rows("the account", "SHOW CREATE USER CURRENT_USER()")
    granted = questions.rows("the account's rights", "SHOW GRANTS")
    rights: tuple[str, ...] | None = None
    if granted is not None:
        everywhere = [found for row in granted if (found := re.match(r"GRANT (.+?) ON \*\.\* TO ", _words(row[0])))]
        named = (right.strip() for found in everywhere for right in found[1].split(","))
        rights = tuple(dict.fromkeys(right for right in named if right != "USAGE"))
    if not made:
        return None if rights is None else AccountFacts(None, None, rights, {})
    words = _words(made[0][0])
    plugin = re.search(r"IDENTIFIED (?:WITH|VIA) [`'\"]?(\w+)", words)
    by_password = "IDENTIFIED BY PASSWORD" in words  # MariaDB's words for mysql_native_password
    expires = re.search(r"PASSWORD EXPIRE INTERVAL (\d+) DAY", words)
    days = int(expires[1] if expires else "0" if "PASSWORD EXPIRE NEVER" in words else lifetime)
    limits = re.findall(r"(MAX_(?:QUERIES|UPDATES|CONNECTIONS)_PER_HOUR) (\d+)", words)
    return AccountFacts(
        plugin=plugin[1] if plugin else "mysql_native_password" if by_password else None,
        expires_days=days or None,
        rights=rights,
        per_hour={name: int(number) for name, number in limits if int(number)},
    )


def _sessions(questions: _Questions) -> tuple[SessionFacts, ...] | None:
    found = questions.limited("the account's sessions", _SESSIONS)
    if found is None:
        return None
    rows = ([_plain(value) for value in row] for row in found)
    return tuple(
        SessionFacts(int(id), str(user), _without_port(str(host or "")), command == "Sleep", int(age or 0))
        for id, user, host, command, age in rows
    )


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _words(value: Any) -> str:
    """Text for a pattern; MySQL puts a hash's bytes into what is text else."""
    return value.decode("ascii", "replace") if isinstance(value, (bytes, bytearray)) else str(value)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, (bytes, bytearray)) else value
