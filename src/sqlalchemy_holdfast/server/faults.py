"""What a driver's error means for the connection it happened on.

The table holds every error that a lost connection was seen to raise, the ones that SQLAlchemy's dialects do not
recognise among them, and the errors after which a connection still answers but should not be given to anybody else.
Pure data and pure functions: no driver is imported here, an error is judged by its number, its class's name and
its text.

Each row was produced by a real server and driver; ``tests/core/test_faults.py`` has one test a row.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, StatementError

__all__ = ["ROWS", "Effect", "Row", "classify", "error_number", "lost_to_another_member", "refuses_commit", "said"]


class Effect(enum.Enum):
    """What to do with the connection."""

    LOST = "lost"
    """It is gone. SQLAlchemy is told so (``is_disconnect``), which discards it."""
    RETIRE = "retire"
    """It works, but its server is not one to go on with: replaced when it is returned, not before, so that the
    application's transaction ends the way it would without holdfast."""


@dataclass(frozen=True)
class Row:
    """One kind of error."""

    meaning: str
    """What happened, in words for a log line."""
    effect: Effect
    number: int | None
    """The errno, or ``None`` when any will do."""
    source: str
    """Which driver and server, and where the rule comes from."""
    texts: tuple[str, ...] = ()
    """One of these must be part of the message, case ignored; empty when the number is enough."""
    classes: tuple[str, ...] = ()
    """The exception's class must have one of these names; empty when any will do."""
    connecting_too: bool = True
    """Whether the row also holds for an error raised while connecting."""
    others_too: bool = True
    """Whether what it says of the server holds for the pool's other connections."""

    def matches(self, number: int | None, text: str, class_names: frozenset[str], *, connected: bool) -> bool:
        """Say whether an error with these features is of this kind."""
        return (
            (self.number is None or self.number == number)
            and (connected or self.connecting_too)
            and (not self.texts or any(part in text for part in self.texts))
            and (not self.classes or not class_names.isdisjoint(self.classes))
        )


ROWS: tuple[Row, ...] = (
    Row(
        "the server has gone away",
        Effect.LOST,
        2006,
        "CR_SERVER_GONE_ERROR, all drivers: the connection was found closed while a statement was being sent.",
    ),
    Row(
        "the connection was lost during a statement",
        Effect.LOST,
        2013,
        "CR_SERVER_LOST, all drivers: the connection ended before the reply did.",
    ),
    Row(
        "the connection was lost",
        Effect.LOST,
        2055,
        "CR_SERVER_LOST_EXTENDED: mysql-connector-python for errors of its socket.",
    ),
    Row(
        "the connection was out of sync",
        Effect.LOST,
        2014,
        "CR_COMMANDS_OUT_OF_SYNC, mysqlclient and PyMySQL: a reply was left unread; what comes next is not known.",
    ),
    Row(
        "the connection was already closed",
        Effect.LOST,
        0,
        "PyMySQL 1.2: InterfaceError(0, '') for any use of a connection that it has closed after an error.",
        classes=("InterfaceError",),
    ),
    Row(
        "the connection was out of sync",
        Effect.LOST,
        None,
        "PyMySQL 1.2: InternalError without a number; it closes the connection. The dialect does not know it.",
        texts=("packet sequence number wrong",),
        classes=("InternalError",),
    ),
    Row(
        "the connection was already closed",
        Effect.LOST,
        -1,
        "mysql-connector-python 26.10, pure: raised by cursor() with errno -1. The dialect looks for this text with "
        "a full stop, which only the C extension writes.",
        texts=("mysql connection not available",),
    ),
    Row(
        "the connection was lost before the statement was sent",
        Effect.LOST,
        None,
        "mysql-connector-python 26.10, pure: before the first statement with parameters on a connection it asks the "
        "server for sql_mode, and puts what that raises into a ProgrammingError's text.",
        texts=tuple(f"format-parameters; {number}" for number in (2006, 2013, 2055, 1053, 1927, 4031)),
        classes=("ProgrammingError",),
    ),
    Row(
        "the server did not answer within the driver's read or write timeout",
        Effect.LOST,
        3024,
        "mysql-connector-python 26.10: errno 3024 made up by the client. A server's own 3024 (ER_QUERY_TIMEOUT, "
        "max_execution_time) has another class and leaves the connection sound.",
        classes=("ReadTimeoutError", "WriteTimeoutError"),
    ),
    Row(
        "the TLS connection was cut",
        Effect.LOST,
        2026,
        "mysqlclient on libmariadb: (2026, 'TLS/SSL error: unexpected eof while reading') after KILL, SIGTERM and "
        "SIGKILL. While connecting, 2026 means a refused handshake instead.",
        connecting_too=False,
    ),
    Row(
        "the server is shutting down",
        Effect.LOST,
        1053,
        "ER_SERVER_SHUTDOWN, MariaDB and MySQL: sent to a statement that was running when the server was told to stop.",
    ),
    Row(
        "the connection was killed",
        Effect.LOST,
        1927,
        "ER_CONNECTION_KILLED, MariaDB: sent to a statement that was running when its connection was killed. "
        "The dialect of mysql-connector does not know it.",
    ),
    Row(
        "the connection was closed for inactivity",
        Effect.LOST,
        4031,
        "ER_CLIENT_INTERACTION_TIMEOUT, MySQL 8.0.24 and later: waits in the socket of a connection idle longer than "
        "wait_timeout. The dialect of mysql-connector does not know it.",
    ),
    Row(
        "the server is in offline mode",
        Effect.LOST,
        3032,
        "ER_SERVER_OFFLINE_MODE, MySQL: sent to whoever connects (9.7: seen); its manual says that a session gets it "
        "with its next request, and is then disconnected (9.7 closes without a word).",
    ),
    Row(
        "the server is in offline mode",
        Effect.LOST,
        6400,
        "MySQL 9.7, 'The server is currently in offline mode since ..., reason: ...': a member that has left its Group "
        "Replication group, while connecting and in reply to a statement.",
    ),
    Row(
        "the server has become read-only",
        Effect.RETIRE,
        1290,
        "ER_OPTION_PREVENTS_STATEMENT, MariaDB and MySQL: a primary that was demoted. The number is shared with other "
        "options (secure_file_priv), hence the text.",
        texts=("read-only", "read_only"),
    ),
    Row(
        "the transaction is read-only",
        Effect.RETIRE,
        1792,
        "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: a demoted Aurora primary, or START TRANSACTION READ ONLY; for the "
        "second, replacing the connection costs one connect and nothing else.",
        others_too=False,  # the second is the application's own doing
    ),
    Row(
        "the server is in read-only mode",
        Effect.RETIRE,
        1836,
        "ER_READ_ONLY_MODE, MySQL: innodb_read_only or a demoted primary.",
    ),
    Row(
        "the cluster node is not ready",
        Effect.RETIRE,
        1047,
        "ER_UNKNOWN_COM_ERROR as Galera uses it: 'WSREP has not yet prepared node for application use'.",
        texts=("wsrep",),
    ),
)
"""The table. Order matters only where two rows could match; the first wins."""


def classify(error: BaseException, *, connected: bool = True) -> Row | None:
    """Find the row for a driver's exception.

    :param error: the exception as the driver raised it.
    :param connected: false when it was raised while connecting.
    :return: ``None`` for an error that says nothing about the connection.
    """
    number, text = error_number(error), str(error).lower()
    names = frozenset(cls.__name__ for cls in type(error).__mro__)
    for row in ROWS:
        if row.matches(number, text, names, connected=connected):
            return row
    return None


_REFUSES_COMMIT = frozenset(
    {
        1020,  # ER_CHECKREAD, MariaDB with innodb_snapshot_isolation
        1047,  # Galera, node not in the primary component: the transaction stays open
        1205,  # ER_LOCK_WAIT_TIMEOUT: somebody holds FLUSH TABLES WITH READ LOCK
        1213,  # ER_LOCK_DEADLOCK; Galera: certification failed
        1226,  # ER_USER_LIMIT_REACHED: counted before a statement is run (MAX_QUERIES_PER_HOUR counts COMMIT, too)
        1290,  # ER_OPTION_PREVENTS_STATEMENT: read_only was switched on
        1792,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
        1836,  # ER_READ_ONLY_MODE
        3101,  # ER_TRANSACTION_ROLLBACK_DURING_COMMIT: Group Replication, as its manual says; not produced here
    }
)


_ERROR_DURING_COMMIT = 1180
_LOCK_DEADLOCK = re.compile(r"(?<!\d)149(?!\d)")


def lost_to_another_member(error: BaseException) -> bool:
    """Say whether Group Replication rolled a transaction back because another member was first (MySQL 9.7, more than
    one primary): 1180 "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT", in reply to COMMIT and, for a
    transaction that was chosen while it was open, to its next statement.

    Told by the number 149 in the text, whose words depend on ``lc_messages``. A Galera node outside of the primary
    component answers 1180 as well, with another number: there the transaction may be done on the other nodes.
    """
    return error_number(error) == _ERROR_DURING_COMMIT and _LOCK_DEADLOCK.search(_message(error)) is not None


def _message(error: BaseException) -> str:
    return str(getattr(error, "msg", None) or (error.args[1] if len(error.args) > 1 else error))


def refuses_commit(error: BaseException) -> bool:
    """Say whether a driver's error in reply to COMMIT proves that nothing was committed.

    The few that do are listed. Others do not prove it: a KILL (1317, 1927), a shutdown (1053) or a time limit (1969,
    3024) may come when the work is done already, and Galera's 1180 when the node has sent its changes to the others.
    """
    return error_number(error) in _REFUSES_COMMIT or lost_to_another_member(error)


def error_number(error: BaseException) -> int | None:
    """Return the MySQL error number that an exception carries, as ``errno`` or as its first argument."""
    for candidate in _number_candidates(error):
        if isinstance(candidate, int):
            return candidate
    return None


def said(error: BaseException) -> str:
    """Return what an error says, as far as a log or an error of ours may repeat it.

    A server's text may have a value of the statement in it (1062, 1366, what SIGNAL was given), and SQLAlchemy adds the
    statement and its parameters. So an error of SQLAlchemy's is its driver's error here, and a server's error is its
    class and its number. What a client library says (2000 to 2999) is given in full.
    """
    if isinstance(error, StatementError):
        if not isinstance(error, DBAPIError) or error.orig is None:
            return type(error.orig or error).__name__  # a value that could not be sent
        error = error.orig
    number = error_number(error)
    if number is not None and number > 0 and not 2000 <= number < 3000:
        return f"{type(error).__name__} {number}"
    return str(error)


def _number_candidates(error: BaseException) -> Iterator[object]:
    yield getattr(error, "errno", None)
    yield from error.args[:1]
