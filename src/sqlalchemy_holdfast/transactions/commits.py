"""The table that tells whether a transaction was committed, for ``run(..., verify=True)``.

Just before COMMIT, a unit of work that is to be verified writes a random token into ``holdfast_commits``, in its own
transaction. So the token is there exactly if the rest is. When the connection is lost while COMMIT is under way, a new
connection looks for the token **with a lock** (``LOCK IN SHARE MODE``). The lost session holds the row's lock until its
transaction has ended. So there are three answers, and none is a guess:

* the row is there: committed;
* no row: the transaction has ended without it, and can never be committed any more;
* no answer (1205): the transaction has not ended. holdfast asks again until the time is up. It ends the lost session
  with KILL where it is certain which one that is (:mod:`.lost_sessions`).

A missing row is proof only on the server that the lost connection used. A replica that became the primary may be
behind, and another Galera node may not have the row yet. So the servers are compared: host name, port, server id and
uuid, and the node's name and address in a Galera cluster. On another server only "there" counts. On a member of a MySQL
replication group only "there" counts as well: a member that was restarted, or has lost the others, may lack what the
group has.

The table is named with its database, because a unit's function may have sent ``USE``. Its storage engine must have
transactions: in another one the row stays, whatever becomes of the transaction.
"""

from __future__ import annotations

import enum
import functools
import secrets
import weakref
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, DateTime, MetaData, Table, TextClause, text
from sqlalchemy.dialects.mysql import BINARY
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError, TimeoutError

from ..drivers import from_outside
from ..pool.status import reporter_of
from ..server.faults import LOCK_WAIT_TIMEOUT, NO_SUCH_TABLE, error_number, judge, said
from . import lost_sessions
from .attempts import Pace
from .lost_sessions import LostSession

__all__ = [
    "LONGEST_DEADLINE",
    "YOUNGEST_PRUNED",
    "Answer",
    "Token",
    "ask",
    "commits_table",
    "create_commit_table",
    "prune_commits",
    "rolls_back_on_timeout",
    "write_token",
]


LONGEST_DEADLINE = 1800.0
"""Longest ``deadline`` of a verified unit, in seconds."""
YOUNGEST_PRUNED = timedelta(hours=2)
"""Rows that are younger are not deleted: a unit may still ask for them."""

_BATCH = 1000

metadata = MetaData()
commits_table = Table(
    "holdfast_commits",
    metadata,
    Column("token", BINARY(16), primary_key=True),
    Column("created", DateTime, nullable=False, index=True),
    mysql_engine="InnoDB",
    mariadb_engine="InnoDB",
)
"""The table, for applications that make their schema from ``MetaData``: ``commits_table.to_metadata(db.metadata)``."""

_SHORT_WAIT = text("SET SESSION innodb_lock_wait_timeout = 1")
_PRUNE = text(
    "DELETE FROM holdfast_commits WHERE created < UTC_TIMESTAMP() - INTERVAL :seconds SECOND "
    f"ORDER BY created LIMIT {_BATCH}"
)


_ENGINE = text(
    "SELECT t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t "
    "LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE "
    "WHERE t.TABLE_SCHEMA = :schema AND t.TABLE_NAME = 'holdfast_commits'"
)
_ROLLBACK_ON_TIMEOUT = text("SELECT @@innodb_rollback_on_timeout")
_GROUP = "group_replication_group_name"


@functools.lru_cache(64)
def _statements(table: str) -> tuple[TextClause, TextClause]:
    """Return the statements that write a token and ask for one.

    In hexadecimal: MySQL 9 shows nobody its processlist (3854) while bytes are in a statement.
    """
    table = table.replace(":", "\\:")
    return (
        text(f"INSERT INTO {table} (token, created) VALUES (UNHEX(:token), UTC_TIMESTAMP())"),
        text(f"SELECT 1 FROM {table} WHERE token = UNHEX(:token) LOCK IN SHARE MODE"),
    )


@dataclass(frozen=True)
class Token:
    """What a transaction has written into the table, and where."""

    value: bytes
    """Random bytes."""
    schema: str
    """The table's database."""
    written_on: Connection
    """The connection whose transaction it is in."""

    def hex(self) -> str:
        """Return the value in hexadecimal."""
        return self.value.hex()


def create_commit_table(engine: Engine) -> None:
    """Create the table ``holdfast_commits`` in the engine's database, if it is not there.

    :raises sqlalchemy.exc.DBAPIError: what the server says.
    """
    metadata.create_all(engine, tables=[commits_table], checkfirst=True)


def prune_commits(engine: Engine, older_than: timedelta = timedelta(days=1)) -> int:
    """Delete the rows that no unit of work can ask for any more, a thousand in a transaction.

    :param older_than: their least age; two hours at the least.
    :return: how many there were.
    :raises ValueError: for less than that.
    """
    if older_than < YOUNGEST_PRUNED:
        raise ValueError(
            f"older_than is {older_than}; it must be at least {YOUNGEST_PRUNED}, because run() may need younger rows"
        )
    deleted = 0
    while True:
        with engine.begin() as connection:
            batch = connection.execute(_PRUNE, {"seconds": int(older_than.total_seconds())}).rowcount
        deleted += batch
        if batch < _BATCH:
            return deleted


def write_token(connection: Connection) -> Token:
    """Write a new token into the connection's transaction: one round trip, and two more on a new connection.

    :raises sqlalchemy.exc.InvalidRequestError: where the table is not transactional, or the engine has no database.
    :raises sqlalchemy.exc.DBAPIError: what the server says; where the table is missing, with a line that says what
        to do.
    """
    schema = connection.dialect.default_schema_name
    if not schema:
        raise InvalidRequestError(
            "run(verify=True) needs the table holdfast_commits in the engine's database, but the engine's URL names no "
            "database. Add the database's name to the URL."
        )
    identity = lost_sessions.identify(connection)
    known = _transactional.setdefault(connection.dialect, set())
    if (identity, schema) not in known:
        engine = _untransactional_engine(connection, schema)
        if engine:
            raise InvalidRequestError(
                f"run(verify=True) needs a table holdfast_commits with transactions, and the one in {schema} has the "
                f"engine {engine}. A row in it would stay when its transaction is rolled back. Nothing was committed. "
                f"Change it: ALTER TABLE {schema}.holdfast_commits ENGINE=InnoDB"
            )
        known.add((identity, schema))
    token = Token(secrets.token_bytes(16), schema, connection)
    try:
        connection.execute(_statements(_table(connection, schema))[0], {"token": token.hex()})
    except DBAPIError as error:
        if error.orig is not None and error_number(error.orig) == NO_SUCH_TABLE:
            error.add_detail(
                "holdfast: run(verify=True) needs the table holdfast_commits. Make it with the command `holdfast "
                "commits create URL`, or sqlalchemy_holdfast.transactions.create_commit_table(engine)."
            )
        raise
    return token


_transactional: weakref.WeakKeyDictionary[Any, set[tuple[Any, str]]] = weakref.WeakKeyDictionary()
"""The servers and databases whose table is known to be transactional, by dialect."""
_on_timeout: weakref.WeakKeyDictionary[Any, dict[Any, bool]] = weakref.WeakKeyDictionary()
"""What :func:`rolls_back_on_timeout` was told, by dialect and server."""


def _table(connection: Connection, schema: str) -> str:
    return f"{connection.dialect.identifier_preparer.quote_identifier(schema)}.holdfast_commits"


def _untransactional_engine(connection: Connection, schema: str) -> str:
    """Return the table's engine when it is known to have no transactions, else an empty text."""
    row = connection.execute(_ENGINE, {"schema": schema}).first()
    return "" if row is None or row[1] == "YES" else str(row[0] or "of a view")


def rolls_back_on_timeout(connection: Connection) -> bool:
    """Say whether the server undoes a whole transaction for a lock timeout: one round trip, once for each server.

    :raises sqlalchemy.exc.DBAPIError: when it cannot be asked.
    """
    known = _on_timeout.setdefault(connection.dialect, {})
    identity = lost_sessions.identify(connection)
    if identity not in known:
        known[identity] = bool(connection.execute(_ROLLBACK_ON_TIMEOUT).scalar())
    return known[identity]


class Answer(enum.Enum):
    """Whether a transaction was committed."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not committed"
    UNKNOWN = "unknown"


def ask(engine: Engine, token: Token, lost: LostSession | None, pace: Pace) -> Answer:
    """Find out whether the transaction that wrote a token was committed, and wait for the answer while there is time.

    :param engine: the engine that the lost connection was one of.
    :param lost: what is known of the session that wrote it.
    """
    tries = 0
    while True:
        tries += 1
        try:
            with engine.connect() as connection:
                answer = _ask(connection, token, lost)
        except (DBAPIError, TimeoutError) as error:
            if from_outside(error) is not None:
                raise
            reporter_of(engine).commit_not_asked(said(error))
            if not _passes(error):
                return Answer.UNKNOWN
            answer = Answer.UNKNOWN
        if answer is not Answer.UNKNOWN or not pace.pause(tries):
            return answer


def _ask(connection: Connection, token: Token, lost: LostSession | None) -> Answer:
    identity = lost_sessions.identify(connection)
    # A member of a replication group may lack what the group has committed.
    certain = lost is not None and lost.server == identity and not dict(identity).get(_GROUP)
    if lost is not None:
        lost_sessions.kill(connection, lost)
    connection.detach()  # and closed at the end: the time limit is the session's
    connection.execute(_SHORT_WAIT)
    try:
        found = connection.execute(_statements(_table(connection, token.schema))[1], {"token": token.hex()}).first()
    except DBAPIError as error:
        if error.orig is not None and error_number(error.orig) == LOCK_WAIT_TIMEOUT:
            return Answer.UNKNOWN
        raise
    if _untransactional_engine(connection, token.schema):  # since the token was written
        return Answer.UNKNOWN
    if found is not None:
        return Answer.COMMITTED
    return Answer.NOT_COMMITTED if certain else Answer.UNKNOWN


def _passes(error: DBAPIError | TimeoutError) -> bool:
    """Say whether asking again may help."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return isinstance(error, TimeoutError)
    return judge(error.orig).retry is not None
