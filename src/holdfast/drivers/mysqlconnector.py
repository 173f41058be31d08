"""mysql-connector-python (``mysql+mysqlconnector``), pure Python and with its C extension.

The pure connection sends every command but three through ``_send_cmd``. ``cursor()`` sends COM_PING each time, to
find out whether the connection is open; held, it looks at the socket object instead (``is_connected()`` called by
the application still pings).

The C extension has no way to send a command without waiting and does not tell its socket. It gets clean tracking
and no ping per cursor; its socket is found among the process's own where that is unambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from typing import Any

from mysql.connector import HAVE_CEXT, errors
from mysql.connector.connection import MySQLConnection as PureConnection
from mysql.connector.constants import ClientFlag, ServerCmd

from ..counters import Cause
from ..middleboxes import Greeting
from . import sockets
from .base import HeldConnection, server_error
from .statements import is_plain_read, may_follow_rollback
from .wire import Wire

__all__ = ["CMySQLConnection", "MySQLConnection", "connecting", "prepare", "prepare_c"]


_TIMED_OUT = tuple(
    found
    for name in ("ReadTimeoutError", "WriteTimeoutError")
    if isinstance(found := getattr(errors, name, None), type)
)
"""Errors with the number 3024 that the client makes up. The driver has them since 9.2.0."""


def prepare(connection: Any, wire: Wire) -> None:
    """Switch off what a subclass of the application's does not allow."""
    if type(connection).rollback is not PureConnection.rollback:
        wire.defer = False


def prepare_c(connection: Any, wire: Wire) -> None:
    """Switch off what the C extension has no calls for."""
    wire.defer = wire.pipeline = wire.probe = False


def connecting(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Let a C connection's socket be found after it was made."""

    def note(*positional: Any, **arguments: Any) -> Any:
        if HAVE_CEXT and not arguments.get("use_pure"):
            sockets.remember()
        return connect(*positional, **arguments)

    return note


class _Connector(HeldConnection):
    """What both kinds of connection have in common."""

    _holdfast_errors = errors.Error

    def _holdfast_error(self, number: int, text: str) -> Exception:
        return errors.OperationalError(msg=text, errno=number, sqlstate="HY000")

    disconnect = HeldConnection.close  # the driver's is its own close() under a second name

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        wire = self._holdfast
        wire.opening_cursor = True
        try:
            return HeldConnection.cursor(self, *args, **kwargs)
        finally:
            wire.opening_cursor = False

    def _holdfast_greeting(self) -> Greeting:
        handshake: Any = self._handshake  # type: ignore[attr-defined]
        return Greeting(str(handshake["server_version_original"]), self.connection_id or 0)  # type: ignore[attr-defined]

    def is_connected(self) -> bool:
        wire = self._holdfast
        if wire.opening_cursor:
            return self._holdfast_is_open() and not wire.hung_up()
        if self._holdfast.fault is not None:
            return False
        return bool(self._holdfast.stock.is_connected(self))

    def _open_connection(self) -> None:
        # reconnect() and ping(reconnect=True) come here on a connection that is already held.
        wire = self._holdfast
        wire.begin_anew()
        wire.stock._open_connection(self)
        wire.watch(self._holdfast_fd())

    def _holdfast_exchange(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one of the driver's methods that sends a command or reads a reply to its end. They may be nested."""
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
        if not wire.depth and (wire.in_flight or wire.fault is not None):
            self._holdfast_begin()  # raises
        wire.depth += 1
        wire.in_flight = True
        finished = False
        try:
            value = call(*args, **kwargs)
            finished = True
            return value
        except errors.Error as error:
            # Answered with an error, or refused before anything was sent: in step either way. A client error is not.
            finished = True
            if isinstance(error, _TIMED_OUT) or (not server_error(error.errno) and error.errno not in (-1, None)):
                wire.fault = Cause.LOST_IN_USE
            raise
        finally:
            wire.depth -= 1
            if finished and not wire.depth:
                wire.in_flight = False


class MySQLConnection(_Connector):
    """A held :class:`mysql.connector.connection.MySQLConnection` (pure Python)."""

    def _holdfast_fd(self) -> int | None:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        return None if sock is None else sock.fileno()

    def _holdfast_is_open(self) -> bool:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        return sock is not None and sock.fileno() >= 0

    def _holdfast_has_unread_result(self) -> bool:
        return bool(self.unread_result or self._have_next_result)  # type: ignore[attr-defined]

    def _holdfast_send_rollback(self) -> None:
        attributes = self._client_flags & ClientFlag.CLIENT_QUERY_ATTRIBUTES  # type: ignore[attr-defined]
        # COM_QUERY with query attributes starts with their number (0) and the number of sets (1).
        packet = b"\x00\x01ROLLBACK" if attributes else b"ROLLBACK"
        self._holdfast.stock._send_cmd(self, ServerCmd.QUERY, packet, expect_response=False)

    def _holdfast_read_rollback(self) -> None:
        self._handle_ok(self._holdfast_receive())  # type: ignore[attr-defined]

    def _holdfast_receive(self, read_timeout: Any = None) -> Any:
        socket: Any = self._socket  # type: ignore[attr-defined]
        if not hasattr(self, "_read_timeout"):  # before 9.2.0
            return socket.recv()
        return socket.recv(read_timeout or self._read_timeout)

    def _send_cmd(self, command: int, argument: Any = None, *args: Any, **kwargs: Any) -> Any:
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
        expected = kwargs.get("expect_response", True)
        statement = None
        if command == ServerCmd.QUERY:
            # With query attributes the text comes behind their number (0) and the number of sets (1).
            statement = argument[2:] if argument[:2] == b"\x00\x01" else argument
            wire.statement = statement if len(statement) < 500 else statement[:200]
        if (
            wire.pending
            and wire.pipeline
            and (wire.depth or not wire.in_flight)
            and wire.fault is None
            and expected
            and not args
            and statement is not None
            and may_follow_rollback(statement)
        ):
            wire.in_flight = True
            wire.sent += 1
            wire.depth += 1
            try:
                wire.stock._send_cmd(self, command, argument, **{**kwargs, "expect_response": False})
                self._holdfast_settle(statement_behind=True)
            finally:
                wire.depth -= 1
            wire.counters.statements_pipelined += 1
            wire.reads_only = is_plain_read(statement)
            wire.in_flight = bool(wire.depth)  # _holdfast_exchange() takes it from here
            return self._holdfast_exchange(self._holdfast_receive, kwargs.get("read_timeout"))
        self._holdfast_begin(statement)
        packet = self._holdfast_exchange(wire.stock._send_cmd, self, command, argument, *args, **kwargs)
        if statement is not None and not expected:
            wire.in_flight = True  # somebody else is going to read the reply, or not
        return packet

    def rollback(self) -> None:
        # The driver reads what is left of a result before it rolls back; further result sets it would trip over.
        if self._have_next_result and not self.unread_result:  # type: ignore[attr-defined]
            self._holdfast.give_up(Cause.UNREAD_RESULT)
        HeldConnection.rollback(self)

    def cmd_query(self, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_exchange(self._holdfast.stock.cmd_query, self, *args, **kwargs)

    def get_rows(self, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_exchange(self._holdfast.stock.get_rows, self, *args, **kwargs)

    def cmd_statistics(self) -> Any:
        self._holdfast_begin()
        return self._holdfast_exchange(self._holdfast.stock.cmd_statistics, self)

    def cmd_change_user(self, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_begin()
        return self._holdfast_exchange(self._holdfast.stock.cmd_change_user, self, *args, **kwargs)

    def cmd_stmt_prepare(self, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_exchange(self._holdfast.stock.cmd_stmt_prepare, self, *args, **kwargs)

    def cmd_stmt_execute(self, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_exchange(self._holdfast.stock.cmd_stmt_execute, self, *args, **kwargs)


class CMySQLConnection(_Connector):
    """A held :class:`mysql.connector.connection_cext.CMySQLConnection` (C extension)."""

    def _holdfast_fd(self) -> int | None:
        return sockets.newest()

    def _open_connection(self) -> None:
        sockets.remember()
        _Connector._open_connection(self)

    def _holdfast_is_open(self) -> bool:
        return not self.is_closed() and self._holdfast.same_socket()  # type: ignore[attr-defined]

    def _holdfast_has_unread_result(self) -> bool:
        return bool(self.unread_result)  # type: ignore[attr-defined]

    @property
    def autocommit(self) -> bool:
        return bool(self._holdfast.stock.autocommit.fget(self))

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._holdfast_begin()
        self._holdfast.stock.autocommit.fset(self, value)

    @property
    def database(self) -> Any:
        return self._holdfast.stock.database.fget(self)

    @database.setter
    def database(self, value: str) -> None:
        self._holdfast_begin()
        self._holdfast.stock.database.fset(self, value)


def _begins(name: str) -> Callable[..., Any]:
    def method(self: CMySQLConnection, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_begin()
        call = getattr(self._holdfast.stock, name)
        return self._holdfast_exchange(call, self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


# The C extension has no single place through which commands go.
for _name in (
    "_execute_query",
    "cmd_change_user",
    "cmd_init_db",
    "cmd_query",
    "cmd_refresh",
    "cmd_reset_connection",
    "cmd_shutdown",
    "cmd_statistics",
    "cmd_stmt_close",
    "cmd_stmt_execute",
    "cmd_stmt_prepare",
    "cmd_stmt_reset",
    "info_query",
    "set_character_set_name",
):
    setattr(CMySQLConnection, _name, _begins(_name))
