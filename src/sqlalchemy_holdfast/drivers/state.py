"""What is known about the stream of bytes between one connection and its server, and the socket that carries it."""

from __future__ import annotations

import os
import socket
import stat
import time
import weakref
from collections.abc import Callable
from os import getpid
from types import BuiltinFunctionType
from typing import Any, Protocol

from .. import fork
from .._clock import monotonic_also_asleep
from .._outside import from_outside
from ..counters import Cause, Counters
from ..server.tls import Encryption, Policy
from .commit_record import CommitRecord
from .session import Session
from .sockets import GONE, WATCHED, borrowed, is_unix_socket, poll_among_greenlets, unpatched_poll

__all__ = ["ConnectionState", "Owner"]


class Owner(Protocol):
    """The engine that a connection belongs to, as far as its connections know it."""

    def replace_inherited(self, inherited: Any) -> Any:
        """In a child: put a connection of its own in the place of an inherited one and return it, or ``None``."""

    def replace_before_first_statement(self, dead: Any, cause: Cause) -> Any:
        """Put a new connection in the place of one that was lost before anything was sent on it in its checkout, and
        return it, or ``None``."""

    def connection_closed(self, state: ConnectionState) -> None:
        """Note that a connection is closed or about to be: it no longer counts. Called more than once."""


class ConnectionState:
    """What is known about the stream of bytes between one connection and its server."""

    __slots__ = (
        "__weakref__",
        "began",
        "begun",
        "charset_is_set",
        "checkout",
        "connection",
        "counters",
        "defer",
        "driver_class",
        "encryption",
        "evicted",
        "fd",
        "first_cursor",
        "holder",
        "idle_since",
        "in_flight",
        "inode",
        "is_unix_socket",
        "isolation_level",
        "judged",
        "level_is_set",
        "nested_calls",
        "never_returned",
        "nothing_to_roll_back",
        "one_user_at_a_time",
        "opened",
        "opening_cursor",
        "owner",
        "parents_part",
        "pending",
        "pid",
        "pipeline",
        "poll",
        "pool_entry",
        "prepared_may_commit",
        "probe",
        "reads",
        "reads_only",
        "record",
        "replaces_inherited",
        "replied",
        "replying",
        "sent",
        "session",
        "set_up",
        "slot",
        "statement",
        "status",
        "taken_away",
        "time_limit",
        "tls",
        "unusable_because",
        "users",
        "whole",
    )

    def __init__(
        self,
        counters: Counters,
        *,
        owner: Owner | None = None,
        one_user_at_a_time: bool = True,
        defer: bool = True,
        pipeline: bool = True,
        tls: Policy | None = None,
    ) -> None:
        self.counters = counters
        self.tls = tls
        """What its engine asks of it."""
        self.encryption = Encryption()
        """What it has of TLS."""
        self.one_user_at_a_time = one_user_at_a_time
        """Whether its pool gives it to one user at a time. If not, it may be in the middle of somebody else's
        transaction at any time, and all that is done is to notice that it was closed."""
        self.probe = one_user_at_a_time
        """Whether a ROLLBACK may be sent to see whether it answers."""
        self.defer = defer
        """Whether ROLLBACK may be sent without waiting for its reply."""
        self.pipeline = pipeline
        """Whether a statement may be sent behind an unanswered ROLLBACK."""
        self.pending = 0
        """So many statements were sent without waiting, and their replies have not been read: a ROLLBACK, and what a
        reset consists of."""
        self.nothing_to_roll_back = False
        """Nothing was sent since the last acknowledged COMMIT or ROLLBACK."""
        self.reads_only = False
        """Nothing but plain reads was sent since then, as far as a quick look tells."""
        self.reads: list[str | bytes | bytearray] = []
        """These reads, for who has to know for certain (:meth:`HeldConnection._holdfast_has_only_read`)."""
        self.begun = False
        """SQLAlchemy has begun a transaction on it, and neither COMMIT nor ROLLBACK has ended that. Noted where the
        pool does not roll back what is returned."""
        self.in_flight = False
        """A command was sent and its reply has not been read to the end."""
        self.nested_calls = 0
        """How many of the driver's methods that exchange commands are running, one inside the other."""
        self.replying = False
        """A command of theirs was sent, and not all of its reply was read."""
        self.whole = False
        """The method that is running reads a reply to its end, and not the first packet alone."""
        self.users: dict[int, int] = {}
        """Under the key 0 the thread that is inside one of the driver's methods. A dictionary, because setdefault() is
        one step that no other thread can come between."""
        self.unusable_because: Cause | None = None
        """Why this connection must not be used any more (:class:`~sqlalchemy_holdfast.counters.Cause`)."""
        self.taken_away: str | None = None
        """In words: another thread has ended it under the one that was in the middle of a command."""
        self.evicted = False
        """It works, and is to be replaced when it is returned."""
        self.never_returned = True
        """It was never returned to the pool."""
        self.sent = 1
        """How many commands were sent in this checkout, ROLLBACKs that nobody waits for aside. Counted from 1 where it
        may not be replaced by another one, whatever happens."""
        self.first_cursor: float | None = None
        """Monotonic time at which the last cursor was opened, if nothing had been sent in the checkout by then."""
        self.began = 0.0
        """Monotonic time at which the last cursor was opened, on the clock that goes on while the machine sleeps."""
        self.replied: float | None = monotonic_also_asleep()
        """Monotonic time of the last reply, or of the last return to the pool, on the same clock; ``None`` where it is
        not known: a ROLLBACK was sent whose reply nobody has waited for, or a result is read row by row."""
        self.opened = 0.0
        """Monotonic time of its opening (:data:`sqlalchemy_holdfast._clock.monotonic_also_asleep`)."""
        self.charset_is_set = False
        """The driver has just sent SET NAMES, and nothing was sent since."""
        self.opening_cursor = False
        """The driver is inside ``cursor()``."""
        self.idle_since = 0.0
        """Monotonic time of its last return to the pool, on the same clock."""
        self.pid = getpid()
        """The process that opened it. In any other it is never used."""
        self.owner = owner
        self.checkout: weakref.ref[Any] | None = None
        """SQLAlchemy's proxy that it was last handed out in."""
        self.holder: Any = None
        """Who has it checked out (:class:`sqlalchemy_holdfast.pool.holders.Holder`)."""
        self.statement: str | bytes | bytearray | None = None
        """The beginning of the last statement sent in this checkout."""
        self.slot: Any = None
        """Its slot of the budget (:class:`sqlalchemy_holdfast.budget.Slot`)."""
        self.replaces_inherited = False
        """It was put in the place of an inherited one, in the middle of a transaction of the parent's."""
        self.parents_part = False
        """The parent may have changed something in that transaction: this part of it must not be committed alone."""
        self.record: CommitRecord | None = None
        """What its user wants to know of its commits."""
        self.judged = False
        """Each command is judged before it is sent, because of one of these two or the next one."""
        self.session: Session | None = None
        """How the session was set up, and whether it was changed, where it is to be put back."""
        self.prepared_may_commit = False
        """A statement was prepared that may commit when it is executed."""
        self.status: int | None = None
        """The server's status flags of the last reply, where the driver does not keep them itself."""
        self.time_limit: float | None = None
        """Seconds for which the driver waits for a reply, where its errors do not tell that it has waited in vain."""
        self.pool_entry: weakref.ref[Any] | None = None
        """The pool's record of it (:class:`sqlalchemy.pool.ConnectionPoolEntry`)."""
        self.set_up: Any = None
        """What the driver's object and the pool's record held when all connect listeners had run."""
        self.isolation_level: Any = None
        """The isolation level that SQLAlchemy last set for it."""
        self.level_is_set = False
        """One was set, or was about to be, in a checkout, and was not put back. SQLAlchemy does that when the
        connection is returned, but not when an exception from outside came before it took note of it."""
        self.connection: weakref.ref[Any] | None = None
        self.driver_class: Any = None
        """The connection's own class, before it was held."""
        self.fd: int | None = None
        self.inode: int | None = None
        self.is_unix_socket = False
        """It is a unix socket: no network that could swallow it in silence."""
        self.poll: Callable[[int], list[tuple[int, int]]] | None = None

    def watch(self, fd: int | None) -> None:
        """Remember the connection's socket, for :meth:`events`.

        Where there is no descriptor, or no ``poll()`` (Windows), nothing is watched and the connection is never
        known to be dead before it is used, as in stock SQLAlchemy.
        """
        self.fd = self.inode = self.poll = None
        make_poller = unpatched_poll()
        if fd is None or fd < 0 or make_poller is None:
            return
        try:
            status = os.fstat(fd)
        except OSError as error:
            if from_outside(error) is not None:
                raise
            return
        if not stat.S_ISSOCK(status.st_mode):
            return
        os.set_inheritable(fd, False)  # the C libraries leave it to programs that this one starts
        poller = make_poller()
        poller.register(fd, WATCHED)
        self.fd, self.inode, self.poll = fd, status.st_ino, poller.poll
        self.is_unix_socket = is_unix_socket(fd)

    def connected_port(self) -> int | None:
        """Return the TCP port that the connection was made to, or ``None`` for a unix socket and where it is not
        known."""
        if self.fd is None or self.is_unix_socket:
            return None
        with borrowed(self.fd) as sock:
            try:
                address = sock.getpeername()
            except OSError as error:
                if from_outside(error) is not None:
                    raise
                return None  # it has ended
        return int(address[1]) if isinstance(address, tuple) else None

    def begin_anew(self) -> None:
        """Forget the session that was, because the driver is about to connect again."""
        if self.pid != getpid():
            self.notice_fork()
            self.pid = getpid()
        self.nothing_to_roll_back = self.in_flight = self.replying = self.whole = False
        self.pending = 0
        self.unusable_because = self.taken_away = None
        if self.session is not None:
            self.session.cannot = "the driver has connected again by itself"
            self.session.changed = True

    def keep_record(self, record: CommitRecord | None) -> None:
        """Tell a record from now on of what may commit, in the place of the one before."""
        self.record = record
        self.judged = record is not None or self.parents_part or self.session is not None

    def belong_to_parents(self, part: bool) -> None:
        """Say whether what is done here is a part of a parent's transaction, which must not be committed alone."""
        self.parents_part = part
        self.judged = part or self.record is not None or self.session is not None

    def watch_session(self, session: Session) -> None:
        """Note from now on what changes the session, so that it can be reset."""
        self.session = session
        self.judged = True

    def events(self, wait_seconds: float = 0.0) -> int:
        """Return what ``poll()`` reports of the socket: 0 when there is nothing to read and nobody hung up."""
        poll = self.poll
        if poll is None:
            return 0
        if wait_seconds and not isinstance(time.sleep, BuiltinFunctionType):
            found = poll_among_greenlets(poll, wait_seconds)
        else:
            found = poll(int(wait_seconds * 1000) if wait_seconds else 0)
        return found[0][1] if found else 0

    def hung_up(self) -> bool:
        """Say whether the other side has closed the connection, as far as this side knows."""
        return bool(self.events() & GONE)

    def leave_to_parent(self) -> None:
        """In a child: never use the connection again, and put a dead socket in the place of the parent's."""
        self.unusable_because = Cause.INHERITED
        if self.pid == getpid():
            self.pid = -self.pid  # it has the parent's process id, and must not be taken for the parent
        connection = self.connection() if self.connection is not None else None
        if connection is not None:
            connection._holdfast_left_to_parent()
        if self.fd is not None and self.same_socket():
            if fork.replace_by_dead(self.fd):
                self.inode = os.fstat(self.fd).st_ino
            else:
                self.fd = None  # not known to be harmless

    def notice_fork(self) -> None:
        """To be called when the process is not the one that opened the connection."""
        fork.after_fork()
        if self.unusable_because is not Cause.INHERITED:  # its engine is gone, or in the middle of being told
            self.leave_to_parent()

    def give_up(self, cause: Cause) -> None:
        """Never use the connection again, and end its session now, so that what it did is undone and unlocked."""
        if self.pid != getpid():
            self.notice_fork()
            return
        self.unusable_because = cause
        try:
            if self.fd is not None and self.same_socket():
                with borrowed(self.fd) as sock:
                    sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if from_outside(error) is not None:
                raise
        finally:
            self.ended()

    def ended(self) -> None:
        """Tell the engine that the connection no longer counts."""
        if self.owner is not None and self.pid == getpid():
            self.owner.connection_closed(self)

    def same_socket(self) -> bool:
        """Say whether the descriptor still is the socket it was.

        A client library that closed its socket may go on reporting the old number (libmariadb does), which by then
        may belong to another connection.
        """
        if self.fd is None:
            return True
        try:
            return os.fstat(self.fd).st_ino == self.inode
        except OSError as error:
            if from_outside(error) is not None:
                raise
            return False
