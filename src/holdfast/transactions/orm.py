"""Units of work on an ORM session: a new one for each attempt, or the application's current one.

Imported when a unit is begun for a ``sessionmaker`` or a ``scoped_session``: Core alone does not load the ORM.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from .. import drivers
from ..drivers import Wire
from .units import Unit

__all__ = ["CurrentSessionUnit", "NewSessionUnit", "unit_class"]


def unit_class(target: object) -> type[Unit] | None:
    """Return the kind of unit for a target of the ORM's, or ``None`` when it is none."""
    if isinstance(target, sessionmaker):
        return NewSessionUnit
    if isinstance(target, scoped_session):
        return CurrentSessionUnit
    return None


class _SessionUnit(Unit):
    subject: Session

    def begin(self, session: Session) -> None:
        """Begin a transaction, or go on in the session's."""
        self.subject = session
        event.listen(session, "after_begin", self._after_begin)
        if not session.in_transaction():
            session.begin()

    def _after_begin(self, session: Session, transaction: Any, connection: Connection) -> None:
        if connection not in self._connections:
            self.watch(connection)

    def flush(self) -> None:
        self.subject.flush()

    def send_commit(self) -> None:
        self.subject.commit()

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
    def commit_unknown(self) -> bool:
        # XA PREPARE and XA COMMIT are statements like others to the connection.
        return super().commit_unknown or (self.committing and bool(self._wires) and self.subject.twophase)


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
        if any(wire is not None and not (wire.clean or wire.reads_only) for wire in begun.values()):
            raise InvalidRequestError(
                "run() begins a unit of work, and the current session is in a transaction that may have changed "
                "something. Commit or roll back before run(), or make the changes in its function."
            )
        if None not in begun.values():
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


def _connections_of(session: Session) -> dict[Connection, Wire | None]:
    """Return the connections of a session's transaction, and what is known of those that are held.

    A transaction has no public list of them, and ``Session.connection()`` knows of one database.
    """
    transaction: Any = session.get_transaction()
    if transaction is None:
        return {}
    connections = {connection for connection, *_ in transaction._connections.values()}
    return {
        connection: None if connection.invalidated else drivers.wire_of(connection.connection.dbapi_connection)
        for connection in connections
    }
