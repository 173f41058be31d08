"""Puts a connection's session back to how it was set up: COM_RESET_CONNECTION, and what set it up sent again.

The server forgets user variables, temporary tables, locks, prepared statements and settings, and rolls back. It keeps
the selected database and the role (MariaDB 10.11, MySQL 9.7), so these are sent, too. All of it goes out without
waiting. The replies are read in order before anything else is read, as that to a deferred ROLLBACK is; a statement that
may follow such a ROLLBACK may follow this. Where that cannot be done (libmysqlclient, mysqlclient over TLS,
mysql-connector's C extension, a middlebox, ``holdfast_pipeline=false``) each reply, or the first, is waited for.

When one of these is refused, the connection is not used again, and a statement that was sent behind them fails with
the server's error. It may have run, in a transaction that is never committed: ``SET autocommit=0`` is sent once more
than it was while connecting, so that a KILL QUERY that hits one of them does not have it committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .connection import HeldConnection
from .session import Session
from .state import ConnectionState

__all__ = ["end_of_connecting", "reset", "watch"]

_NO_AUTOCOMMIT = b"SET autocommit=0"


def watch(connection: HeldConnection, state: ConnectionState, *, known: bool) -> Session:
    """Note from now on what sets a new connection's session up, and then what changes it.

    :param known: the driver has made it with its own ``connect()``, and nobody else has sent anything since.
    """
    session = Session(connection._holdfast_connect_statements() if known else None)
    state.watch_session(session)
    return session


def end_of_connecting(connection: HeldConnection, state: ConnectionState, session: Session) -> None:
    """Note how the session is now that it is set up: what changes it from here on is to be undone."""
    session.connecting = session.level_changed = False
    session.isolation_level = state.isolation_level
    session.autocommits = connection._holdfast_autocommits()
    session.backslash_escapes = connection._holdfast_backslash_escapes()
    session.charset = connection._holdfast_charset()
    session.driver = connection._holdfast_remembered()


def reset(connection: HeldConnection, state: ConnectionState, session: Session, more: Sequence[bytes]) -> bool:
    """Reset a connection's session.

    Nothing may be in flight on it but what was sent without waiting before.

    :param more: statements to send behind those of the driver's.
    :return: false where the client library has not noticed that its character set was put back.
    :raises: the driver's error when it could not be sent, or when a reply that was waited for is one.
    """
    statements = [*session.of_driver, *more, *session.statements]
    # What the driver makes of a value, and holdfast of a statement, depends on these before the replies are read.
    same = (
        connection._holdfast_autocommits() == session.autocommits
        and connection._holdfast_backslash_escapes() == session.backslash_escapes
        and connection._holdfast_charset() == session.charset
    )
    outermost = connection._holdfast_enter()
    try:
        session.paused = session.resetting = True
        if state.defer and state.pipeline:
            _send(connection, state, statements if session.autocommits else [*statements, _NO_AUTOCOMMIT])
            if not same:
                connection._holdfast_read_rollback_reply()
        else:
            if state.pending:
                connection._holdfast_read_rollback_reply()
            state.in_flight = True  # until all was answered
            connection._holdfast_reset_and_wait(statements)
            connection._holdfast_rolled_back()
    finally:
        session.paused = False
        if outermost:
            state.users.pop(0, None)
    session.resetting = bool(state.pending)
    session.changed = session.database_changed = session.level_changed = False
    state.isolation_level = session.isolation_level
    return same or connection._holdfast_charset() == session.charset


def _send(connection: HeldConnection, state: ConnectionState, statements: Sequence[bytes]) -> None:
    state.in_flight = True  # until it has gone out whole
    replies = connection._holdfast_send_reset()
    for statement in statements:
        connection._holdfast_send(statement)
    state.pending += replies + len(statements)
    state.in_flight = False
    if state.session is not None:
        state.session.resetting = True
