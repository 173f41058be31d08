"""Dialect methods whose errors nobody catches.

holdfast wraps them for one engine. Each wrapper does what the dialect's own method does, and one thing more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError

from .. import drivers
from ..counters import Cause
from ..drivers import ConnectionState
from ..server import faults
from .replacing import Replacer

__all__ = ["wrap"]


def wrap(dialect: Any, replacer: Replacer) -> None:
    """Wrap the methods of a dialect. For a connection that is not held each does what it did before."""
    dialect.set_isolation_level = _noting(dialect.set_isolation_level, replacer)
    dialect.reset_isolation_level = _giving_up(dialect.reset_isolation_level, replacer)
    dialect.do_rollback_to_savepoint = _rolling_back_to(dialect)


@contextmanager
def _leaving_clean(state: ConnectionState | None) -> Iterator[None]:
    """Note that what SQLAlchemy sends inside of the block leaves no transaction open, where none was open before.

    It sends SET, and then COMMIT as a statement: neither is what a user of the connection has done.
    """
    if (
        state is None
        or state.pid != os.getpid()
        or not (state.nothing_to_roll_back or state.pending or state.never_returned)
    ):
        yield
        return
    record = state.record
    state.keep_record(None)
    try:
        yield
    finally:
        state.keep_record(record)
    state.nothing_to_roll_back = state.reads_only = True


def _noting(set_isolation_level: Any, replacer: Replacer) -> Any:
    """Make the method note the level, for a connection that has to be replaced."""

    def set_and_note(dbapi_connection: Any, level: Any) -> None:
        state = drivers.state_of(dbapi_connection)
        if state is not None and state.pid != os.getpid():
            dbapi_connection = replacer.replace_inherited(drivers.held_connection(dbapi_connection)) or dbapi_connection
            state = drivers.state_of(dbapi_connection)
        session = state.session if state is not None else None
        if session is not None and session.connecting:
            session = None
        try:
            if state is not None and state.checkout is not None and _is_called_by_sqlalchemy():
                state.level_is_set = True
            if session is not None:
                session.paused = session.level_changed = True
            with _leaving_clean(state):
                set_isolation_level(dbapi_connection, level)
        finally:
            if session is not None:
                session.paused = False
        if state is not None:
            state.isolation_level = level

    return set_and_note


def _is_called_by_sqlalchemy() -> bool:
    """Say whether it is SQLAlchemy that sets a level, and so will put it back: not an application's own listener."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).partition(".")[0] == "sqlalchemy"


def _giving_up(reset_isolation_level: Any, replacer: Replacer) -> Any:
    """Make the method give a connection up when it fails.

    SQLAlchemy calls it while a connection is being returned, after the pool's ``reset`` event, to put back a level
    that was set for one checkout. An exception there would cost the pool a place for ever.
    """

    def put_back(dbapi_connection: Any) -> None:
        state = drivers.state_of(dbapi_connection)
        try:
            with _leaving_clean(state):
                reset_isolation_level(dbapi_connection)
            if state is not None:
                state.level_is_set = False
            if state is not None and state.session is not None:
                state.session.level_changed = False
        except BaseException as error:
            if state is None or not state.one_user_at_a_time:
                raise
            state.give_up(state.unusable_because or (Cause.INTERRUPTED if state.in_flight else Cause.CLOSED))
            replacer.reporter.isolation_level_not_put_back(error)
            if not isinstance(error, Exception):
                raise

    return put_back


def _rolling_back_to(dialect: Any) -> Any:
    """Make the method quiet about savepoints that are in the parent process's transaction."""
    rollback_to_savepoint = dialect.do_rollback_to_savepoint

    def rollback_to(connection: Any, name: str) -> None:
        state = drivers.state_of(connection.connection.dbapi_connection)
        if state is not None and state.pid != os.getpid():
            return  # nothing was done since then in this process
        try:
            rollback_to_savepoint(connection, name)
        except DBAPIError as error:
            if (
                state is None
                or not state.replaces_inherited
                or error.orig is None
                or faults.error_number(error.orig) != faults.NO_SUCH_SAVEPOINT
            ):
                raise
            dialect.do_rollback(connection.connection)  # all that was done here came after that savepoint

    return rollback_to
