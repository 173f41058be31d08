"""What a user holds: a Connection, a Session, a driver's connection from the pool. All take SQL, and end."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from .ledger import Tx

if TYPE_CHECKING:
    from .units import Unit

__all__ = ["ConnectionHand", "Hand", "RawHand", "SessionHand", "driver_id", "watch"]

Rows = list[tuple[Any, ...]] | None


def driver_id(dbapi_connection: Any) -> int | None:
    """Return the server's id of a driver's connection: no round trip."""
    found = getattr(dbapi_connection, "thread_id", None) or getattr(dbapi_connection, "connection_id", None)
    try:
        value = found() if callable(found) else found
    except Exception:  # closed
        return None
    return value if isinstance(value, int) else None


class Hand:
    """One user's way to the database, and what that user knows of the transaction."""

    kind = ""

    def __init__(self, row: int, level: str | None = None) -> None:
        self.tx = Tx()
        self.row = row
        """The row of counter that is this user's."""
        self.level = level
        """The isolation level that was asked for, for this checkout."""
        self.level_of: int | None = None
        """The connection that it was set on."""
        self.kept: int | None = None
        """What was left in the session on the server, and nothing was lost since."""
        self.locked = False
        self.points: list[Any] = []
        """Savepoints, as many as there are marks."""
        self.unit: Unit | None = None
        """The unit that it is the subject of."""
        self.inherited = False
        """In a child: its transaction is the parent's, and has written something."""

    def execute(self, sql: str) -> Rows:
        """Send one text; return the rows of its first result."""
        raise NotImplementedError

    def commit(self) -> None:
        raise NotImplementedError

    def rollback(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def pooled(self) -> Any:
        """Return the pool's proxy of the driver's connection."""
        raise NotImplementedError

    def savepoint(self) -> Any:
        raise NotImplementedError

    def sqlalchemy(self) -> Connection | None:
        """Return the Connection, where there is one."""
        return None

    @property
    def twophase(self) -> bool:
        """Whether its transactions are XA's, in which the server refuses what commits."""
        return False

    def id(self) -> int | None:
        """Return the server's id of the connection, as the driver knows it; ``None`` when there is none."""
        profile = sys.getprofile()
        sys.setprofile(None)  # an interrupt that was ordered is for the users' calls
        try:
            with contextlib.suppress(Exception):
                proxied = self.present()
                return None if proxied is None else driver_id(proxied.dbapi_connection)
            return None
        finally:
            sys.setprofile(profile)

    def present(self) -> Any:
        """Return the pool's proxy if there is one now, without having SQLAlchemy connect."""
        connection = self.sqlalchemy()
        if connection is None or connection.closed or connection.invalidated:
            return None
        return connection.connection


def _rows(result: Any) -> Rows:
    return [tuple(row) for row in result.fetchall()] if result.returns_rows else None


class ConnectionHand(Hand):
    """``engine.connect()``."""

    kind = "connection"

    def __init__(self, connection: Connection, row: int, level: str | None = None) -> None:
        super().__init__(row, level)
        self.connection = connection

    def execute(self, sql: str) -> Rows:
        return _rows(self.connection.exec_driver_sql(sql))

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()

    def pooled(self) -> Any:
        return self.connection.connection

    def savepoint(self) -> Any:
        return self.connection.begin_nested()

    def sqlalchemy(self) -> Connection:
        return self.connection


def watch(sessions: Any) -> None:
    """Have sessions of a class keep, in their ``info``, what their hands want to know: their connection.

    And have them call what is in ``info`` under the name of an event. Listeners cannot be added to a session in the
    middle of one.
    """

    def call(session: Session, name: str) -> None:
        for then in session.info.pop(name, ()):
            then(session)

    def after_begin(session: Session, transaction: Any, connection: Connection) -> None:
        session.info["begun"] = connection

    def after_commit(session: Session) -> None:
        if not session.in_nested_transaction():  # releasing a savepoint is an event of the same name
            call(session, "after_commit")

    def after_end(session: Session, transaction: Any) -> None:
        if transaction.parent is None:
            call(session, "after_end")

    event.listen(sessions, "after_begin", after_begin)
    event.listen(sessions, "after_commit", after_commit)
    event.listen(sessions, "after_transaction_end", after_end)


class SessionHand(Hand):
    """A session of a ``sessionmaker``, or the current one of a ``scoped_session``."""

    kind = "session"

    def __init__(self, session: Session, row: int, level: str | None = None, *, registry: Any = None) -> None:
        super().__init__(row, level)
        self.session = session
        self.registry = registry

    @property
    def twophase(self) -> bool:
        return bool(self.session.twophase)

    def execute(self, sql: str) -> Rows:
        return _rows(self.session.execute(text(sql)))

    def commit(self) -> None:
        self.session.commit()

    def rollback(self) -> None:
        self.session.rollback()

    def close(self) -> None:
        if self.registry is not None:
            self.registry.remove()
        else:
            self.session.close()

    def pooled(self) -> Any:
        return self.session.connection().connection

    def savepoint(self) -> Any:
        return self.session.begin_nested()

    def sqlalchemy(self) -> Connection | None:
        found: Connection | None = self.session.info.get("begun")
        return found


class RawHand(Hand):
    """``engine.raw_connection()``."""

    kind = "raw"

    def __init__(self, proxied: Any, row: int) -> None:
        super().__init__(row)
        self.proxied = proxied

    def execute(self, sql: str) -> Rows:
        cursor = self.proxied.cursor()
        try:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else None
        finally:
            cursor.close()

    def commit(self) -> None:
        self.proxied.commit()

    def rollback(self) -> None:
        self.proxied.rollback()

    def close(self) -> None:
        self.proxied.close()

    def pooled(self) -> Any:
        return self.proxied

    def savepoint(self) -> Any:
        raise NotImplementedError

    def present(self) -> Any:
        return self.proxied
