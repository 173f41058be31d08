"""``holdfast_reset=changed``: a session that a checkout has changed is put back before anybody else uses it.

What a session is put back to is how it was when its connection was made: set up by the driver, by SQLAlchemy and by
the application's ``connect`` listeners. On an engine's first connection holdfast tries whether a reset leads there, and
reads the session's variables before and after it. Where it does not, or where it is not known how connections are made,
a changed connection is closed.
"""

from __future__ import annotations

import re
from typing import Any

from .. import drivers
from .._application import place
from ..counters import Cause
from ..drivers import ConnectionState
from ..reporting import Reporter
from ..server import faults
from ..server.session_changes import use

__all__ = ["Resets"]

_OF_THE_MOMENT = re.compile(
    r"gtid_.*|last_gtid|timestamp|pseudo_thread_id|rand_seed[12]|last_insert_id|identity|insert_id|error_count"
    r"|warning_count|in_transaction|statement_id|innodb_.*_status.*"
)
"""Variables that say what the session has just done, or that change by themselves."""
_NOT_KNOWN = (
    "it is not known how its connections are made, because they come from a creator, a pool= or a module= of the "
    "application's, a do_connect listener, or a connect listener that runs before holdfast's"
)
_TRIGGERS = "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
_AT_MOST = 5


class Resets:
    """Puts back the sessions of one engine's connections."""

    def __init__(self, reporter: Reporter) -> None:
        self.closing = ""
        """Why connections are closed where others are reset, in words; empty where that is not so."""
        self._reporter = reporter
        self._more: tuple[bytes, ...] | None = None
        """The statements for what a reset does not change; ``None`` before the first connection."""
        self._has_database = False
        self._triggers = False
        self._tried = False

    def connected(self, dbapi_connection: Any, state: ConnectionState, *, known: bool) -> None:
        """Begin to watch a new connection's session, before any listener of the application's has set it up.

        :param known: the driver has just made it, and nobody has sent anything since.
        :raises: the driver's error, when the connection was lost.
        """
        held = drivers.held_connection(dbapi_connection)
        if self._more is None and known and not self.closing:
            self._ask(dbapi_connection)
        session = drivers.watch_session(held, state, known=known)
        session.triggers = self._triggers
        if session.cannot and not self.closing:
            self._close_instead(session.cannot if known else _NOT_KNOWN)

    def is_set_up(self, dbapi_connection: Any, state: ConnectionState) -> Cause | None:
        """Note that a new connection is set up: it is about to be handed out for the first time.

        :return: why it must not be used, if it must not.
        """
        session, held = state.session, drivers.held_connection(dbapi_connection)
        if session is None or not session.connecting:
            return None
        drivers.end_of_connecting(held, state, session)
        if session.cannot and not self.closing:
            self._close_instead(session.cannot)
        if self._tried or self.closing:
            return None
        try:
            return self._try(dbapi_connection, state)
        except drivers.errors_of(held) as error:
            if drivers.from_outside(error) is not None:
                raise
            if faults.is_the_servers(faults.error_number(error)):
                self._close_instead(f"the server refuses it ({faults.said(error)})")
            state.unusable_because = state.unusable_because or Cause.CLOSED
            return state.unusable_because

    def put_back(self, dbapi_connection: Any, state: ConnectionState) -> Cause | None:
        """Put a session back that its last user has changed. Nothing is waited for where the driver can do without.

        :return: why the connection must not be kept, if it must not.
        """
        session, held = state.session, drivers.held_connection(dbapi_connection)
        if session is None or not session.is_changed or session.connecting:
            return None
        if state.unusable_because is not None or state.in_flight or not state.one_user_at_a_time:
            return None  # not used again
        if (
            self.closing
            or session.cannot
            or (session.database_changed and not self._has_database)
            or not held._holdfast_remember(session.driver)
            or held._holdfast_has_unread_result()
        ):
            return Cause.NOT_RESETTABLE
        try:
            if not drivers.reset(held, state, session, self._more or ()):
                return Cause.NOT_RESETTABLE
        except drivers.errors_of(held) as error:
            if drivers.from_outside(error) is not None:
                raise
            state.unusable_because = state.unusable_because or Cause.RESET_REFUSED
            return state.unusable_because
        state.level_is_set = False
        self._reporter.session_reset()
        return None

    def returned(self, dbapi_connection: Any, record: Any) -> None:
        """The pool's ``checkin`` event: after the ROLLBACK, and after SQLAlchemy has put back the isolation level."""
        state = drivers.state_of(dbapi_connection)
        if state is not None and record is not None and record.dbapi_connection is not None:
            cause = self.put_back(dbapi_connection, state)
            if cause is not None:
                self._reporter.discarded_on_return(cause, place())
                record.invalidate()

    def _ask(self, dbapi_connection: Any) -> None:
        """Ask for what a reset does not change, and for what the text of a statement does not tell."""
        row = self._answer(dbapi_connection, "SELECT DATABASE(), CURRENT_ROLE()")
        if row is None:  # a server without roles
            row = self._answer(dbapi_connection, "SELECT DATABASE()")
        if row is None:
            self._close_instead("the server does not say which database is selected")
            return
        database, *roles = row
        more = [f"SET ROLE {_roles(name)}" for name in roles] + ([use(_text(database))] if database else [])
        triggers = self._answer(dbapi_connection, _TRIGGERS)
        self._triggers = triggers is None or int(triggers[0]) > 0
        self._has_database = bool(database)
        self._more = tuple(statement.encode() for statement in more)

    def _answer(self, dbapi_connection: Any, question: str) -> Any:
        """Return the row that the server answers with, or ``None`` where it refuses."""
        try:
            return _rows(dbapi_connection, question)[0]
        except drivers.errors_of(dbapi_connection) as error:
            if drivers.from_outside(error) is not None or not faults.is_the_servers(faults.error_number(error)):
                raise
            return None

    def _try(self, dbapi_connection: Any, state: ConnectionState) -> Cause | None:
        session, held, sent = state.session, drivers.held_connection(dbapi_connection), state.sent
        assert session is not None
        before = _variables(dbapi_connection)
        drivers.reset(held, state, session, self._more or ())
        after = _variables(dbapi_connection)
        dbapi_connection.rollback()
        state.sent = sent
        self._tried = True
        differ = sorted(name for name, value in before.items() if after.get(name) != value and _is_lasting(name))
        if not differ:
            return None
        more = f" and {len(differ) - _AT_MOST} more" * (len(differ) > _AT_MOST)
        self._close_instead(f"after one, {', '.join(differ[:_AT_MOST])}{more} would not be as on a new connection")
        return Cause.NOT_RESETTABLE

    def _close_instead(self, why: str) -> None:
        self.closing = why
        self._reporter.closes_instead_of_reset(why)


def _rows(dbapi_connection: Any, question: str) -> Any:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(question)
        return cursor.fetchall()
    finally:
        cursor.close()


def _variables(dbapi_connection: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in _rows(dbapi_connection, "SHOW SESSION VARIABLES")}


def _is_lasting(variable: str) -> bool:
    return _OF_THE_MOMENT.fullmatch(variable) is None


def _roles(name: Any) -> str:
    """Return what SET ROLE takes, from what CURRENT_ROLE() says: MySQL quotes names, and has NONE for none."""
    text = "NONE" if name is None else _text(name)
    return text if text == "NONE" or text.startswith("`") else f"`{text.replace('`', '``')}`"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)
