"""Units of work on an ORM session: a new one for each attempt, or the application's current one.

Imported when a unit is begun for a ``sessionmaker`` or a ``scoped_session``: Core alone does not load the ORM.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from .. import drivers
from .attempts import Commit
from .units import Unit

__all__ = ["CurrentSessionUnit", "NewSessionUnit", "has_changed", "unit_class"]


def unit_class(target: object) -> type[Unit] | None:
    """Return the kind of unit for a target of the ORM's, or ``None`` when it is none."""
    if isinstance(target, sessionmaker):
        return NewSessionUnit
    if isinstance(target, scoped_session):
        return CurrentSessionUnit
    return None


class _SessionUnit(Unit):
    subject: Session
    _transaction: SessionTransaction | None = None
    """What :meth:`send_commit` commits."""

    def begin(self, session: Session) -> None:
        """Begin a transaction, or go on in the session's."""
        self.subject = session
        event.listen(session, "after_begin", self._after_begin)
        if not session.in_transaction():
            session.begin()
        self.opened = True

    def _after_begin(self, session: Session, transaction: Any, connection: Connection) -> None:
        if connection not in self._connections:
            self.watch(connection)

    def flush(self) -> None:
        self.subject.flush()

    def send_commit(self) -> None:
        self._transaction = self.subject.get_transaction()
        self.subject.commit()

    def _is_over(self) -> bool:
        session = self.subject
        ended = self.committing and (session.get_transaction() is not self._transaction or not session.is_active)
        return ended or super()._is_over()

    def was_connecting(self, error: BaseException) -> bool:
        return super().was_connecting(error) or _was_connecting(self.subject, error)

    def roll_back(self) -> None:
        # First rollback(), which makes objects that were new new again: close() alone would leave them detached, as if
        # they were in the database, and adding them once more would insert nothing.
        if self.subject is None:
            return
        try:
            self.subject.rollback()
        finally:
            self.close()

    @property
    def commit_state(self) -> Commit:
        # XA PREPARE and XA COMMIT are statements like others to the connection.
        two_phase = self.committing and self.subject.twophase and any(self._all_records())
        return Commit.UNKNOWN if two_phase else super().commit_state


class NewSessionUnit(_SessionUnit):
    """A unit on a session of its own, made by a ``sessionmaker``."""

    def open(self) -> None:
        make: Any = self.target
        self.begin(make())

    def close(self) -> None:
        self.subject.close()

    keep = close  # without a rollback() before it, which would undo what the objects know


class CurrentSessionUnit(_SessionUnit):
    """A unit on the current session of a ``scoped_session``, which the application goes on with."""

    def open(self) -> None:
        registry: Any = self.target
        session: Session = registry()
        if session.new or session.dirty or session.deleted:
            raise InvalidRequestError(
                "run() begins a unit of work, and the current session has changes that were made before it. They would "
                "be lost when the unit is begun again. Commit or roll back before run(), or make them in its function."
            )
        begun = _connections_of(session)
        held = [
            drivers.held_connection(c.connection.dbapi_connection) for c in begun if not c.closed and not c.invalidated
        ]
        if not all(drivers.state_of(one) is None or one._holdfast_has_only_read() for one in held):
            raise InvalidRequestError(
                "run() begins a unit of work, and the current session is in a transaction that may have changed "
                "something. Commit or roll back before run(), or make the changes in its function. (A SELECT counts as "
                "one that may have, when it calls a function of your own, locks rows, or is not understood.)"
            )
        if all(drivers.state_of(one) is not None for one in held):
            session.rollback()  # its transaction has only read, and that is read anew
        self.begin(session)
        for connection in begun:
            if not connection.closed:  # databases that are not held: the unit goes on in their transactions
                self.watch(connection)

    def close(self) -> None:
        event.remove(self.subject, "after_begin", self._after_begin)

    def keep(self) -> None:
        # As after a commit(): the objects are the session's, and are read anew. rollback() would make new ones again
        # of those that are in the database.
        transaction = self.subject.get_transaction()
        if transaction is not None:
            transaction.close()
        if self.subject.expire_on_commit:
            self.subject.expire_all()
        self.close()


def has_changed(session: Session) -> bool:
    """Say whether the transaction of a session may have changed something, in this process."""
    try:
        connection = drivers.held_connection(session.connection().connection.dbapi_connection)
    except SQLAlchemyError as error:
        if drivers.from_outside(error) is not None:
            raise
        return False  # a transaction that has failed: there is nothing in it to keep
    state = drivers.state_of(connection)
    return state is None or (state.pid == os.getpid() and not connection._holdfast_has_only_read())


def _connections_of(session: Session) -> set[Connection]:
    """Return the connections of a session's transaction.

    A transaction has no public list of them, and ``Session.connection()`` knows of one database.
    """
    transaction: Any = session.get_transaction()
    return set() if transaction is None else {connection for connection, *_ in transaction._connections.values()}


def _was_connecting(session: Session | None, error: BaseException) -> bool:
    """Say whether an error was raised while this session was getting a connection for its own transaction.

    Told by the error's way: ``Engine.connect()`` was called by the session's transaction. The function of a unit may
    connect to the same engine besides, and what it did there is not the session's.
    """
    traceback = error.__traceback__
    caller: Any = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is Engine.connect.__code__:
            return caller is not None and getattr(caller.f_locals.get("self"), "session", None) is session
        caller, traceback = frame, traceback.tb_next
    return False
