"""One attempt at a unit of work: a connection or a session that begins, is used, and commits or does not.

What is the same for both is here: which connections took part, which errors happened on them, what became of COMMIT.
The unit notes all of that itself, because its connections may belong to somebody else by the time it is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError

from .. import drivers
from ..drivers import CommitRecord, CommitState, ConnectionState, from_outside
from ..pool.engine import HeldEngine
from ..pool.status import find, reporter_of
from ..reporting import Reporter
from ..server.faults import judge
from . import commits, lost_sessions
from .attempts import Commit
from .lost_sessions import LostSession
from .places import here

__all__ = ["CoreUnit", "Unit", "current"]

_units: ContextVar[tuple[Unit, ...]] = ContextVar("holdfast_units", default=())

_OWN_COMMIT = (
    "run() commits the unit of work when its function returns; the function itself must not commit. Nothing was "
    "committed. Remove the commit(). If something must be committed first, do that in a run() of its own."
)


def current(target: object) -> Unit | None:
    """Return the unit that is under way for a target, where this code is running, or ``None``.

    Under way is one whose function was called and whose COMMIT was not sent. It is under way in its own process,
    thread, greenlet and task alone, whatever has copied its context.
    """
    units = [unit for unit in _units.get() if unit.target is target]
    if not units:
        return None
    place = here()
    return next((unit for unit in reversed(units) if unit.place == place and unit.can_be_joined), None)


class Unit:
    """What :class:`CoreUnit` and the ORM's units have in common."""

    subject: Any = None
    """What the function gets, once :meth:`open` was called."""

    def __init__(self, target: object, *, verify: bool) -> None:
        self.target = target
        self.verify = verify
        self.place = here()
        """Where it is under way."""
        self.opened = False
        """:meth:`open` is through: the function can be called."""
        self.left = False
        """:meth:`active` is through: this attempt is over, however it went."""
        self.token: commits.Token | None = None
        """What was written into the commits table."""
        self.lost: list[tuple[Engine, LostSession]] = []
        """Sessions of connections that were lost in this unit."""
        self._connections: list[Connection] = []
        self._records: dict[Connection, list[CommitRecord]] = {}
        """What became of the commits of each, of all its transactions."""
        self._sent: dict[ConnectionState, int] = {}
        """What had been sent on each before the function was called."""
        self._sessions: dict[Connection, LostSession] = {}
        self._broken: dict[Connection, BaseException] = {}
        self._own: list[BaseException] = []
        """What drivers have raised on its connections."""
        self.broken_by: BaseException | None = None
        """The last error after which one of its transactions was gone."""
        self.committing = False
        """:meth:`commit` has come to the COMMIT."""
        self._to_commit: list[Connection] = []
        """The connections that were in a transaction then."""
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
            self.left = True  # a context that was copied meanwhile still has it
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
        for connection in self.open_connections():
            self._raise_what_broke(connection)
        open_now = self.open_connections()
        if self.verify and open_now:
            if len(open_now) > 1:
                raise InvalidRequestError(
                    "run(verify=True) can verify one database's transaction, and this unit has begun "
                    f"{len(open_now)}. Split it, or leave verify out."
                )
            states = [state for state in map(_state_of, open_now) if state is not None]
            if any(state.sent != self._sent.get(state) for state in states):
                self.token = commits.write_token(open_now[0])
        for connection in open_now:
            self._keep_record(connection)
        self._to_commit = open_now
        self.committing = True
        self.send_commit()

    def _raise_what_broke(self, connection: Connection) -> None:
        """Raise an error that the function has caught, if the server has undone what came before it."""
        if connection in self._broken:
            raise self._broken[connection]
        for error in [error for record in self._records.get(connection, ()) for error in record.errors]:
            verdict = judge(error)
            if verdict.rolled_back or (verdict.may_have_rolled_back and commits.rolls_back_on_timeout(connection)):
                self._own.append(error)
                raise error

    def discard(self) -> None:
        """End without a COMMIT. An error while doing so would hide the one that is the reason."""
        try:
            self.roll_back()
        except SQLAlchemyError as error:
            for connection in self._connections:
                if not connection.closed:
                    connection.invalidate()
                    connection.close()
            if from_outside(error) is not None:
                raise

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
    def reporter(self) -> Reporter:
        """What tells what happens to its engine."""
        return reporter_of(self.engine) if self.engine is not None else Reporter("a session without a connection")

    @property
    def can_be_joined(self) -> bool:
        """Whether what is done now is still a part of it."""
        return (
            self.opened
            and not self.left
            and not any(record.over for record in self._all_records())
            and not self._is_over()
        )

    def _is_over(self) -> bool:
        """Say whether a transaction of it has ended, as far as SQLAlchemy knows."""
        return any(connection.closed or not connection.in_transaction() for connection in self._to_commit)

    @property
    def repeatable(self) -> bool:
        """Whether what was done can be done again from the beginning: all of it is known to have been in transactions
        that were not committed, and in this process."""
        return (
            self.place[0] == os.getpid()
            and not any(record.may_have_committed for record in self._all_records())
            and all((known := find(connection.engine)) is not None and known.active for connection in self._connections)
        )

    @property
    def commit_state(self) -> Commit:
        """What is known of its COMMIT: one of :class:`Commit`, those aside that the server has to be asked for."""
        states = {
            records[-1].state for connection in self._to_commit for records in [self._records[connection]] if records
        }
        if states == {CommitState.DONE}:
            return Commit.DONE
        # One of several COMMITs has failed, and others were done before.
        if states & {CommitState.SENT, CommitState.DONE}:
            return Commit.UNKNOWN
        return Commit.REFUSED if CommitState.REFUSED in states else Commit.NOT_SENT

    @property
    def largest_statement(self) -> int:
        """The bytes of the largest statement that was sent."""
        return max((record.largest for record in self._all_records()), default=0)

    def owns(self, error: BaseException) -> bool:
        """Say whether it was raised on one of its connections, or while it was getting one."""
        orig = getattr(error, "orig", None) or error
        return any(own is orig for own in self._own) or self.was_connecting(error)

    def was_connecting(self, error: BaseException) -> bool:
        """Say whether it was raised while this unit, and not its function, was getting a connection."""
        return not self.opened and not self._connections

    def session_to_ask(self) -> tuple[Engine, LostSession | None]:
        """Return the engine and the lost session of a unit that was to be verified."""
        assert self.token is not None
        connection = self.token.written_on
        return connection.engine, self._sessions.get(connection)

    def _all_records(self) -> Iterator[CommitRecord]:
        for records in self._records.values():
            yield from records

    # -- the connections ---------------------------------------------------------------------------------------

    def open_connections(self) -> list[Connection]:
        """Return those that are in a transaction now."""
        return [connection for connection in self._connections if not connection.closed and not connection.invalidated]

    def watch(self, connection: Connection) -> None:
        """Have a connection take part.

        :raises InvalidRequestError: when each statement on it commits by itself.
        """
        self._connections.append(connection)
        state = _state_of(connection)
        if state is None:
            return
        held = drivers.held_connection(connection.connection.dbapi_connection)
        if state.isolation_level == "AUTOCOMMIT" or held._holdfast_autocommits():
            raise InvalidRequestError(
                "run() needs transactions, and this connection is in AUTOCOMMIT: each statement is committed by "
                "itself. Use an engine without it, as engine.execution_options(isolation_level='REPEATABLE READ')."
            )
        self._keep_record(connection)
        for name, listener in _LISTENERS.items():
            event.listen(connection, name, listener(self))
        holder = find(connection.engine)
        if isinstance(holder, HeldEngine):
            holder.also_tell_of_errors(_on_error)
        session = lost_sessions.get_ready(connection)
        if session is not None:
            self._sessions[connection] = session
        self._sent[state] = state.sent

    def _keep_record(self, connection: Connection) -> None:
        """Have the driver's connection that is in use now write down what becomes of its commits."""
        state = _state_of(connection)
        records = self._records.setdefault(connection, [])
        if state is not None and state.record not in records:
            records.append(CommitRecord(state.record))
            state.keep_record(records[-1])

    def _on_commit(self, connection: Connection) -> None:
        if not self.committing:
            self._refused = True
            raise InvalidRequestError(_OWN_COMMIT)
        state = _state_of(connection)
        if state is not None and state.record is not None:
            state.record.expected = True

    def _on_rollback(self, connection: Connection) -> None:
        self._broken.pop(connection, None)

    def note_error(self, context: ExceptionContext) -> bool:
        """Note what an error on one of its connections means. Says whether it is one of its connections."""
        connection = context.connection
        if connection is None or connection not in self._connections:
            return False
        self._own.append(context.original_exception)
        if context.is_disconnect:
            session = self._sessions.pop(connection, None)
            fairy = None if connection.closed or connection.invalidated else connection.connection
            if fairy is not None and fairy.dbapi_connection is not None:
                session = lost_sessions.session_of(fairy.dbapi_connection) or session
            if session is not None:
                self._sessions[connection] = session
                self.lost.append((connection.engine, session))
        if context.is_disconnect or judge(context.original_exception).rolled_back:
            self.broken_by = context.sqlalchemy_exception or context.original_exception
            self._broken.setdefault(connection, self.broken_by)
        return True


_LISTENERS: dict[str, Callable[[Unit], Callable[..., None]]] = {
    # A connection that was lost and rolled back goes on with another one of the driver's.
    "begin": lambda unit: unit._keep_record,
    "commit": lambda unit: unit._on_commit,
    "prepare_twophase": lambda unit: lambda connection, *_: unit._on_commit(connection),
    "commit_twophase": lambda unit: lambda connection, *_: unit._on_commit(connection),
    "rollback": lambda unit: unit._on_rollback,
}
"""What a unit wants to know of its connections."""


def _on_error(context: ExceptionContext) -> None:
    any(unit.note_error(context) for unit in _units.get())


def _state_of(connection: Connection) -> ConnectionState | None:
    if connection.closed or connection.invalidated:
        return None
    return drivers.state_of(connection.connection.dbapi_connection)


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
        self.opened = True

    def send_commit(self) -> None:
        self.subject.commit()

    def close(self) -> None:
        self.subject.close()

    keep = close

    def roll_back(self) -> None:
        if self.subject is not None:
            self.subject.close()
