"""What every driver's held connection has in common.

The object that a driver (or a ``creator=``, or a tracer) returned is given a subclass of its own class
(:mod:`~.subclass`), so ``isinstance``, ``driver_connection`` and other people's instrumentation go on working. The
subclass's methods are those of :class:`HeldConnection` and of the driver's own class below it. They are copied into
a class with one base, because ``__class__`` assignment wants the same memory layout, which a second base can change;
hence ``state.driver_class.method(self)`` where one would write ``super().method()``. They keep three promises:

* **Deferred rollback.** After plain reads, ``rollback()`` sends ROLLBACK and returns; the reply is read before
  anything else is read. After anything else (writes, locking reads, SET, XA, ...) it waits, as in stock: what was
  written is undone and unlocked when ``rollback()`` returns, and an error reaches the one who caused it.
* **Pipelining.** A statement that may follow an unanswered ROLLBACK (:mod:`~.statements`) is sent behind
  it and both replies are read in order, so that a request waits for its own statements only.
* **Clean tracking.** After an acknowledged COMMIT or ROLLBACK with nothing sent since, a further ROLLBACK is left
  out. The server's in-transaction flag is not used: after a failed first statement, and for non-transactional
  tables, it is 0 while metadata locks are held (MariaDB 10.11, MySQL 9.7).

All of it rests on one rule: **before any command is sent, the state must be checked**
(``_holdfast_before_command()``, or its short cut where every request passes). A method that is left out would read the
ROLLBACK's reply as its own.
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
from collections.abc import Callable, Sequence
from os import getpid
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from .._application import user
from .._clock import monotonic_also_asleep
from .._outside import from_outside
from .._pages import page
from ..counters import Cause
from ..server.faults import INACTIVE, UNKNOWN_ERROR, error_number, is_the_servers, judge
from ..server.middleboxes import Greeting
from ..server.session_changes import may_follow_reset
from ..server.statements import is_plain_read, may_commit, may_follow_rollback, only_reads
from ..server.tls import Encryption
from .sockets import GONE
from .state import ConnectionState

__all__ = ["HeldConnection", "alone", "names"]

_CLOSE_SECONDS = 0.2
_READS = 64
"""So many statements of a transaction are remembered before it is asked whether they only read."""
_LONG = 100_000
"""So long, in bytes or characters, are those that are remembered."""


_INHERITED = (
    "MySQL server has gone away (holdfast: this connection and its transaction belong to the parent process {parent}, "
    "which goes on with them; process {child} was forked from it and cannot commit or read what was begun there. "
    "Call rollback() or close() and begin anew: that is done on a connection of this process's own. {page})"
)
_PARENTS_PART = (
    "MySQL server has gone away (holdfast: the parent process began this transaction and may have changed something in "
    "it. Process {child} was forked from it and has only its own half, which must not be committed alone. Nothing of "
    "it was committed. Call rollback() or close(), and begin anew. {page})"
)
_TWO_THREADS = (
    "{second} used a connection while {first} was in the middle of a command on it. Nothing was sent. A connection, "
    "and a Session, can serve one thread at a time: give each thread a Session of its own. {page}"
)
_TAKEN_AWAY = (
    "{second} closed a connection, or returned it to the pool, while {first} was in the middle of a command on it. A "
    "connection, and a Session, can serve one thread at a time: give each thread a Session of its own. {page}"
)


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
            value = method(self, *args, **kwargs)
            self._holdfast.replied = monotonic_also_asleep()
            return value
        finally:
            if outermost:
                self._holdfast.users.pop(0, None)

    return guarded


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


class HeldConnection:
    """The methods that a held connection has in place of its driver's. Names of our own start with ``_holdfast`` to
    keep out of the driver's way; the state is one :class:`ConnectionState`."""

    _holdfast: ConnectionState

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

    def _holdfast_encryption(self) -> Encryption:
        """Return what the connection has of TLS, as far as the driver tells. Nothing is sent."""
        raise NotImplementedError

    def _holdfast_signed_by(self, ca: str, authorities: frozenset[bytes]) -> bool | None:
        """Say whether the server's certificate, which was verified, was signed by an authority of a file.

        :param ca: the file's path.
        :param authorities: the certificates in it.
        :return: ``None`` when the driver does not tell.
        """
        return None

    def _holdfast_send(self, statement: bytes) -> None:
        """Send a statement that is answered with OK, without reading the reply."""
        raise NotImplementedError

    def _holdfast_read_ok(self) -> None:
        """Read the reply to it; raise the driver's error when it is one."""
        raise NotImplementedError

    def _holdfast_connect_statements(self) -> list[bytes] | None:
        """Return statements that set the session up as the driver has while connecting, the character set first.

        :return: ``None`` where that is not known, or where the driver has no way to reset a session.
        """
        return None

    def _holdfast_send_reset(self) -> int:
        """Send COM_RESET_CONNECTION; a ROLLBACK's reply may be pending.

        :return: how many replies are to be read more than before.
        """
        raise NotImplementedError

    def _holdfast_reset_and_wait(self, statements: Sequence[bytes]) -> None:
        """Reset the session, and send statements that set it up. Nothing is pending.

        :raises: the driver's error.
        """
        for _ in range(self._holdfast_send_reset()):
            self._holdfast_read_ok()
        for statement in statements:
            self._holdfast_send(statement)
            self._holdfast_read_ok()

    def _holdfast_remembered(self) -> Any:
        """Return what the driver's object remembers of the session that a reset puts back."""

    def _holdfast_remember(self, remembered: Any) -> bool:
        """Make the driver's object remember that again.

        :return: false where it cannot be made to.
        """
        return True

    def _holdfast_has_unread_result(self) -> bool:
        """Say whether the driver itself knows of rows or result sets not read yet."""
        return False

    def _holdfast_is_open(self) -> bool:
        """Say whether the driver itself still considers the connection open."""
        return True

    def _holdfast_needs_tls_to_log_in(self) -> str:
        """Say why the driver may be refused without TLS, for an account whose password is checked by
        ``caching_sha2_password``, until somebody has logged in another way; an empty text when it is not."""
        return ""

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

    def _holdfast_in_transaction(self) -> bool | None:
        """Say whether a transaction is open, by the status flags of the server's last reply; ``None`` where the driver
        does not tell. A transaction that has only written to tables without transactions is not."""
        return None

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

    def _holdfast_before_command(self, statement: Any = None, *, harmless: bool = False) -> None:
        """Make the connection ready for a command: nothing pending, and no longer clean.

        :param statement: its text, when it is a statement.
        :param harmless: it is none, and is known to begin, change and commit nothing.
        :raises: the driver's OperationalError (2006) when the connection must not be used any more, as when the reply
            to the last command was never read; the driver's error when the pending ROLLBACK turns out to have failed.
        """
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        if state.in_flight and not state.nested_calls and state.unusable_because is None and state.one_user_at_a_time:
            state.unusable_because = Cause.INTERRUPTED
        if state.unusable_because is not None:
            raise self._holdfast_unusable_error()
        if state.judged and not harmless:
            self._holdfast_judge(statement)
        if state.pending:
            self._holdfast_read_rollback_reply()
        state.sent += 1
        if harmless:
            return
        state.nothing_to_roll_back = False
        if state.reads_only:
            self._holdfast_note(statement)

    def _holdfast_note(self, statement: Any) -> None:
        """Note what is about to be sent in a transaction that has only read so far.

        :param statement: its text, or ``None`` for another command.
        """
        state = self._holdfast
        if statement is None or not is_plain_read(statement):
            state.reads_only = False
            return
        state.reads.append(statement if len(statement) <= _LONG else "")  # no longer one is known to only read
        if len(state.reads) > _READS:
            self._holdfast_has_only_read()

    def _holdfast_judge(self, statement: Any) -> None:
        """Say what a command may commit, and what it may leave behind, to whoever has to know, before it is sent.

        :param statement: its text, or ``None`` for another command, which may do anything.
        :raises: the driver's OperationalError (2006) when it might commit what belongs to a parent's transaction.
        """
        state = self._holdfast
        if state.session is not None:
            state.session.sees(statement, self)
        record = state.record
        if record is None and not state.parents_part:
            return
        size = len(statement) if statement is not None else 0
        if record is not None and size > record.largest:
            record.largest = size
        if state.parents_part or (record is not None and not record.may_have_committed):
            statement, escapes = self._holdfast_readable(statement), self._holdfast_backslash_escapes()
            commits = statement is None or may_commit(statement, backslash_escapes=escapes)
            if commits and state.parents_part:
                state.unusable_because = Cause.INHERITED
                raise self._holdfast_unusable_error()
            if record is not None and (
                commits or (self._holdfast_autocommits() and not only_reads(statement, backslash_escapes=escapes))
            ):
                record.commits_by_itself()

    def _holdfast_note_error(self, error: Exception) -> None:
        """Note an error that the server has answered with, for whoever keeps account of the transaction."""
        number = error_number(error)
        if not is_the_servers(number):
            return
        state = self._holdfast
        if number != INACTIVE:  # that was sent long ago
            state.replied = monotonic_also_asleep()
        if state.record is not None:
            state.record.errors.append(error)

    def _holdfast_may_pipeline(self, statement: Any) -> bool:
        """Say whether a statement may be sent behind the ROLLBACK whose reply is pending."""
        state = self._holdfast
        if not state.pipeline or state.unusable_because is not None:
            return False
        if not may_follow_rollback(statement):
            # The server has rolled back, or does so with the reset. What is set goes with the connection if it refuses.
            return state.pending > 1 and may_follow_reset(
                self._holdfast_readable(statement), backslash_escapes=self._holdfast_backslash_escapes()
            )
        # In AUTOCOMMIT it would stay, also when the ROLLBACK has failed and the statement is told to have failed.
        return not self._holdfast_autocommits() or only_reads(
            self._holdfast_readable(statement), backslash_escapes=self._holdfast_backslash_escapes()
        )

    def _holdfast_pipelined(self, statement: Any) -> None:
        """Note that the statement sent behind a ROLLBACK is the first since, now that the ROLLBACK was answered."""
        state = self._holdfast
        state.counters.statements_pipelined += 1
        state.reads_only = is_plain_read(statement)
        state.reads = [statement] if state.reads_only else []

    def _holdfast_has_only_read(self) -> bool:
        """Say whether it is certain that nothing was changed or locked since the last COMMIT or ROLLBACK."""
        state = self._holdfast
        if state.nothing_to_roll_back or state.pending:
            return True
        reads, state.reads = state.reads, []
        if state.reads_only:
            escapes = self._holdfast_backslash_escapes()
            state.reads_only = all(
                only_reads(self._holdfast_readable(read), backslash_escapes=escapes) for read in reads
            )
        return state.reads_only

    def _holdfast_read_rollback_reply(self, *, statement_behind: bool = False) -> None:
        """Read the reply to the ROLLBACK that was sent, and those to a reset, waiting for what has not arrived.

        :param statement_behind: a statement was sent after it, whose reply is still to be read.
        :raises: the driver's error, and only that; the connection then has a fault. What a signal's handler raises
            passes through.
        """
        state = self._holdfast
        replies, state.pending = state.pending, 0
        state.in_flight = True
        try:
            self._holdfast_read_ok()
            for _ in range(1, replies):
                self._holdfast_read_ok()
        except (self._holdfast_errors, OSError, AttributeError, ValueError) as error:
            self._holdfast_raise_outside(error)
            if isinstance(error, self._holdfast_errors):
                state.unusable_because = (
                    self._holdfast_refused() if is_the_servers(error_number(error)) else Cause.CLOSED
                )
                raise
            state.unusable_because = Cause.CLOSED  # a driver reading from what it has closed itself
            raise self._holdfast_error(2013, "Lost connection to MySQL server during ROLLBACK") from error
        self._holdfast_rolled_back(statement_behind=statement_behind)

    def _holdfast_rolled_back(self, *, statement_behind: bool = False) -> None:
        """Note that all that was sent is answered, and undone."""
        state = self._holdfast
        state.in_flight = statement_behind
        state.nothing_to_roll_back = not statement_behind
        state.reads_only = True
        state.reads = []
        if state.session is not None:
            state.session.resetting = False

    def _holdfast_refused(self) -> Cause:
        session = self._holdfast.session
        return Cause.RESET_REFUSED if session is not None and session.resetting else Cause.ROLLBACK_REFUSED

    def _holdfast_raise_outside(self, error: BaseException) -> None:
        """Raise what a program's own code has raised, if an error that is about to be dealt with was made of that."""
        outside = from_outside(error)
        if outside is not None:
            self._holdfast.unusable_because = Cause.INTERRUPTED
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
        return self._holdfast_error(UNKNOWN_ERROR, self._holdfast_two_threads(_TWO_THREADS, first), "ProgrammingError")

    def _holdfast_two_threads(self, text: str, first: int) -> str:
        """Say what this thread does to another one, which is in the middle of a command.

        :param text: with the names ``first``, ``second`` and ``page``.
        """
        return text.format(first=user(first), second=user(threading.get_ident()), page=page("errors/two-threads"))

    def _holdfast_take_away(self) -> None:
        """Note, for the thread that is in the middle of a command, that this one takes the connection away from it."""
        state, own = self._holdfast, threading.get_ident()
        first = state.users.get(0, own)
        if first != own and state.taken_away is None:
            state.taken_away = self._holdfast_two_threads(_TAKEN_AWAY, first)

    def _holdfast_raise_taken_away(self, error: BaseException) -> None:
        """Raise an error that says who has ended the connection, if another thread has.

        :param error: the driver's, which says only that it was lost.
        """
        if self._holdfast.taken_away is not None:
            raise self._holdfast_unusable_error() from error

    def _holdfast_unusable_error(self) -> Exception:
        state = self._holdfast
        cause = state.unusable_because
        if cause is Cause.INHERITED and state.parents_part:
            text = _PARENTS_PART.format(child=getpid(), page=page("errors/parent-process"))
            return self._holdfast_error(2006, text)
        if cause is Cause.INHERITED:
            about = page("errors/parent-process")
            return self._holdfast_error(2006, _INHERITED.format(parent=abs(state.pid), child=getpid(), page=about))
        if state.taken_away is not None:
            return self._holdfast_error(2013, f"Lost connection to MySQL server (holdfast: {state.taken_away})")
        return self._holdfast_error(2006, f"MySQL server has gone away (holdfast: this connection was {cause})")

    def _holdfast_check(self) -> Cause | None:
        """Say why this connection must not be used, or ``None``: no round trip, no wait.

        A healthy idle connection has nothing to read. Where a ROLLBACK's reply is pending, what has arrived is read
        and the socket looked at once more; where it has not arrived, the next statement is sent behind it.
        """
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        try:
            # ConnectionState.events(), spelt out: this runs for every request.
            found = state.poll(0) if state.poll is not None else None
            if not found and state.unusable_because is None and not state.in_flight:
                return None if not state.one_user_at_a_time or self._holdfast_is_open() else Cause.CLOSED
            return self._holdfast_find_cause(found[0][1] if found else 0)
        except (self._holdfast_errors, OSError, AttributeError, ValueError, TypeError) as error:
            # Whatever a driver makes of being asked: it is not one to go on with.
            state.unusable_because = state.unusable_because or Cause.CLOSED
            outside = from_outside(error)
            if outside is not None:
                raise outside from None
            return state.unusable_because

    def _holdfast_find_cause(self, events: int) -> Cause | None:
        state = self._holdfast
        if state.unusable_because is not None:
            return state.unusable_because
        if not state.one_user_at_a_time:
            return Cause.CLOSED if events & GONE else None
        if state.in_flight:
            return Cause.INTERRUPTED
        if not self._holdfast_is_open():
            return Cause.CLOSED
        if events and state.pending:
            try:
                self._holdfast_read_rollback_reply()
            except self._holdfast_errors:
                return state.unusable_because
            events = state.events()
        if not events:
            return None
        if self._holdfast_has_unread_result():
            try:
                self._holdfast_finish_unread()
            except self._holdfast_errors as error:
                self._holdfast_raise_outside(error)
            if self._holdfast_has_unread_result():
                return state.unusable_because or Cause.UNREAD_RESULT
            events = state.events()
            if not events:
                return state.unusable_because
        return Cause.CLOSED if events & GONE else Cause.OUT_OF_SYNC

    def _holdfast_probe(self, wait_seconds: float) -> Cause | None:
        """Make one round trip that takes ``wait_seconds`` at the most; say what is wrong, or ``None``.

        A ROLLBACK is sent, because the reply to one that is pending still serves as well. Not where a transaction may
        be open (``pool_reset_on_return=None``): it goes on, and something is sent that does nothing.
        """
        state = self._holdfast
        if state.poll is None or not state.probe:
            return None
        state.counters.probes += 1
        if not state.pending:
            if not state.nothing_to_roll_back:
                cause: Cause | None = self._holdfast_probe_open(wait_seconds)
                return cause
            try:
                self._holdfast_defer_rollback()
            except self._holdfast_errors as error:
                self._holdfast_raise_outside(error)
                return Cause.CLOSED
        if state.events(wait_seconds):
            return self._holdfast_check()
        state.pending = 0  # nobody is to wait for that reply again, least of all close()
        state.unusable_because = Cause.SILENT
        return state.unusable_because

    @alone
    def _holdfast_probe_open(self, wait_seconds: float) -> Cause | None:
        state = self._holdfast
        cause: Cause | None = self._holdfast_check()
        if cause is not None:
            return cause
        state.in_flight = True
        try:
            self._holdfast_send(b"DO 0")
            if not state.events(wait_seconds):
                state.unusable_because = Cause.SILENT
                return state.unusable_because
            self._holdfast_read_ok()
        except self._holdfast_errors as error:
            self._holdfast_raise_outside(error)
            if not is_the_servers(error_number(error)):  # a server's error is an answer, too
                state.unusable_because = Cause.CLOSED
                return state.unusable_because
        state.in_flight = False
        return self._holdfast_check()

    # -- the driver's methods, held ----------------------------------------------------------------------------

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Open a cursor. It is one of another connection when this one was inherited by a child, or was lost before
        anything was sent on it in its checkout."""
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
            other = state.owner.replace_inherited(self) if state.owner is not None else None
            if other is None:
                raise self._holdfast_unusable_error()
            return other.cursor(*args, **kwargs)
        if state.users:
            self._holdfast_refuse_second_thread()
        state.began = began = monotonic_also_asleep()
        if state.sent:
            state.first_cursor = None
        else:
            state.first_cursor = began
            if state.poll is not None and state.poll(0):
                other = self._holdfast_replace()
                if other is not None:
                    return other.cursor(*args, **kwargs)
        return state.driver_class.cursor(self, *args, **kwargs)

    def _holdfast_replace(self) -> Any:
        """Return the connection that takes the place of this one, if it must not be used.

        :raises: the driver's OperationalError (2006) when there ought to be one and it could not be made.
        """
        state = self._holdfast
        cause = self._holdfast_check()
        if cause is None or state.owner is None:
            return None
        state.unusable_because = cause
        try:
            return state.owner.replace_before_first_statement(self, cause)
        except (self._holdfast_errors, SQLAlchemyError) as error:
            self._holdfast_raise_outside(error)
            raise self._holdfast_unusable_error() from error

    def rollback(self) -> None:
        """Roll back; see the module's docstring for when and how anything is sent.

        Returns quietly when the connection can be seen to be dead or out of sync: it is discarded, and with its
        session the server rolls back.
        """
        state = self._holdfast
        if state.users:
            self._holdfast_refuse_second_thread()
        if state.pid != getpid():
            state.notice_fork()  # nothing to roll back here
        elif not state.one_user_at_a_time:
            self._holdfast_stock_rollback()
        elif state.unusable_because is not None:
            pass  # it goes with the connection
        elif state.in_flight:
            state.give_up(Cause.INTERRUPTED)
        elif state.pending:
            pass  # on its way already
        elif state.nothing_to_roll_back:
            state.counters.rollbacks_skipped += 1
        elif self._holdfast_has_unread_result():
            self._holdfast_stock_rollback()  # reads what is unread, or refuses
        elif state.poll is not None and (found := state.poll(0)):
            state.give_up(Cause.CLOSED if found[0][1] & GONE else Cause.OUT_OF_SYNC)
        elif state.defer and state.reads_only and state.isolation_level != "SERIALIZABLE":  # there a read locks rows
            self._holdfast_defer_rollback()
            state.counters.rollbacks_deferred += 1
        else:
            self._holdfast_stock_rollback()
        state.begun = False
        if state.parents_part:
            state.belong_to_parents(False)

    @alone
    def _holdfast_stock_rollback(self) -> None:
        state = self._holdfast
        state.driver_class.rollback(self)
        state.nothing_to_roll_back = state.reads_only = True
        state.reads = []
        if state.record is not None:
            state.record.rolled_back()

    def _holdfast_defer_rollback(self) -> None:
        state = self._holdfast
        outermost = self._holdfast_enter()
        try:
            state.in_flight = True  # until it has gone out whole
            self._holdfast_send(b"ROLLBACK")
            state.pending = 1
            state.replied = None
            state.in_flight = False
        finally:
            if outermost:
                state.users.pop(0, None)
        if state.record is not None:
            state.record.rolled_back()

    @alone
    def commit(self) -> None:
        """Commit, and wait for the reply: never deferred, never pipelined, never repeated.

        What is left of an earlier reply is read first, and an error in it is raised, before anything is sent. A
        connection that can be seen to be closed raises the driver's error (2006) before that, too.
        """
        state = self._holdfast
        if state.pid == getpid() and state.unusable_because is None and not state.in_flight:
            self._holdfast_finish_unread()
        self._holdfast_before_command(harmless=not state.parents_part)
        if state.one_user_at_a_time and state.hung_up():
            state.unusable_because = Cause.CLOSED
            raise self._holdfast_unusable_error()
        record, judged = state.record, state.judged
        state.judged = state.reads_only = False  # the COMMIT that the driver sends is this one
        if record is not None:
            record.sending()
        try:
            state.driver_class.commit(self)
        except self._holdfast_errors as error:
            if record is not None:
                if self._holdfast_not_sent(error):
                    record.not_sent()
                elif judge(error).refuses_commit:
                    record.answered(refused=True)
            raise
        finally:
            state.judged = judged
        if record is not None:
            record.answered(refused=False)
        state.begun = False
        state.nothing_to_roll_back = state.reads_only = True
        state.reads = []

    def close(self) -> None:
        """Close, reading a pending reply first if it comes soon, so that the server does not count an aborted
        client."""
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
            if not self._holdfast_is_harmless():
                return
        if state.users and state.users.get(0) != threading.get_ident():
            # Another thread is inside the driver with it: only the session ends now, the object when that one is out.
            self._holdfast_take_away()
            state.give_up(state.unusable_because or Cause.INTERRUPTED)
            return
        try:
            if state.pending and not state.in_flight and state.unusable_because is None:
                try:
                    if state.events(_CLOSE_SECONDS):
                        self._holdfast_read_rollback_reply()
                except self._holdfast_errors:
                    pass
            state.pending = 0
            state.sent += 1  # closed by this side: nothing is put in its place in the same checkout
            state.unusable_because = state.unusable_because or Cause.CLOSED
            state.driver_class.close(self)
            state.ended()
        except BaseException:  # interrupted: whoever keeps the traceback would keep the session alive
            state.give_up(state.unusable_because or Cause.INTERRUPTED)
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
