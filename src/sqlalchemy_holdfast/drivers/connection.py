"""What every driver's held connection has in common.

The object that a driver (or a ``creator=``, or a tracer) returned is given a subclass of its own class
(:func:`hold`), so ``isinstance``, ``driver_connection`` and other people's instrumentation go on working. The
subclass's methods are those of :class:`HeldConnection` and of the driver's own class below it. They are copied into
a class with one base, because ``__class__`` assignment wants the same memory layout, which a second base can change;
hence ``wire.stock.method(self)`` where one would write ``super().method()``. They keep three promises:

* **Deferred rollback.** After plain reads, ``rollback()`` sends ROLLBACK and returns; the reply is read before
  anything else is read. After anything else (writes, locking reads, SET, XA, ...) it waits, as in stock: what was
  written is undone and unlocked when ``rollback()`` returns, and an error reaches the one who caused it.
* **Pipelining.** A statement that may follow an unanswered ROLLBACK (:mod:`~.statements`) is sent behind
  it and both replies are read in order, so that a request waits for its own statements only.
* **Clean tracking.** After an acknowledged COMMIT or ROLLBACK with nothing sent since, a further ROLLBACK is left
  out. The server's in-transaction flag is not used: after a failed first statement, and for non-transactional
  tables, it is 0 while metadata locks are held (MariaDB 10.11, MySQL 9.7).

All of it rests on one rule: **before any command is sent, the state must be looked at** (``_holdfast_begin()``, or its
short cut where every request passes). A method left out would read the ROLLBACK's reply as its own.
``tests/drivers/test_every_method_is_covered.py`` lists the methods of each driver's connection class and fails when a
new one is not classified.

Rejected: building the subclass in ``do_connect`` (bypasses ``creator=``, other listeners and every tracer that
patches the driver's ``connect``); a proxy object around the connection (breaks ``isinstance``); sending ROLLBACK in
the pool's ``reset`` event (isolation-level finalizers run SQL after it and would read the wrong reply).
"""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from collections.abc import Callable
from os import getpid
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from ..counters import Cause
from ..server.faults import error_number, refuses_commit
from ..server.middleboxes import Greeting
from ..server.statements import is_plain_read, may_commit, may_follow_rollback, only_reads
from .outside import from_outside
from .wire import GONE, Wire

__all__ = ["HeldConnection", "alone", "hold", "names", "server_error", "unwrap"]

_CLOSE_SECONDS = 0.2
_OUT_OF_SYNC = 2014  # CR_COMMANDS_OUT_OF_SYNC
_READS = 64
"""So many statements of a transaction are remembered before it is asked whether they only read."""
_LONG = 100_000
"""So long, in bytes or characters, are those that are remembered."""


def server_error(number: object) -> bool:
    """Say whether an error number comes from the server (in a reply) and not from the client library.

    Client errors have the numbers 2000 to 2999 (errmsg.h); 0 and -1 are drivers' own.
    """
    return isinstance(number, int) and number > 0 and not 2000 <= number < 3000


_INHERITED = (
    "MySQL server has gone away (holdfast: this connection and its transaction belong to the parent process {parent}, "
    "which goes on with them; process {child} was forked from it and cannot commit or read what was begun there. "
    "Call rollback() or close() and begin anew: that is done on a connection of this process's own.)"
)
_PARENTS_PART = (
    "MySQL server has gone away (holdfast: the parent process began this transaction and may have changed something in "
    "it. Process {child} was forked from it and has only its own half, which must not be committed alone. Nothing of "
    "it was committed. Call rollback() or close(), and begin anew.)"
)
_TWO_THREADS = (
    "{second} used a connection while {first} was in the middle of a command on it. Nothing was sent. A connection, "
    "and a Session, can serve one thread at a time: give each thread a Session of its own."
)
_BUSY = 2000
"""CR_UNKNOWN_ERROR: neither SQLAlchemy nor holdfast takes it for a lost connection, which the first thread's is not."""


def alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let one thread at a time into a method that exchanges something with the server.

    The methods of the hot path have this spelt out.

    :raises: (the method made of it) the driver's ProgrammingError, before anything is sent, when another thread is in
        the middle of such a method. It names both threads.
    """

    @functools.wraps(method)
    def guarded(self: HeldConnection, *args: Any, **kwargs: Any) -> Any:
        outermost = self._holdfast_enter()
        try:
            return method(self, *args, **kwargs)
        finally:
            if outermost:
                self._holdfast.users.pop(0, None)

    return guarded


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def _thread_named(ident: int) -> str:
    for thread in threading.enumerate():
        if thread.ident == ident:
            return f"thread {thread.name!r}"
    return f"thread {ident}"


class HeldConnection:
    """The methods that a held connection has in place of its driver's. Names of our own start with ``_holdfast`` to
    keep out of the driver's way; the state is one :class:`Wire`."""

    _holdfast: Wire

    # -- what a driver's mixin provides ------------------------------------------------------------------------

    _holdfast_errors: type[Exception]
    """The driver's base exception."""

    def _holdfast_fd(self) -> int | None:
        """Return the socket's descriptor, or ``None``."""
        raise NotImplementedError

    def _holdfast_error(self, number: int, text: str, kind: str = "OperationalError") -> Exception:
        """Make one of the driver's own errors.

        :param kind: the name of its class, one of those that PEP 249 has.
        """
        raise NotImplementedError

    def _holdfast_greeting(self) -> Greeting:
        """Return what the server said before anything else, as far as the driver has kept it. Nothing is sent."""
        raise NotImplementedError

    def _holdfast_send(self, statement: bytes) -> None:
        """Send a statement that is answered with OK, without reading the reply."""
        raise NotImplementedError

    def _holdfast_read_ok(self) -> None:
        """Read the reply to it; raise the driver's error when it is one."""
        raise NotImplementedError

    def _holdfast_has_unread_result(self) -> bool:
        """Say whether the driver itself knows of rows or result sets not read yet."""
        return False

    def _holdfast_is_open(self) -> bool:
        """Say whether the driver itself still considers the connection open."""
        return True

    def _holdfast_left_to_parent(self) -> None:
        """Called in a child. Nothing may be sent or read."""

    def _holdfast_let_go(self) -> None:
        """Called when nobody has the object any more whose session was ended. Close what the driver leaves open."""

    def _holdfast_finish_unread(self) -> None:
        """Read what is left of the last command's reply, where the driver would not do it before the next command.

        :raises: the server's error, when there is one in what was left.
        """

    def _holdfast_autocommits(self) -> bool:
        """Say whether the server commits each statement, by the status flags of its last reply."""
        return False

    def _holdfast_charset(self) -> str:
        """Return the name of the character set in which statements are sent, as far as the driver knows it."""
        return ""

    def _holdfast_readable(self, statement: Any) -> Any:
        """Return a statement in the form that tells most about it: bytes may be of any character set."""
        if isinstance(statement, (bytes, bytearray)) and self._holdfast_charset().startswith("utf8"):
            return statement.decode("utf-8", "replace")
        return statement

    def _holdfast_backslash_escapes(self) -> bool | None:
        """Say whether a backslash in a string is an escape (not with sql_mode NO_BACKSLASH_ESCAPES), if it is known."""
        return None

    def _holdfast_not_sent(self, error: BaseException) -> bool:
        """Say whether a driver's error shows that it has not sent the command."""
        return False

    def _holdfast_time_limit(self, error: BaseException) -> bool:
        """Say whether a driver's error is the work of a time limit on this side: the server may be busy with the
        statement still, and whoever set the limit wants to hear of it."""
        return from_outside(error) is not None or isinstance(error.__cause__ or error.__context__, TimeoutError)

    _holdfast_volatile: frozenset[str] = frozenset()
    """The attributes of the driver's object that change while it is used; all others are how it was set up."""
    _holdfast_members: tuple[str, ...] = ()
    """Those of a C object, which are not in its ``__dict__``."""

    # -- the rules ---------------------------------------------------------------------------------------------

    def _holdfast_begin(self, statement: Any = None, *, harmless: bool = False) -> None:
        """Make the connection ready for a command: nothing pending, and no longer clean.

        :param statement: its text, when it is a statement.
        :param harmless: it is none, and is known to begin, change and commit nothing.
        :raises: the driver's OperationalError (2006) when the connection must not be used any more, as when the reply
            to the last command was never read; the driver's error when the pending ROLLBACK turns out to have failed.
        """
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
        if wire.in_flight and not wire.depth and wire.fault is None and wire.exclusive:
            wire.fault = Cause.INTERRUPTED
        if wire.fault is not None:
            raise self._holdfast_fault_error()
        if wire.judged and not harmless:
            self._holdfast_judge(statement)
        if wire.pending:
            self._holdfast_settle()
        wire.sent += 1
        if harmless:
            return
        wire.clean = False
        if wire.reads_only:
            self._holdfast_note(statement)

    def _holdfast_note(self, statement: Any) -> None:
        """Note what is about to be sent in a transaction that has only read so far.

        :param statement: its text, or ``None`` for another command.
        """
        wire = self._holdfast
        if statement is None or not is_plain_read(statement):
            wire.reads_only = False
            return
        wire.reads.append(statement if len(statement) <= _LONG else "")  # no longer one is known to only read
        if len(wire.reads) > _READS:
            self._holdfast_has_only_read()

    def _holdfast_judge(self, statement: Any) -> None:
        """Say what a command may commit, to whoever has to know, before it is sent.

        :param statement: its text, or ``None`` for another command, which may do anything.
        :raises: the driver's OperationalError (2006) when it might commit what belongs to a parent's transaction.
        """
        wire = self._holdfast
        record = wire.record
        size = len(statement) if statement is not None else 0
        if record is not None and size > record.largest:
            record.largest = size
        if wire.parents_part or (record is not None and not record.may_have_committed):
            statement, escapes = self._holdfast_readable(statement), self._holdfast_backslash_escapes()
            commits = statement is None or may_commit(statement, backslash_escapes=escapes)
            if commits and wire.parents_part:
                wire.fault = Cause.INHERITED
                raise self._holdfast_fault_error()
            if record is not None and (
                commits or (self._holdfast_autocommits() and not only_reads(statement, backslash_escapes=escapes))
            ):
                record.commits_by_itself()

    def _holdfast_note_error(self, error: Exception) -> None:
        """Note an error that the server has answered with, for whoever keeps account of the transaction."""
        record = self._holdfast.record
        if record is not None and server_error(error_number(error)):
            record.errors.append(error)

    def _holdfast_may_pipeline(self, statement: Any) -> bool:
        """Say whether a statement may be sent behind the ROLLBACK whose reply is pending."""
        wire = self._holdfast
        if not wire.pipeline or wire.fault is not None or not may_follow_rollback(statement):
            return False
        # In AUTOCOMMIT it would stay, also when the ROLLBACK has failed and the statement is told to have failed.
        return not self._holdfast_autocommits() or only_reads(
            self._holdfast_readable(statement), backslash_escapes=self._holdfast_backslash_escapes()
        )

    def _holdfast_pipelined(self, statement: Any) -> None:
        """Note that the statement sent behind a ROLLBACK is the first since, now that the ROLLBACK was answered."""
        wire = self._holdfast
        wire.counters.statements_pipelined += 1
        wire.reads_only = is_plain_read(statement)
        wire.reads = [statement] if wire.reads_only else []

    def _holdfast_has_only_read(self) -> bool:
        """Say whether it is certain that nothing was changed or locked since the last COMMIT or ROLLBACK."""
        wire = self._holdfast
        if wire.clean or wire.pending:
            return True
        reads, wire.reads = wire.reads, []
        if wire.reads_only:
            escapes = self._holdfast_backslash_escapes()
            wire.reads_only = all(
                only_reads(self._holdfast_readable(read), backslash_escapes=escapes) for read in reads
            )
        return wire.reads_only

    def _holdfast_settle(self, *, statement_behind: bool = False) -> None:
        """Read the reply to the ROLLBACK that was sent, waiting for it if it has not arrived.

        :param statement_behind: a statement was sent after it, whose reply is still to be read.
        :raises: the driver's error, and only that; the connection then has a fault. What a signal's handler raises
            passes through.
        """
        wire = self._holdfast
        wire.pending = False
        wire.in_flight = True
        try:
            self._holdfast_read_ok()
        except (self._holdfast_errors, OSError, AttributeError, ValueError) as error:
            self._holdfast_raise_outside(error)
            if isinstance(error, self._holdfast_errors):
                wire.fault = Cause.ROLLBACK_REFUSED if server_error(error_number(error)) else Cause.CLOSED
                raise
            wire.fault = Cause.CLOSED  # a driver reading from what it has closed itself
            raise self._holdfast_error(2013, "Lost connection to MySQL server during ROLLBACK") from error
        wire.in_flight = statement_behind
        wire.clean = not statement_behind
        wire.reads_only = True
        wire.reads = []

    def _holdfast_raise_outside(self, error: BaseException) -> None:
        """Raise what a program's own code has raised, if an error that is about to be dealt with was made of that."""
        outside = from_outside(error)
        if outside is not None:
            self._holdfast.fault = Cause.INTERRUPTED
            raise outside from None

    def _holdfast_enter(self) -> bool:
        """Claim the connection for this thread, which is about to exchange something with the server.

        ``threading.get_ident`` is looked up at each call: gevent and eventlet may replace it at any time, by one that
        tells greenlets apart.

        :return: false where it has claimed it already, further out. Who gets true gives the claim up.
        :raises: the driver's ProgrammingError when another thread is in the middle of a command.
        """
        users, own = self._holdfast.users, threading.get_ident()
        if users.get(0) == own:
            return False
        first = users.setdefault(0, own)  # one step that no other thread can come between
        if first != own:
            raise self._holdfast_busy_error(first)
        return True

    def _holdfast_refuse_second_thread(self) -> None:
        """Raise an error when another thread is in the middle of a command."""
        first = self._holdfast.users.get(0, threading.get_ident())
        if first != threading.get_ident():
            raise self._holdfast_busy_error(first)

    def _holdfast_busy_error(self, first: int) -> Exception:
        names = _thread_named(first), _thread_named(threading.get_ident())
        return self._holdfast_error(_BUSY, _TWO_THREADS.format(first=names[0], second=names[1]), "ProgrammingError")

    def _holdfast_fault_error(self) -> Exception:
        fault = self._holdfast.fault
        if fault is Cause.INHERITED and self._holdfast.parents_part:
            return self._holdfast_error(2006, _PARENTS_PART.format(child=getpid()))
        if fault is Cause.INHERITED:
            return self._holdfast_error(2006, _INHERITED.format(parent=abs(self._holdfast.pid), child=getpid()))
        return self._holdfast_error(2006, f"MySQL server has gone away (holdfast: this connection was {fault})")

    def _holdfast_look(self) -> str | None:
        """Say why this connection must not be used, or ``None``: no round trip, no wait.

        A healthy idle connection has nothing to read. Where a ROLLBACK's reply is pending, what has arrived is read
        and the socket looked at once more; where it has not arrived, the next statement is sent behind it.
        """
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
        try:
            found = wire.poll(0) if wire.poll is not None else None  # Wire.events(), spelt out: for every request
            if not found and wire.fault is None and not wire.in_flight:
                return None if not wire.exclusive or self._holdfast_is_open() else Cause.CLOSED
            return self._holdfast_diagnose(found[0][1] if found else 0)
        except (self._holdfast_errors, OSError, AttributeError, ValueError, TypeError) as error:
            wire.fault = wire.fault or Cause.CLOSED  # whatever a driver makes of being asked: not one to go on with
            outside = from_outside(error)
            if outside is not None:
                raise outside from None
            return wire.fault

    def _holdfast_diagnose(self, events: int) -> str | None:
        wire = self._holdfast
        if wire.fault is not None:
            return wire.fault
        if not wire.exclusive:
            return Cause.CLOSED if events & GONE else None
        if wire.in_flight:
            return Cause.INTERRUPTED
        if not self._holdfast_is_open():
            return Cause.CLOSED
        if events and wire.pending:
            try:
                self._holdfast_settle()
            except self._holdfast_errors:
                return wire.fault
            events = wire.events()
        if not events:
            return None
        if self._holdfast_has_unread_result():
            try:
                self._holdfast_finish_unread()
            except self._holdfast_errors as error:
                self._holdfast_raise_outside(error)
            if self._holdfast_has_unread_result():
                return wire.fault or Cause.UNREAD_RESULT
            events = wire.events()
            if not events:
                return wire.fault
        return Cause.CLOSED if events & GONE else Cause.OUT_OF_STEP

    def _holdfast_probe(self, wait_seconds: float) -> str | None:
        """Make one round trip that takes ``wait_seconds`` at the most; say what is wrong, or ``None``.

        A ROLLBACK is sent, because the reply to one that is pending still serves as well. Not where a transaction may
        be open (``pool_reset_on_return=None``): it goes on, and something is sent that does nothing.
        """
        wire = self._holdfast
        if wire.poll is None or not wire.probe:
            return None
        wire.counters.probes += 1
        if not wire.pending:
            if not wire.clean:
                cause: str | None = self._holdfast_probe_open(wait_seconds)
                return cause
            try:
                self._holdfast_defer_rollback()
            except self._holdfast_errors as error:
                self._holdfast_raise_outside(error)
                return Cause.CLOSED
        if wire.events(wait_seconds):
            return self._holdfast_look()
        wire.pending = False  # nobody is to wait for that reply again, least of all close()
        wire.fault = Cause.SILENT
        return wire.fault

    @alone
    def _holdfast_probe_open(self, wait_seconds: float) -> str | None:
        wire = self._holdfast
        cause: str | None = self._holdfast_look()
        if cause is not None:
            return cause
        wire.in_flight = True
        try:
            self._holdfast_send(b"DO 0")
            if not wire.events(wait_seconds):
                wire.fault = Cause.SILENT
                return wire.fault
            self._holdfast_read_ok()
        except self._holdfast_errors as error:
            self._holdfast_raise_outside(error)
            if not server_error(error_number(error)):  # a server's error is an answer, too
                wire.fault = Cause.CLOSED
                return wire.fault
        wire.in_flight = False
        return self._holdfast_look()

    # -- the driver's methods, held ----------------------------------------------------------------------------

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Open a cursor. It is one of another connection when this one was inherited by a child, or was lost before
        anything was sent on it in its checkout."""
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
            other = wire.owner.replace_inherited(self) if wire.owner is not None else None
            if other is None:
                raise self._holdfast_fault_error()
            return other.cursor(*args, **kwargs)
        if wire.users:
            self._holdfast_refuse_second_thread()
        if wire.sent:
            wire.first_cursor = None
        else:
            wire.first_cursor = monotonic()
            if wire.poll is not None and wire.poll(0):
                other = self._holdfast_replace()
                if other is not None:
                    return other.cursor(*args, **kwargs)
        return wire.stock.cursor(self, *args, **kwargs)

    def _holdfast_replace(self) -> Any:
        """Return the connection that takes the place of this one, if it must not be used.

        :raises: the driver's OperationalError (2006) when there ought to be one and it could not be made.
        """
        wire = self._holdfast
        cause = self._holdfast_look()
        if cause is None or wire.owner is None:
            return None
        wire.fault = cause
        try:
            return wire.owner.replace_before_first_statement(self, cause)
        except (self._holdfast_errors, SQLAlchemyError) as error:
            self._holdfast_raise_outside(error)
            raise self._holdfast_fault_error() from error

    def rollback(self) -> None:
        """Roll back; see the module's docstring for when and how anything is sent.

        Returns quietly when the connection can be seen to be dead or out of step: it is discarded, and with its
        session the server rolls back.
        """
        wire = self._holdfast
        if wire.users:
            self._holdfast_refuse_second_thread()
        if wire.pid != getpid():
            wire.notice_fork()  # nothing to roll back here
        elif not wire.exclusive:
            self._holdfast_stock_rollback()
        elif wire.fault is not None:
            pass  # it goes with the connection
        elif wire.in_flight:
            wire.give_up(Cause.INTERRUPTED)
        elif wire.pending:
            pass  # on its way already
        elif wire.clean:
            wire.counters.rollbacks_skipped += 1
        elif self._holdfast_has_unread_result():
            self._holdfast_stock_rollback()  # reads what is unread, or refuses
        elif wire.poll is not None and (found := wire.poll(0)):
            wire.give_up(Cause.CLOSED if found[0][1] & GONE else Cause.OUT_OF_STEP)
        elif wire.defer and wire.reads_only and wire.level != "SERIALIZABLE":  # there a plain read locks rows
            self._holdfast_defer_rollback()
            wire.counters.rollbacks_deferred += 1
        else:
            self._holdfast_stock_rollback()
        wire.begun = False
        if wire.parents_part:
            wire.belong_to_parents(False)

    @alone
    def _holdfast_stock_rollback(self) -> None:
        wire = self._holdfast
        wire.stock.rollback(self)
        wire.clean = wire.reads_only = True
        wire.reads = []
        if wire.record is not None:
            wire.record.rolled_back()

    def _holdfast_defer_rollback(self) -> None:
        wire = self._holdfast
        outermost = self._holdfast_enter()
        try:
            wire.in_flight = True  # until it has gone out whole
            self._holdfast_send(b"ROLLBACK")
            wire.pending = True
            wire.in_flight = False
        finally:
            if outermost:
                wire.users.pop(0, None)
        if wire.record is not None:
            wire.record.rolled_back()

    @alone
    def commit(self) -> None:
        """Commit, and wait for the reply: never deferred, never pipelined, never repeated.

        What is left of an earlier reply is read first, and an error in it is raised, before anything is sent. A
        connection that can be seen to be closed raises the driver's error (2006) before that, too.
        """
        wire = self._holdfast
        if wire.pid == getpid() and wire.fault is None and not wire.in_flight:
            self._holdfast_finish_unread()
        self._holdfast_begin(harmless=not wire.parents_part)
        if wire.exclusive and wire.hung_up():
            wire.fault = Cause.CLOSED
            raise self._holdfast_fault_error()
        record, judged = wire.record, wire.judged
        wire.judged = wire.reads_only = False  # the COMMIT that the driver sends is this one
        if record is not None:
            record.sending()
        try:
            wire.stock.commit(self)
        except self._holdfast_errors as error:
            if record is not None:
                if self._holdfast_not_sent(error):
                    record.not_sent()
                elif refuses_commit(error):
                    record.answered(refused=True)
            raise
        finally:
            wire.judged = judged
        if record is not None:
            record.answered(refused=False)
        wire.begun = False
        wire.clean = wire.reads_only = True
        wire.reads = []

    def close(self) -> None:
        """Close, reading a pending reply first if it comes soon, so that the server does not count an aborted
        client."""
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
            if not self._holdfast_is_harmless():
                return
        if wire.users and wire.users.get(0) != threading.get_ident():
            # Another thread is inside the driver with it: only the session ends now, the object when that one is out.
            wire.give_up(wire.fault or Cause.INTERRUPTED)
            return
        try:
            if wire.pending and not wire.in_flight and wire.fault is None:
                try:
                    if wire.events(_CLOSE_SECONDS):
                        self._holdfast_settle()
                except self._holdfast_errors:
                    pass
            wire.pending = False
            wire.sent += 1  # closed by this side: nothing is put in its place in the same checkout
            wire.fault = wire.fault or Cause.CLOSED
            wire.stock.close(self)
            wire.ended()
        except BaseException:  # interrupted: whoever keeps the traceback would keep the session alive
            wire.give_up(wire.fault or Cause.INTERRUPTED)
            raise

    def _holdfast_is_harmless(self) -> bool:
        """Say whether an inherited connection's socket was replaced, so that the driver may close or drop it.

        Where the socket is not known (mysql-connector's C extension, when two threads connected at once), or its
        descriptor was closed and may be another's by now (a daemon closes all it inherited), it is not: the object is
        then kept for ever, so that its destructor does no harm.
        """
        if self._holdfast.fd is not None and self._holdfast.same_socket():
            return True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        return False


def _collected(self: Any) -> None:
    """The destructor of a held connection: what a driver's own sends in a child would reach the parent's session."""
    wire = getattr(self, "_holdfast", None)
    if wire is not None and wire.pid != getpid():
        wire.notice_fork()
        if not self._holdfast_is_harmless():
            return
    stock = getattr(wire.stock, "__del__", None) if wire is not None else None
    if stock is not None:
        stock(self)
    if wire is not None:
        if wire.fault is not None:
            self._holdfast_let_go()
        wire.ended()


_C = TypeVar("_C")
_classes: dict[tuple[type, type], type] = {}


def unwrap(connection: Any) -> Any:
    """Return the driver's own connection from inside a tracer's proxies (``__wrapped__``: OpenTelemetry, ddtrace)."""
    for _ in range(8):
        inner = getattr(connection, "__wrapped__", None)
        if inner is None:
            break
        connection = inner
    return connection


def hold(connection: _C, methods: type[HeldConnection], wire: Wire) -> None:
    """Turn a connection into a held one, in place.

    :param connection: the driver's own connection object, unwrapped.
    :param methods: the driver's class of methods.
    :param wire: its fresh state.
    """
    cls = type(connection)
    held = _classes.get((methods, cls)) or _classes.setdefault((methods, cls), _subclass(cls, methods))
    target: Any = connection
    wire.stock = cls
    wire.connection = weakref.ref(target)
    target._holdfast = wire
    target.__class__ = held
    wire.watch(target._holdfast_fd())


def _subclass(cls: type, methods: type[HeldConnection]) -> type:
    namespace: dict[str, Any] = {}
    for part in reversed(methods.__mro__[:-1]):
        namespace.update({name: value for name, value in vars(part).items() if not name.startswith("__")})
    namespace["__del__"] = _collected
    return type(cls.__name__, (cls,), {**namespace, "__module__": cls.__module__, "__qualname__": cls.__qualname__})
