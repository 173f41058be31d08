"""The first statement of a checkout, when its connection is lost.

A connection is looked at when it is handed out, and may be lost a moment later: before the first statement of the
checkout is sent, or while that is on its way.

* **Nothing was sent.** The connection is looked at again when the first cursor is opened. One that is dead then is
  replaced, and the statement runs on the new one, whatever it is (:mod:`~.replacing`).
* **It was sent.** Nobody knows whether the server ran it. It is run once more, on a new connection, if it only reads
  (:mod:`~.statements`) and if nothing else has been sent in this checkout: no transaction, setting or temporary
  table was lost with the connection. Everything else raises the driver's error, as it does without holdfast.

A statement is repeated where SQLAlchemy calls its dialect's ``do_execute()``, behind all listeners to the event of that
name, so one that runs statements itself is left alone. It costs 0.03 us a statement; a listener of our own would cost
0.3 us (CPython 3.11). The connection itself, where it would cost nothing, cannot put another one in its place under
a cursor that is in use. The look at the first cursor costs 0.4 us a checkout.

``docs/replay.md`` has the table of what is repeated and what is raised.
``tests/pool/first_statement`` has a test for each row of it.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from .. import drivers
from .._clock import monotonic_also_asleep
from ..drivers import ConnectionState
from ..server import faults
from ..server.statements import only_reads
from .replacing import Replacer

__all__ = ["wrap"]

_SECONDS = 0.9
"""A read that took longer than this before its connection was lost is not repeated: it was slow, and what ended it (the
driver's timeout, somebody's KILL) may have been meant to. The C library's time limits are whole seconds, and it does
not tell them from a lost connection."""


def wrap(dialect: Any, replacer: Replacer) -> None:
    """Wrap the methods of a dialect that execute a statement once."""
    do_execute, do_execute_no_params = dialect.do_execute, dialect.do_execute_no_params

    # Spelt out twice: they run for every statement.
    def execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        try:
            do_execute(cursor, statement, parameters, context)
        except Exception as error:
            again = _new_cursor(replacer, cursor, statement, context, error)
            if again is None:
                raise
            _run(do_execute, again, statement, parameters, context)

    def execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
        try:
            do_execute_no_params(cursor, statement, context)
        except Exception as error:
            again = _new_cursor(replacer, cursor, statement, context, error)
            if again is None:
                raise
            _run(do_execute_no_params, again, statement, context)

    dialect.do_execute, dialect.do_execute_no_params = execute, execute_no_params


def _run(execute: Callable[..., None], cursor: Any, *arguments: Any) -> None:
    try:
        execute(cursor, *arguments)
    except BaseException:
        _close(cursor, arguments[-1].dialect.loaded_dbapi.Error)  # SQLAlchemy closes the one that it knows of
        raise


def _new_cursor(replacer: Replacer, cursor: Any, statement: str, context: Any, error: Exception) -> Any:
    """Return a cursor on a new connection if the statement may be run again; the context's is then that one."""
    if context is None or not isinstance(error, context.dialect.loaded_dbapi.Error):
        return None
    verdict = faults.judge(error)
    dead = drivers.held_connection(context.root_connection.connection.dbapi_connection)
    state = drivers.state_of(dead)
    if state is None or not verdict.lost or not _was_first(state) or not _may_be_repeated(statement):
        return None
    if dead._holdfast_time_limit(error) or dead._holdfast_autocommits():
        return None
    _close(cursor, context.dialect.loaded_dbapi.Error)
    try:
        connection = replacer.replace(dead)
        if connection is None or _server_autocommits(connection):
            return None
        again = context.create_cursor()
    except (context.dialect.loaded_dbapi.Error, SQLAlchemyError) as failure:
        if drivers.from_outside(failure) is not None:
            raise
        # The application gets the error that it would have got without this.
        replacer.reporter.not_repeated(faults.said(failure))
        return None
    replacer.suspect_others()
    replacer.reporter.repeated(verdict.meaning)
    context.cursor = again
    return again


def _may_be_repeated(statement: str) -> bool:
    # What WITH, SHOW and parentheses begin is not, though only_reads() knows them: docs/replay.md has the table.
    return statement.lstrip()[:6].upper() == "SELECT" and only_reads(statement)


def _was_first(state: ConnectionState) -> bool:
    """Say whether a connection was lost by the first statement of a checkout, in a transaction of its own."""
    return (
        state.sent <= 1
        and state.first_cursor is not None
        and state.pid == getpid()
        and monotonic_also_asleep() - state.first_cursor < _SECONDS
        # With AUTOCOMMIT, what a view's function wrote is there to stay. With SERIALIZABLE, a SELECT locks rows, and
        # the lost session may hold its locks for a while yet.
        and state.isolation_level not in ("AUTOCOMMIT", "SERIALIZABLE")
    )


def _server_autocommits(connection: Any) -> bool:
    """Ask whether the server commits each statement, as the driver's arguments or ``init_command`` may have it do."""
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT @@autocommit")
        return bool(cursor.fetchone()[0])
    finally:
        cursor.close()


def _close(cursor: Any, errors: type[Exception]) -> None:
    """Close a cursor of a connection that is gone: drivers raise some of these then, and nobody needs to know."""
    try:
        cursor.close()
    except (errors, AttributeError, ReferenceError) as error:
        if drivers.from_outside(error) is not None:
            raise
