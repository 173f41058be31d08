"""What was written, and is rolled back because a session or connection ends without ``commit()``.

Often that is a mistake, and a silent one: no error is raised, and the row is not there. With
``holdfast_uncommitted_warning`` a warning names the line that wrote it, once for each line.

It comes only where it is certain that rows were changed and that nobody meant to undo that. So nothing is said when

* the application called ``rollback()``, of a session, a transaction or a savepoint;
* an exception is on its way out, or there was a database error in the transaction, or Flask has dealt with an exception
  in the request (:data:`given_up`);
* the server commits each statement, or something was sent that may have committed (DDL, CALL);
* the connection has temporary tables, whose rows nobody wants to keep;
* the server says that no transaction is open, as after writing to tables that know none (MyISAM). mysqlclient does not
  tell that.

Statements of a driver's own cursor are not seen. Nothing of this is listened to while the warning is off.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from .. import drivers
from .._application import line_of, place
from .._pages import page
from ..drivers import ConnectionState
from ..reporting import Reporter
from ..server.lexer import word
from ..server.statements import may_commit, shortened

__all__ = ["Uncommitted", "given_up"]

given_up: ContextVar[bool] = ContextVar("holdfast_given_up", default=False)
"""What runs now is given up, so that it is right that nothing of it is committed."""

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
_MOST_PLACES = 1000
"""So many lines are named; then no more, whatever makes up code while it runs."""


@dataclass(frozen=True)
class _Write:
    statement: str
    """Its first words, without values."""
    where: str
    """The application's line that sent it."""


@dataclass
class _Transaction:
    done: list[_Write | str] = field(default_factory=list)
    """What was written, and the names of the savepoints in between."""
    failed: bool = False
    """There was an error in it."""


class Uncommitted:
    """Watches one engine for what is written and not committed."""

    def __init__(self, reporter: Reporter) -> None:
        self.on = False
        self._reporter = reporter
        self._transactions: WeakKeyDictionary[ConnectionState, _Transaction] = WeakKeyDictionary()
        self._with_temporary_tables: WeakSet[ConnectionState] = WeakSet()
        self._said: dict[str, object] = {}

    def listen(self, engine: Engine) -> None:
        """Begin to watch it."""
        self.on = True
        event.listen(engine, "begin", self._on_begin)
        event.listen(engine, "after_cursor_execute", self._on_executed)
        event.listen(engine, "rollback", self._on_rollback)
        for name in ("commit", "begin_twophase", "rollback_twophase", "commit_twophase", "prepare_twophase"):
            event.listen(engine, name, self._on_end)

    def note_error(self, context: ExceptionContext) -> None:
        """Note an error: what follows it may be rolled back for a reason."""
        transaction = self._of(context.connection)[1] if context.connection is not None else None
        if transaction is not None:
            transaction.failed = True

    def _of(self, connection: Connection) -> tuple[ConnectionState | None, _Transaction | None]:
        if connection.closed or connection.invalidated:
            return None, None
        state = drivers.state_of(connection.connection.dbapi_connection)
        if state is None or not state.one_user_at_a_time:
            return None, None
        return state, self._transactions.get(state)

    def _on_begin(self, connection: Connection) -> None:
        state, _ = self._of(connection)
        if state is not None:
            self._transactions[state] = _Transaction()

    def _on_end(self, connection: Connection, *rest: Any) -> None:
        state, _ = self._of(connection)
        if state is not None:
            self._transactions.pop(state, None)

    def _on_executed(self, connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        state, transaction = self._of(connection)
        if state is None or transaction is None:
            return
        first, end = word(statement, behind_parentheses=True)
        if first in _WRITES:
            held = drivers.held_connection(connection.connection.dbapi_connection)
            if cursor.rowcount > 0 and not held._holdfast_autocommits():
                transaction.done.append(_Write(shortened(statement), place(sys._getframe(1))))
        elif first == "SAVEPOINT":
            transaction.done.append(word(statement, end)[0])
        elif first == "ROLLBACK":
            _roll_back(transaction.done, statement, end)
        elif first == "CREATE" and word(statement, end)[0] == "TEMPORARY":
            self._with_temporary_tables.add(state)
        elif may_commit(statement):
            transaction.done.clear()

    def _on_rollback(self, connection: Connection) -> None:
        """Called before the ROLLBACK is sent."""
        state, transaction = self._of(connection)
        if state is None or transaction is None:
            return
        del self._transactions[state]
        written = [one for one in transaction.done if isinstance(one, _Write)]
        if (
            not written
            or transaction.failed
            or given_up.get()
            or sys.exc_info()[0] is not None
            or state in self._with_temporary_tables
            or state.nothing_to_roll_back  # the application has ended it with the driver's own commit()
            or state.reads_only
            or _asked_for(sys._getframe(1))
        ):
            return
        held = drivers.held_connection(connection.connection.dbapi_connection)
        if held._holdfast_in_transaction() is not False:
            self._say(written)

    def _say(self, written: list[_Write]) -> None:
        last, mine = written[-1], object()
        if len(self._said) < _MOST_PLACES and self._said.setdefault(last.where, mine) is mine:
            self._reporter.never_committed(last.statement, last.where, len(written) - 1, page("errors/uncommitted"))


def _roll_back(done: list[_Write | str], statement: str, position: int) -> None:
    """Forget what is undone by a statement that begins with ROLLBACK.

    :param position: behind that word.
    """
    next_word, end = word(statement, position)
    if next_word == "WORK":
        next_word, end = word(statement, end)
    name = ""
    if next_word == "TO":
        name, end = word(statement, end)
        if name == "SAVEPOINT":
            name = word(statement, end)[0] or name
    if name not in done:  # all of it, or nobody knows how much
        done.clear()
    while name and name in done:
        if done[-1] == name:
            break
        done.pop()


def _asked_for(frame: FrameType | None) -> bool:
    """Say whether the application has called ``rollback()``, of whatever it has: told by the way it came here."""
    application = line_of(frame)
    while frame is not None and frame is not application:
        if frame.f_code.co_name == "rollback":
            return True
        frame = frame.f_back
    return False
