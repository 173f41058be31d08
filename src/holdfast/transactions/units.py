"""One attempt at a unit of work: a connection or a session that begins, is used, and commits or does not.

What is the same for both is here: which connections took part, which errors happened on them, whether COMMIT was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError

from .. import drivers
from ..counters import Counters
from ..drivers import Wire
from ..hold import describe, find
from . import commits, lost_sessions
from .lost_sessions import LostSession
from .reasons import rolls_back
from .statements import may_commit

__all__ = ["CoreUnit", "Unit", "current"]

_units: ContextVar[tuple[Unit, ...]] = ContextVar("holdfast_units", default=())

_OWN_COMMIT = (
    "run() commits the unit of work when its function returns; the function itself must not. Nothing was committed. "
    "Remove the commit(), or put what is to be committed first into a run() of its own."
)


def current(target: object) -> Unit | None:
    """Return the unit that is under way in this thread for a target, or ``None``."""
    return next((unit for unit in _units.get() if unit.target is target), None)


class Unit:
    """What :class:`CoreUnit` and the ORM's units have in common."""

    subject: Any = None
    """What the function gets, once :meth:`open` was called."""

    def __init__(self, target: object, *, verify: bool) -> None:
        self.target = target
        self.verify = verify
        self.token: bytes | None = None
        """What was written into the commits table."""
        self.lost: list[tuple[Engine, LostSession]] = []
        """Sessions of connections that were lost in this unit."""
        self.committed_by_itself = False
        """A statement was sent that may have committed what came before it."""
        self._connections: list[Connection] = []
        self._wires: list[Wire] = []
        self._were_clean: set[Wire] = set()
        self._sent: dict[Wire, int] = {}
        """What had been sent on each before the function was called."""
        self._sessions: dict[Connection, LostSession] = {}
        self._broken: dict[Connection, BaseException] = {}
        self.broken_by: BaseException | None = None
        """The last error after which one of its transactions was gone."""
        self.committing = False
        """:meth:`commit` has come to the COMMIT."""
        self._refused = False

    # -- what a kind of unit provides --------------------------------------------------------------------------

    def open(self) -> None:
        """Begin."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is still to be sent before COMMIT."""

    def send_commit(self) -> None:
        """Commit."""
        raise NotImplementedError

    def close(self) -> None:
        """End after a COMMIT."""
        raise NotImplementedError

    def keep(self) -> None:
        """End after a COMMIT that failed and turned out to have been done."""
        raise NotImplementedError

    def roll_back(self) -> None:
        """End without a COMMIT, and leave everything as it was before."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the unit that is under way in this thread."""
        reset = _units.set((*_units.get(), self))
        try:
            yield
        finally:
            _units.reset(reset)

    def commit(self) -> None:
        """Commit, with the token if that is wanted.

        :raises InvalidRequestError: when the function has tried to commit, or when a unit with several databases is
            to be verified.
        :raises: the error, once more, after which the server had rolled back while the function went on.
        """
        self.flush()
        if self._refused:
            raise InvalidRequestError(_OWN_COMMIT)
        for connection, error in self._broken.items():
            if not connection.closed:
                raise error
        open_now = self.open_connections()
        if self.verify and open_now:
            if len(open_now) > 1:
                raise InvalidRequestError(
                    "run(verify=True) can verify one database's transaction, and this unit has begun "
                    f"{len(open_now)}. Split it, or leave verify out."
                )
            self._wires = [wire for wire in map(_wire_of, open_now) if wire is not None]
            if any(wire.sent != self._sent.get(wire) for wire in self._wires):
                self.token = commits.write_token(open_now[0])
        self._wires = [wire for wire in map(_wire_of, open_now) if wire is not None]
        self._were_clean = {wire for wire in self._wires if wire.clean}
        self.committing = True
        self.send_commit()

    def discard(self) -> None:
        """End without a COMMIT. An error while doing so would hide the one that is the reason."""
        try:
            self.roll_back()
        except SQLAlchemyError:
            for connection in self._connections:
                if not connection.closed:
                    connection.invalidate()
                    connection.close()

    def let_go(self) -> None:
        """End the connections, and leave the objects: the pool may have no place for one more."""
        for connection in self._connections:
            if not connection.closed and not connection.invalidated:
                connection.invalidate()

    # -- questions ---------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there was a connection."""
        return bool(self._connections)

    @property
    def engine(self) -> Engine | None:
        """The engine of the first connection."""
        return self._connections[0].engine if self._connections else None

    @property
    def where(self) -> str:
        """The engine's name in a log line."""
        return describe(self.engine) if self.engine is not None else "a session without a connection"

    def count(self, **numbers: int) -> None:
        """Add to the engine's counters."""
        counters = self._counters()
        for name, number in numbers.items() if counters is not None else ():
            setattr(counters, name, getattr(counters, name) + number)

    def count_repeated(self, reason: str) -> None:
        """Add to the engine's counter of units that were begun again."""
        counters = self._counters()
        if counters is not None:
            counters.count_repeated(reason)

    def _counters(self) -> Counters | None:
        hold = find(self.engine) if self.engine is not None else None
        return hold._counters if hold is not None else None

    @property
    def repeatable(self) -> bool:
        """Whether what was done can be done again from the beginning: all of it is known to have been in transactions
        that were not committed."""
        return not self.committed_by_itself and all(
            (hold := find(connection.engine)) is not None and hold.active for connection in self._connections
        )

    @property
    def commit_unknown(self) -> bool:
        """Whether a COMMIT was sent, and nothing tells what became of it."""
        wires = {*self._wires, *filter(None, map(_wire_of, self.open_connections()))}
        if any(wire.committing for wire in wires):
            return True
        # One of several COMMITs has failed: others were done before, or not.
        return self.committing and len(self._wires) > 1

    @property
    def commit_done(self) -> bool:
        """Whether each COMMIT was acknowledged, and the error came after that."""
        return (
            self.committing
            and all(wire.clean for wire in self._wires)
            and any(wire not in self._were_clean for wire in self._wires)
        )

    def session_to_ask(self) -> tuple[Engine, LostSession | None]:
        """Return the engine and the lost session of a unit that was to be verified."""
        connection = self._connections[-1]
        return connection.engine, self._sessions.get(connection)

    # -- the connections ---------------------------------------------------------------------------------------

    def open_connections(self) -> list[Connection]:
        """Return those that are in a transaction now."""
        return [connection for connection in self._connections if not connection.closed and not connection.invalidated]

    def watch(self, connection: Connection) -> None:
        """Have a connection take part.

        :raises InvalidRequestError: when each statement on it commits by itself.
        """
        dbapi_connection = connection.connection.dbapi_connection
        wire = drivers.wire_of(dbapi_connection)
        self._connections.append(connection)
        if wire is None:
            return
        if _commits_each(wire, drivers.unwrap(dbapi_connection)):
            raise InvalidRequestError(
                "run() needs transactions, and this connection is in AUTOCOMMIT: each statement is committed by "
                "itself. Use an engine without it, as engine.execution_options(isolation_level='REPEATABLE READ')."
            )
        wire.committing = False  # what became of an earlier COMMIT is not this unit's question
        self._wires.append(wire)
        event.listen(connection, "before_cursor_execute", self._on_statement)
        event.listen(connection, "commit", self._on_commit)
        event.listen(connection, "rollback", self._on_rollback)
        hold = find(connection.engine)
        if hold is not None:
            hold.also_tell_of_errors(_on_error)
        session = lost_sessions.get_ready(connection)
        if session is not None:
            self._sessions[connection] = session
        self._sent[wire] = wire.sent

    def _on_statement(self, connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if not self.committed_by_itself and may_commit(statement):
            self.committed_by_itself = True

    def _on_commit(self, connection: Connection) -> None:
        if not self.committing:
            self._refused = True
            raise InvalidRequestError(_OWN_COMMIT)

    def _on_rollback(self, connection: Connection) -> None:
        self._broken.pop(connection, None)

    def note_error(self, context: ExceptionContext) -> bool:
        """Note what an error on one of its connections means. Says whether it is one of its connections."""
        connection = context.connection
        if connection is None or connection not in self._connections:
            return False
        if context.is_disconnect:
            session = self._sessions.pop(connection, None)
            fairy = None if connection.closed or connection.invalidated else connection.connection
            if fairy is not None and fairy.dbapi_connection is not None:
                session = lost_sessions.session_of(fairy.dbapi_connection) or session
            if session is not None:
                self._sessions[connection] = session
                self.lost.append((connection.engine, session))
        if context.is_disconnect or rolls_back(context.original_exception):
            self.broken_by = context.sqlalchemy_exception or context.original_exception
            self._broken.setdefault(connection, self.broken_by)
        return True


def _on_error(context: ExceptionContext) -> None:
    any(unit.note_error(context) for unit in _units.get())


def _wire_of(connection: Connection) -> Wire | None:
    return drivers.wire_of(connection.connection.dbapi_connection)


def _commits_each(wire: Wire, connection: Any) -> bool:
    if wire.level == "AUTOCOMMIT":
        return True
    # mysqlclient's and PyMySQL's, from the last reply; mysql-connector would have to ask.
    get_autocommit = getattr(connection, "get_autocommit", None)
    return bool(get_autocommit()) if get_autocommit is not None else False


class CoreUnit(Unit):
    """A unit on a connection of an engine."""

    subject: Connection

    @property
    def engine(self) -> Engine | None:
        return self.target if isinstance(self.target, Engine) else None

    def open(self) -> None:
        assert self.engine is not None
        self.subject = self.engine.connect()
        self.subject.begin()
        self.watch(self.subject)

    def send_commit(self) -> None:
        self.subject.commit()

    def close(self) -> None:
        self.subject.close()

    keep = close

    def roll_back(self) -> None:
        if self.subject is not None:
            self.subject.close()
