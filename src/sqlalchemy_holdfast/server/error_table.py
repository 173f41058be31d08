"""The errors of MySQL, MariaDB and their drivers, and what each means: a row an errno.

Everything is asked through :func:`~sqlalchemy_holdfast.server.faults.judge`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from . import tls_errors
from .reasons import Reason

__all__ = ["RULES", "Effect", "ErrorRule", "Refusal"]


class Effect(enum.Enum):
    """What to do with the connection."""

    LOST = "lost"
    """It is gone. SQLAlchemy is told so (``is_disconnect``), which discards it."""
    EVICT = "evict"
    """It works, but its server is not one to go on with: replaced when it is returned, not before, so that the
    application's transaction ends the way it would without holdfast."""


class Refusal(enum.Enum):
    """Why a server did not let a connection in, where trying again helps."""

    FULL = "has no connection left"
    """There are as many connections as the server or the account may have; others will be closed."""
    AWAY = "is not there"
    """It is being started, restarted or replaced."""


@dataclass(frozen=True)
class ErrorRule:
    """One kind of error: a row of the table."""

    meaning: str
    """What happened, in words for a log line."""
    number: int | None
    """The errno, or ``None`` when any will do."""
    source: str
    """Which driver and server, and where the rule comes from."""
    texts: tuple[str, ...] = ()
    """One of these must be part of the message, case ignored; empty when the number is enough."""
    pattern: str = ""
    """A regular expression that must be found in the message, in lower case."""
    classes: tuple[str, ...] = ()
    """The exception's class must have one of these names; empty when any will do."""
    while_connecting: bool = True
    """Whether the row also holds for an error raised while connecting."""
    while_connected: bool = True
    """Whether it holds for one that is raised on a connection."""
    effect: Effect | None = None
    """What to do with the connection; ``None``: nothing, it is sound."""
    others_too: bool = True
    """Whether the effect says something of the pool's other connections."""
    refusal: Refusal | None = None
    """While connecting: why another try may help. ``None``: it would fail in the same way."""
    proves_connecting: bool = False
    """No statement's reply has this number: there was no connection yet, so nothing was sent."""
    retry: Reason | None = None
    """Why the unit of work in which it was raised, on a connection, may be begun again."""
    rolls_back: bool = False
    """The server has rolled back the whole transaction with it, and not the one statement. A unit that goes on after
    it, because the error was caught, would commit its second half alone."""
    may_roll_back: bool = False
    """That is so for a server that was started with ``innodb_rollback_on_timeout``."""
    refuses_commit: bool = False
    """In reply to COMMIT, it proves that nothing was committed."""

    def matches(self, number: int | None, text: str, class_names: frozenset[str], *, connected: bool) -> bool:
        """Say whether an error with these features is of this kind."""
        return (
            (self.number is None or self.number == number)
            and (self.while_connected if connected else self.while_connecting)
            and (not self.texts or any(part in text for part in self.texts))
            and (not self.pattern or re.search(self.pattern, text) is not None)
            and (not self.classes or not class_names.isdisjoint(self.classes))
        )


_NO_SUCH_NAME = ("name or service not known", "nodename nor servname", "unknown mysql server host", "no address assoc")
_NAME_AWAY = r"\(-3\)|errno -3\b|temporary failure in name"
"""EAI_AGAIN, as each driver says it: the name server did not answer."""

_TLS = tuple(
    ErrorRule(
        cause.meaning,
        number,
        "While connecting: what OpenSSL says, in each driver's number for it (server.tls_errors).",
        texts=cause.texts,
        while_connected=number == 2003,  # the others have another meaning there
        proves_connecting=number == 2003,
    )
    for cause in tls_errors.CAUSES
    for number in tls_errors.NUMBERS
)

RULES: tuple[ErrorRule, ...] = (
    # -- TLS could not be set up: with numbers that mean something else, too -----------------------------------------
    *_TLS,
    # -- the connection is gone ------------------------------------------------------------------------------------
    ErrorRule(
        "the server has gone away",
        2006,
        "CR_SERVER_GONE_ERROR, all drivers: the connection was found closed while a statement was being sent, or "
        "during the handshake.",
        effect=Effect.LOST,
        retry=Reason.LOST,
        refusal=Refusal.AWAY,
    ),
    ErrorRule(
        "the connection was lost during a statement",
        2013,
        "CR_SERVER_LOST, all drivers: the connection ended before the reply did, or during the handshake.",
        effect=Effect.LOST,
        retry=Reason.LOST,
        refusal=Refusal.AWAY,
    ),
    ErrorRule(
        "the connection was lost",
        2055,
        "CR_SERVER_LOST_EXTENDED: mysql-connector-python for errors of its socket, also during the handshake.",
        effect=Effect.LOST,
        retry=Reason.LOST,
        refusal=Refusal.AWAY,
    ),
    ErrorRule(
        "the connection was out of sync",
        2014,
        "CR_COMMANDS_OUT_OF_SYNC, mysqlclient and PyMySQL: a reply was left unread; what comes next is not known.",
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the connection was already closed",
        0,
        "PyMySQL 1.2: InterfaceError(0, '') for any use of a connection that it has closed after an error.",
        classes=("InterfaceError",),
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the connection was already closed",
        -1,
        "mysql-connector-python 26.10, pure: raised by cursor() with errno -1. The dialect looks for this text "
        "with a full stop, which only the C extension writes.",
        texts=("mysql connection not available",),
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the server did not answer within the driver's read or write timeout",
        3024,
        "mysql-connector-python 26.10: errno 3024 made up by the client. A server's own 3024 (ER_QUERY_TIMEOUT, "
        "max_execution_time) has another class and leaves the connection sound.",
        classes=("ReadTimeoutError", "WriteTimeoutError"),
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the TLS connection was cut",
        2026,
        "mysqlclient on libmariadb: (2026, 'TLS/SSL error: unexpected eof while reading') after KILL, SIGTERM and "
        "SIGKILL. While connecting, 2026 means a refused handshake instead.",
        while_connecting=False,
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the server is shutting down",
        1053,
        "ER_SERVER_SHUTDOWN, MariaDB and MySQL: sent to a statement that was running when the server was told to "
        "stop, and to whoever connects.",
        effect=Effect.LOST,
        retry=Reason.LOST,
        refusal=Refusal.AWAY,
    ),
    ErrorRule(
        "the connection was killed",
        1927,
        "ER_CONNECTION_KILLED, MariaDB: sent to a statement that was running when its connection was killed. The "
        "dialect of mysql-connector does not know it.",
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the connection was closed for inactivity",
        4031,
        "ER_CLIENT_INTERACTION_TIMEOUT, MySQL 8.0.24 and later: waits in the socket of a connection idle longer "
        "than wait_timeout. The dialect of mysql-connector does not know it.",
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the server is in offline mode",
        3032,
        "ER_SERVER_OFFLINE_MODE, MySQL: sent to whoever connects (9.7: seen); its manual says that a session gets "
        "it with its next request, and is then disconnected (9.7 closes without a word).",
        effect=Effect.LOST,
        retry=Reason.NOT_READY,
        refusal=Refusal.AWAY,
    ),
    ErrorRule(
        "the server is in offline mode",
        6400,
        "MySQL 9.7, 'The server is currently in offline mode since ..., reason: ...': a member that has left its "
        "Group Replication group, while connecting and in reply to a statement.",
        effect=Effect.LOST,
        retry=Reason.NOT_READY,
        refusal=Refusal.AWAY,
    ),
    # -- it works, and its server is not one to go on with ----------------------------------------------------------
    ErrorRule(
        "the server has become read-only",
        1290,
        "ER_OPTION_PREVENTS_STATEMENT, MariaDB and MySQL: a primary that was demoted. The number is shared with "
        "other options (secure_file_priv), hence the text.",
        texts=("read-only", "read_only"),
        effect=Effect.EVICT,
        refuses_commit=True,
        retry=Reason.READ_ONLY,
    ),
    ErrorRule(
        "the transaction is read-only",
        1792,
        "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: a demoted Aurora primary, or START TRANSACTION READ ONLY, "
        "which is the application's own doing; for that, replacing the connection costs one connect and nothing "
        "else.",
        others_too=False,
        effect=Effect.EVICT,
        refuses_commit=True,
        retry=Reason.READ_ONLY_TRANSACTION,
    ),
    ErrorRule(
        "the server is in read-only mode",
        1836,
        "ER_READ_ONLY_MODE, MySQL: innodb_read_only or a demoted primary.",
        effect=Effect.EVICT,
        refuses_commit=True,
        retry=Reason.READ_ONLY,
    ),
    ErrorRule(
        "the cluster node is not ready",
        1047,
        "ER_UNKNOWN_COM_ERROR as Galera uses it: 'WSREP has not yet prepared node for application use'. In reply "
        "to COMMIT, the transaction stays open.",
        texts=("wsrep",),
        effect=Effect.EVICT,
        refuses_commit=True,
        retry=Reason.NOT_READY,
    ),
    # -- the connection is sound, and the transaction is not ---------------------------------------------------------
    ErrorRule(
        "a deadlock",
        1213,
        "ER_LOCK_DEADLOCK, MariaDB and MySQL; on Galera, certification failed.",
        rolls_back=True,
        refuses_commit=True,
        retry=Reason.DEADLOCK,
    ),
    ErrorRule(
        "another member of the group was first",
        1180,
        "Group Replication (MySQL 9.7, more than one primary), 'Got error 149 - Lock deadlock; Retry transaction "
        "- during COMMIT', in reply to COMMIT and, for a transaction that was chosen while it was open, to its "
        "next statement. Told by the number 149, because lc_messages sets the words. A Galera node outside of the "
        "primary component answers 1180 as well, with another number: there the transaction may be done on the "
        "other nodes.",
        pattern=r"(?<!\d)149(?!\d)",
        rolls_back=True,
        refuses_commit=True,
        retry=Reason.DEADLOCK,
    ),
    ErrorRule(
        "a lock was waited for too long",
        1205,
        "ER_LOCK_WAIT_TIMEOUT. In reply to COMMIT: somebody holds FLUSH TABLES WITH READ LOCK.",
        may_roll_back=True,
        refuses_commit=True,
        retry=Reason.LOCK_TIMEOUT,
    ),
    ErrorRule(
        "a record has changed since it was read",
        1020,
        "ER_CHECKREAD, MariaDB with innodb_snapshot_isolation.",
        rolls_back=True,
        refuses_commit=True,
        retry=Reason.CHANGED,
    ),
    ErrorRule(
        "the group refused the transaction",
        3101,
        "ER_TRANSACTION_ROLLBACK_DURING_COMMIT: Group Replication, as its manual says; not produced here.",
        refuses_commit=True,
        retry=Reason.REFUSED,
    ),
    ErrorRule(
        "there is no memory for more locks",
        1206,
        "ER_LOCK_TABLE_FULL, InnoDB: the whole transaction is rolled back.",
        rolls_back=True,
    ),
    ErrorRule(
        "the XA branch was rolled back",
        1402,
        "ER_XA_RBROLLBACK, MariaDB and MySQL, as their manuals say.",
        rolls_back=True,
    ),
    ErrorRule(
        "the XA branch was rolled back",
        1613,
        "ER_XA_RBTIMEOUT, MariaDB and MySQL, as their manuals say.",
        rolls_back=True,
    ),
    ErrorRule(
        "the XA branch was rolled back",
        1614,
        "ER_XA_RBDEADLOCK, MariaDB and MySQL, as their manuals say.",
        rolls_back=True,
    ),
    # -- no connection was made, or the server would not do it --------------------------------------------------------
    ErrorRule(
        "the server has no connection left",
        1040,
        "ER_CON_COUNT_ERROR: max_connections.",
        refusal=Refusal.FULL,
        proves_connecting=True,
    ),
    ErrorRule(
        "the account has no connection left",
        1203,
        "ER_TOO_MANY_USER_CONNECTIONS: the variable max_user_connections.",
        refusal=Refusal.FULL,
        proves_connecting=True,
    ),
    ErrorRule(
        "the account has no connection left",
        1226,
        "ER_USER_LIMIT_REACHED, which names max_user_connections, in whatever language. In reply to COMMIT: "
        "limits are counted before a statement is run.",
        texts=("max_user_connections",),
        refusal=Refusal.FULL,
        proves_connecting=True,
        refuses_commit=True,
    ),
    ErrorRule(
        "the account has used up what it may do within an hour",
        1226,
        "ER_USER_LIMIT_REACHED with another name ('max_questions', 'max_queries_per_hour', ...), while connecting "
        "and in reply to a statement, COMMIT among them (MariaDB 10.11 and MySQL 9.7, seen in six languages).",
        refuses_commit=True,
    ),
    ErrorRule(
        "the host name cannot be looked up at the moment",
        2003,
        "PyMySQL and mysql-connector-python: EAI_AGAIN, the name server did not answer.",
        pattern=_NAME_AWAY,
        refusal=Refusal.AWAY,
        proves_connecting=True,
    ),
    ErrorRule(
        "there is no host of that name",
        2003,
        "PyMySQL's number for everything that goes wrong before it is connected.",
        texts=_NO_SUCH_NAME,
        proves_connecting=True,
    ),
    ErrorRule(
        "nothing answers there",
        2003,
        "CR_CONN_HOST_ERROR: refused, on TCP.",
        refusal=Refusal.AWAY,
        proves_connecting=True,
    ),
    ErrorRule(
        "there is no host of that name",
        2002,
        "CR_CONNECTION_ERROR, where a client library has this number for it.",
        texts=_NO_SUCH_NAME,
        proves_connecting=True,
    ),
    ErrorRule(
        "nothing answers there",
        2002,
        "CR_CONNECTION_ERROR: refused, on a unix socket and, with libmariadb, on TCP.",
        refusal=Refusal.AWAY,
        proves_connecting=True,
    ),
    ErrorRule(
        "the host name cannot be looked up at the moment",
        2005,
        "CR_UNKNOWN_HOST with EAI_AGAIN, mysqlclient (on libmariadb after it has tried for 30 s itself).",
        pattern=_NAME_AWAY,
        refusal=Refusal.AWAY,
        proves_connecting=True,
    ),
    ErrorRule(
        "the server takes only connections with TLS",
        3159,
        "ER_SECURE_TRANSPORT_REQUIRED, MySQL with require_secure_transport. (MariaDB 10.11 says 1045.)",
        proves_connecting=True,
    ),
    ErrorRule(
        "an option of the server prevents the statement",
        1290,
        "ER_OPTION_PREVENTS_STATEMENT for other options than read_only, MariaDB and MySQL.",
        refuses_commit=True,
    ),
    ErrorRule(
        "the server does not know the command",
        1047,
        "ER_UNKNOWN_COM_ERROR without the words of Galera.",
        refuses_commit=True,
    ),
    # -- told by the text alone, so behind all that have a number ------------------------------------------------
    ErrorRule(
        "the connection was out of sync",
        None,
        "PyMySQL 1.2: InternalError without a number; it closes the connection. The dialect does not know it.",
        texts=("packet sequence number wrong",),
        classes=("InternalError",),
        while_connecting=False,  # there it is something else than a MySQL server that answers
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
    ErrorRule(
        "the connection was lost before the statement was sent",
        None,
        "mysql-connector-python 26.10, pure: before the first statement with parameters on a connection it asks "
        "the server for sql_mode, and puts what that raises into a ProgrammingError's text.",
        texts=tuple(f"format-parameters; {number}" for number in (2006, 2013, 2055, 1053, 1927, 4031)),
        classes=("ProgrammingError",),
        effect=Effect.LOST,
        retry=Reason.LOST,
    ),
)
"""The table. Order matters only where two rows could match; the first wins.

Of the errors in reply to COMMIT, only those listed prove that nothing was committed. A KILL (1317, 1927), a shutdown
(1053) or a time limit (1969, 3024) may come when the work is done already, and Galera's 1180 when the node has sent its
changes to the others.
"""
