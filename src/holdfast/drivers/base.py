"""What every driver's held connection has in common.

The object that a driver (or a ``creator=``, or a tracer) returned is given a subclass of its own class
(:func:`hold`), so ``isinstance``, ``driver_connection`` and other people's instrumentation go on working. The
subclass's methods are those of :class:`HeldConnection` and of the driver's own class below it. They are copied into
a class with one base, because ``__class__`` assignment wants the same memory layout, which a second base can change;
hence ``wire.stock.method(self)`` where one would write ``super().method()``. They keep three promises:

* **Deferred rollback.** After plain reads, ``rollback()`` sends ROLLBACK and returns; the reply is read before
  anything else is read. After anything else (writes, locking reads, SET, XA, ...) it waits, as in stock: what was
  written is undone and unlocked when ``rollback()`` returns, and an error reaches the one who caused it.
* **Pipelining.** A statement that may follow an unanswered ROLLBACK (``statements.py``) is sent behind
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
import weakref
from os import getpid
from time import monotonic
from typing import Any, TypeVar

from ..counters import Cause
from ..faults import error_number, refuses_commit
from .statements import is_plain_read
from .wire import GONE, Wire

__all__ = ["HeldConnection", "hold", "server_error", "unwrap"]

_CLOSE_SECONDS = 0.2


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

    def _holdfast_error(self, number: int, text: str) -> Exception:
        """Make one of the driver's own OperationalErrors."""
        raise NotImplementedError

    def _holdfast_send_rollback(self) -> None:
        """Send ROLLBACK without reading the reply."""
        raise NotImplementedError

    def _holdfast_read_rollback(self) -> None:
        """Read the reply to ROLLBACK; raise the driver's error when it is one."""
        raise NotImplementedError

    def _holdfast_has_unread_result(self) -> bool:
        """Say whether the driver itself knows of rows or result sets not read yet."""
        return False

    def _holdfast_is_open(self) -> bool:
        """Say whether the driver itself still considers the connection open."""
        return True

    def _holdfast_left_to_parent(self) -> None:
        """Called in a child. Nothing may be sent or read."""

    # -- the rules ---------------------------------------------------------------------------------------------

    def _holdfast_begin(self, statement: Any = None) -> None:
        """Make the connection ready for a command: nothing pending, and no longer clean.

        :param statement: its text, when it is a statement.
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
        if wire.pending:
            self._holdfast_settle()
        wire.clean = False
        wire.sent += 1
        if wire.reads_only and (statement is None or not is_plain_read(statement)):
            wire.reads_only = False

    def _holdfast_settle(self, *, statement_behind: bool = False) -> None:
        """Read the reply to the ROLLBACK that was sent, waiting for it if it has not arrived.

        :param statement_behind: a statement was sent after it, whose reply is still to be read.
        :raises: the driver's error, and only that; the connection then has a fault.
        """
        wire = self._holdfast
        wire.pending = False
        wire.in_flight = True
        try:
            self._holdfast_read_rollback()
        except self._holdfast_errors as error:
            wire.fault = Cause.ROLLBACK_REFUSED if server_error(error_number(error)) else Cause.CLOSED
            raise
        except (OSError, AttributeError, ValueError) as error:  # a driver reading from what it has closed itself
            wire.fault = Cause.CLOSED
            raise self._holdfast_error(2013, "Lost connection to MySQL server during ROLLBACK") from error
        wire.in_flight = statement_behind
        wire.clean = not statement_behind
        wire.reads_only = True

    def _holdfast_fault_error(self) -> Exception:
        fault = self._holdfast.fault
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
        except Exception:  # whatever a driver makes of being asked: not a connection to go on with
            wire.fault = Cause.CLOSED
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
            return Cause.UNREAD_RESULT
        return Cause.CLOSED if events & GONE else Cause.OUT_OF_STEP

    def _holdfast_probe(self, wait_seconds: float) -> str | None:
        """Make one round trip that takes ``wait_seconds`` at the most; say what is wrong, or ``None``.

        A ROLLBACK is sent, because its reply is known to every driver's adapter; one still pending serves as well.
        """
        wire = self._holdfast
        if wire.poll is None or not wire.probe:
            return None
        wire.counters.probes += 1
        if not wire.pending:
            try:
                self._holdfast_defer_rollback()
            except self._holdfast_errors:
                return Cause.CLOSED
        if wire.events(wait_seconds):
            return self._holdfast_look()
        wire.pending = False  # nobody is to wait for that reply again, least of all close()
        wire.fault = Cause.SILENT
        return wire.fault

    # -- the driver's methods, held ----------------------------------------------------------------------------

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Open a cursor. It is one of another connection when this one was inherited by a child, or was lost before
        anything was sent on it in its checkout."""
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
            other = wire.owner.reconnect(self) if wire.owner is not None else None
            if other is None:
                raise self._holdfast_fault_error()
            return other.cursor(*args, **kwargs)
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
            return wire.owner.replace(self, cause)
        except Exception as error:
            raise self._holdfast_fault_error() from error

    def rollback(self) -> None:
        """Roll back; see the module's docstring for when and how anything is sent.

        Returns quietly when the connection can be seen to be dead or out of step: it is discarded, and with its
        session the server rolls back.
        """
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()  # nothing to roll back here
        elif not wire.exclusive:
            wire.stock.rollback(self)
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

    def _holdfast_stock_rollback(self) -> None:
        wire = self._holdfast
        wire.stock.rollback(self)
        wire.clean = wire.reads_only = True

    def _holdfast_defer_rollback(self) -> None:
        wire = self._holdfast
        wire.in_flight = True  # until it has gone out whole
        self._holdfast_send_rollback()
        wire.pending = True
        wire.in_flight = False

    def commit(self) -> None:
        """Commit, and wait for the reply: never deferred, never pipelined, never repeated.

        A connection that can be seen to be closed raises the driver's error (2006) before anything is sent.
        """
        wire = self._holdfast
        self._holdfast_begin()
        if wire.exclusive and wire.hung_up():
            wire.fault = Cause.CLOSED
            raise self._holdfast_fault_error()
        wire.committing = True
        try:
            wire.stock.commit(self)
        except self._holdfast_errors as error:
            wire.committing = not refuses_commit(error)
            raise
        wire.committing = False
        wire.clean = wire.reads_only = True

    def close(self) -> None:
        """Close, reading a pending reply first if it comes soon, so that the server does not count an aborted
        client."""
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
            if not self._holdfast_is_harmless():
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
