"""mysql-connector-python (``mysql+mysqlconnector``), pure Python and with its C extension.

The pure connection sends every command but three through ``_send_cmd``. ``cursor()`` sends COM_PING each time, to
find out whether the connection is open; held, it looks at the socket object instead (``is_connected()`` called by
the application still pings).

The C extension has no way to send a command without waiting and does not tell its socket. It gets clean tracking
and no ping per cursor; its socket is found among the process's own where that is unambiguous.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from os import getpid
from typing import Any

from mysql.connector import HAVE_CEXT, errors
from mysql.connector.connection import MySQLConnection as PureConnection
from mysql.connector.constants import DEFAULT_CONFIGURATION, ClientFlag, ServerCmd

from .._clock import monotonic_also_asleep
from ..counters import Cause
from ..server.faults import OUT_OF_SYNC, is_the_servers
from ..server.middleboxes import Greeting
from ..server.session_changes import may_be_said_again, use
from ..server.statements import may_commit
from ..server.tls import Encryption, Policy
from . import python_tls, sockets, tls_words
from .connection import HeldConnection, names
from .encryption import check_encryption
from .mysqlconnector_tls import c_encryption, translated
from .patience import HANDSHAKE_SECONDS
from .state import ConnectionState

__all__ = ["CMySQLConnection", "MySQLConnection", "prepare", "prepare_c", "refuse_clear_text", "wrap_connect"]


_IN_TRANSACTION, _AUTOCOMMIT, _NO_BACKSLASH_ESCAPES = 0x0001, 0x0002, 0x0200
"""The server's status flags SERVER_STATUS_IN_TRANS, _AUTOCOMMIT and _NO_BACKSLASH_ESCAPES. The
second is missing in the driver's constants."""
_HARMLESS = frozenset(
    {
        ServerCmd.DEBUG,
        ServerCmd.INIT_DB,
        ServerCmd.PING,
        ServerCmd.SET_OPTION,
        ServerCmd.STATISTICS,
        ServerCmd.STMT_CLOSE,
        ServerCmd.STMT_FETCH,
        ServerCmd.STMT_RESET,
        ServerCmd.STMT_SEND_LONG_DATA,
    }
)
"""Commands without a statement that commit nothing."""
_OWN_LIMIT = frozenset({"connection_timeout", "connect_timeout", "option_files", "read_default_file"})
"""Arguments that have, or may have, the application's own limit."""
_TIMED_OUT = tuple(
    found
    for name in ("ReadTimeoutError", "WriteTimeoutError")
    if isinstance(found := getattr(errors, name, None), type)
)
"""Errors with the number 3024 that the client makes up. The driver has them since 9.2.0."""


def prepare(connection: Any, state: ConnectionState) -> None:
    """Switch off what a subclass of the application's does not allow."""
    if type(connection).rollback is not PureConnection.rollback:
        state.defer = False
    # No reply has told the flags yet; the driver has just switched this on or off.
    state.status = _AUTOCOMMIT if getattr(connection, "_autocommit", False) else 0


def prepare_c(connection: Any, state: ConnectionState) -> None:
    """Switch off what the C extension has no calls for."""
    state.defer = state.pipeline = state.probe = False


def wrap_connect(connect: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Ask for TLS as ``holdfast_tls`` says, and let a C connection's socket be found after it was made.

    Versions without a time limit of their own would wait for ever for a server that says nothing; they get one.
    """

    def note(*positional: Any, **arguments: Any) -> Any:
        if policy.mode is not None:
            arguments = translated(policy, arguments, pure=not HAVE_CEXT or bool(arguments.get("use_pure")))
        else:
            tls_words.note(policy, arguments)
        if not arguments.keys() & _OWN_LIMIT and DEFAULT_CONFIGURATION.get("connection_timeout") is None:
            arguments["connection_timeout"] = HANDSHAKE_SECONDS
        if HAVE_CEXT and not arguments.get("use_pure"):
            sockets.remember()
        return connect(*positional, **arguments)

    return note


def refuse_clear_text(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing to do: the driver itself refuses to send a password in clear without TLS."""
    return connect


class _Connector(HeldConnection):
    """What both kinds of connection have in common."""

    _holdfast_errors = errors.Error

    def _holdfast_error(self, number: int, text: str, kind: str = "OperationalError") -> Exception:
        error: Exception = getattr(errors, kind)(msg=text, errno=number, sqlstate="HY000")
        return error

    def _holdfast_needs_tls_to_log_in(self) -> str:
        return "mysql-connector-python sends a password over TLS or a unix socket alone"

    def _holdfast_flags(self) -> int:
        """Return the server's status flags as of its last reply."""
        raise NotImplementedError

    def _holdfast_autocommits(self) -> bool:
        return bool(self._holdfast_flags() & _AUTOCOMMIT)

    def _holdfast_in_transaction(self) -> bool | None:
        return bool(self._holdfast_flags() & _IN_TRANSACTION)

    def _holdfast_charset(self) -> str:
        return str(self.charset)  # type: ignore[attr-defined]

    def _holdfast_backslash_escapes(self) -> bool | None:
        return not self._holdfast_flags() & _NO_BACKSLASH_ESCAPES

    def _holdfast_time_limit(self, error: BaseException) -> bool:
        return _is_timeout(error) or HeldConnection._holdfast_time_limit(self, error)

    def _holdfast_connect_statements(self) -> list[bytes] | None:
        this: Any = self
        names = this._character_set.get_info(this._charset_id)
        said = [f"SET NAMES '{names[0]}' COLLATE '{names[1]}'", _set_autocommit(this._autocommit)]
        if this._time_zone:
            said.append(f"SET @@session.time_zone = '{this._time_zone}'")
        if this._sql_mode:
            mode = this._sql_mode
            said.append(f"SET @@session.sql_mode = '{mode if isinstance(mode, str) else ','.join(mode)}'")
        if getattr(this, "_init_command", None):
            said.append(this._init_command)
            if not may_be_said_again(said[-1]):
                return None
        return [statement.encode() for statement in said]

    def _holdfast_remembered(self) -> Any:
        this: Any = self
        return this._charset_id, this._autocommit, this._time_zone, this._sql_mode

    def _holdfast_remember(self, remembered: Any) -> bool:
        this: Any = self
        if this._charset_id != remembered[0]:
            return False
        _, this._autocommit, this._time_zone, this._sql_mode = remembered
        return True

    disconnect = HeldConnection.close  # the driver's is its own close() under a second name

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        state = self._holdfast
        state.opening_cursor = True
        try:
            return HeldConnection.cursor(self, *args, **kwargs)
        finally:
            state.opening_cursor = False

    def ping(self, *args: Any, **kwargs: Any) -> None:
        self._holdfast_refuse_second_thread()  # the driver's own error would say that the connection is gone
        self._holdfast.driver_class.ping(self, *args, **kwargs)

    def _holdfast_greeting(self) -> Greeting:
        handshake: Any = self._handshake  # type: ignore[attr-defined]
        return Greeting(str(handshake["server_version_original"]), self.connection_id or 0)  # type: ignore[attr-defined]

    def is_connected(self) -> bool:
        state = self._holdfast
        if state.opening_cursor:
            return self._holdfast_is_open() and not state.hung_up()
        if self._holdfast.unusable_because is not None:
            return False
        return bool(self._holdfast.driver_class.is_connected(self))

    def _open_connection(self) -> None:
        # reconnect() and ping(reconnect=True) come here on a connection that is already held.
        state = self._holdfast
        state.begin_anew()
        state.driver_class._open_connection(self)
        state.watch(self._holdfast_fd())
        check_encryption(self)

    def _holdfast_exchange(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one of the driver's methods that sends a command or reads a reply to its end. They may be nested."""
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        outermost = self._holdfast_enter()
        try:
            if not state.nested_calls and (state.in_flight or state.unusable_because is not None):
                self._holdfast_before_command(harmless=True)  # raises
            if state.unusable_because is not None:
                raise self._holdfast_unusable_error()
            state.nested_calls += 1
            state.in_flight = True
            finished = False
            try:
                value = call(*args, **kwargs)
                finished = True
                if state.nested_calls == 1:
                    state.replied = monotonic_also_asleep()
                return value
            except errors.Error as error:
                # Answered with an error, or refused before anything was sent: in step either way. A client error is
                # not.
                finished = True
                if _is_timeout(error) or (not is_the_servers(error.errno) and error.errno not in (-1, None)):
                    state.unusable_because = Cause.LOST_IN_USE
                    self._holdfast_raise_taken_away(error)
                elif state.nested_calls == 1:
                    self._holdfast_note_error(error)
                raise
            finally:
                state.nested_calls -= 1
                if finished and not state.nested_calls:
                    state.in_flight = False
        finally:
            if outermost:
                state.users.pop(0, None)


def _set_autocommit(value: object) -> str:
    return f"SET @@session.autocommit = {'ON' if value else 'OFF'}"


def _is_timeout(error: BaseException) -> bool:
    """Say whether the driver's own time limit was up: errno 3024, made up."""
    return isinstance(error, _TIMED_OUT)


class MySQLConnection(_Connector):
    """A held :class:`mysql.connector.connection.MySQLConnection` (pure Python)."""

    def _holdfast_fd(self) -> int | None:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        return None if sock is None else sock.fileno()

    def _holdfast_encryption(self) -> Encryption:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        return python_tls.encryption(sock, unix_socket=self._holdfast.is_unix_socket)

    def _holdfast_signed_by(self, ca: str, authorities: frozenset[bytes]) -> bool | None:
        return python_tls.signed_by(self._socket.sock, authorities)  # type: ignore[attr-defined]

    def _holdfast_is_open(self) -> bool:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        return sock is not None and sock.fileno() >= 0

    def _holdfast_let_go(self) -> None:
        sock = getattr(self._socket, "sock", None)  # type: ignore[attr-defined]
        if sock is not None:
            sock.close()

    def _holdfast_has_unread_result(self) -> bool:
        return bool(self.unread_result or self._have_next_result)  # type: ignore[attr-defined]

    _holdfast_volatile = names(
        "_autocommit _columns_desc _handshake _have_next_result _in_transaction _local_infile_filenames "
        "_prepared_statements _protocol _query _query_attrs _server_info _server_version _socket "
        "_sql_mode _ssl_active _unread_result _warning_count"
    )

    def _holdfast_send(self, statement: bytes) -> None:
        attributes = self._client_flags & ClientFlag.CLIENT_QUERY_ATTRIBUTES  # type: ignore[attr-defined]
        # COM_QUERY with query attributes starts with their number (0) and the number of sets (1).
        packet = b"\x00\x01" + statement if attributes else statement
        self._holdfast.driver_class._send_cmd(self, ServerCmd.QUERY, packet, expect_response=False)

    def _holdfast_send_reset(self) -> int:
        self._holdfast.driver_class._send_cmd(self, ServerCmd.RESET_CONNECTION, expect_response=False)
        return 1

    def _holdfast_read_ok(self) -> None:
        self._handle_ok(self._holdfast_receive())  # type: ignore[attr-defined]

    def _holdfast_receive(self, read_timeout: Any = None) -> Any:
        socket: Any = self._socket  # type: ignore[attr-defined]
        if not hasattr(self, "_read_timeout"):  # before 9.2.0
            return socket.recv()
        return socket.recv(read_timeout or self._read_timeout)

    def _holdfast_flags(self) -> int:
        return self._holdfast.status or 0

    def _handle_server_status(self, flags: int) -> None:
        self._holdfast.status = flags
        self._holdfast.driver_class._handle_server_status(self, flags)

    def _holdfast_finish_unread(self) -> None:
        """Read the results that are left of a procedure or of several statements.

        The driver reads what is left of one result before the next command, or refuses that. It forgets that more may
        follow, and takes the next one's reply, or the last OK, for the reply to the new command.

        :raises: the server's error, when the procedure has failed after the results that were read.
        """
        this: Any = self
        if not (this._have_next_result or this.unread_result):
            return
        if this.unread_result:
            this.handle_unread_result()  # raises InternalError where the rows are to be read by the application
        while this._have_next_result:
            this._have_next_result = False  # what follows says whether there is one more; an error is the last
            result = self._holdfast_reply(_read_next_result)
            if "columns" in result:
                self.get_rows()

    def _holdfast_reply(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one of the driver's methods that reads a reply to its end.

        It is never called inside another one, but by a signal's handler: that would read the rest of the other reply.
        """
        state = self._holdfast
        if state.users and state.users.get(0) != threading.get_ident():
            self._holdfast_refuse_second_thread()
        if state.whole or state.replying:
            state.unusable_because = state.unusable_because or Cause.INTERRUPTED
            raise self._holdfast_unusable_error()
        state.whole = True
        try:
            return self._holdfast_exchange(call, self, *args, **kwargs)
        finally:
            state.whole = state.replying = False

    def _send_cmd(self, command: int, argument: Any = None, *args: Any, **kwargs: Any) -> Any:
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        if state.users and state.users.get(0) != threading.get_ident():
            self._holdfast_refuse_second_thread()
        if state.replying:
            state.unusable_because = state.unusable_because or Cause.INTERRUPTED
            raise self._holdfast_unusable_error()
        if self._have_next_result and not state.in_flight:  # type: ignore[attr-defined]
            self._holdfast_finish_unread()
        expected = kwargs.get("expect_response", True)
        statement = None
        if command in (ServerCmd.QUERY, ServerCmd.STMT_PREPARE):
            # With query attributes the text comes behind their number (0) and the number of sets (1).
            statement = argument[2:] if argument[:2] == b"\x00\x01" else argument
            state.statement = statement if len(statement) < 500 else statement[:200]
        if (
            state.pending
            and (state.nested_calls or not state.in_flight)
            and command == ServerCmd.QUERY
            and expected
            and not args
            and self._holdfast_may_pipeline(statement)
        ):
            if state.judged:
                self._holdfast_judge(statement)
            state.in_flight = True
            state.sent += 1
            state.nested_calls += 1
            try:
                state.driver_class._send_cmd(self, command, argument, **{**kwargs, "expect_response": False})
                self._holdfast_read_rollback_reply(statement_behind=True)
            finally:
                state.nested_calls -= 1
            self._holdfast_pipelined(statement)
            state.in_flight = bool(state.nested_calls)  # _holdfast_exchange() takes it from here
            state.replying = True
            try:
                return self._holdfast_exchange(self._holdfast_receive, kwargs.get("read_timeout"))
            finally:
                state.replying = state.whole
        if command == ServerCmd.INIT_DB and state.session is not None:
            state.session.sees(use(argument), self)
        self._holdfast_begin_command(command, statement)
        state.replying = expected
        try:
            packet = self._holdfast_exchange(state.driver_class._send_cmd, self, command, argument, *args, **kwargs)
        finally:
            state.replying = state.whole and expected
        if statement is not None and not expected:
            state.in_flight = True  # somebody else is going to read the reply, or not
        return packet

    def _holdfast_begin_command(self, command: int, statement: Any) -> None:
        """Make the connection ready for a command; see :meth:`_holdfast_before_command`."""
        state = self._holdfast
        if command == ServerCmd.STMT_PREPARE:
            escapes = self._holdfast_backslash_escapes()
            commits = may_commit(self._holdfast_readable(statement), backslash_escapes=escapes)
            state.prepared_may_commit = state.prepared_may_commit or commits
            self._holdfast_before_command(harmless=True)
            if state.session is not None:
                state.session.sees("PREPARE", self)
            state.nothing_to_roll_back = state.reads_only = False
        else:
            judged, session = state.judged, state.session
            if command == ServerCmd.STMT_EXECUTE:
                state.session = None  # it was seen when it was prepared
                state.judged = judged and state.prepared_may_commit  # and judged
            try:
                self._holdfast_before_command(statement, harmless=command in _HARMLESS)
            finally:
                state.judged, state.session = judged, session

    def rollback(self) -> None:
        # The driver reads what is left of a result before it rolls back; further result sets it would trip over.
        state = self._holdfast
        if state.users and state.users.get(0) != threading.get_ident():
            self._holdfast_refuse_second_thread()
        more = self._have_next_result and not self.unread_result  # type: ignore[attr-defined]
        if more and state.pid == getpid() and state.unusable_because is None and not state.in_flight:
            try:
                self._holdfast_finish_unread()
            except errors.Error as error:
                self._holdfast_raise_outside(error)
                if not is_the_servers(error.errno):
                    state.give_up(Cause.UNREAD_RESULT)
        HeldConnection.rollback(self)

    def cmd_query(self, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_finish_unread()
        return self._holdfast_reply(self._holdfast.driver_class.cmd_query, *args, **kwargs)

    def get_rows(self, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_reply(self._holdfast.driver_class.get_rows, *args, **kwargs)

    def cmd_statistics(self) -> Any:
        self._holdfast_finish_unread()
        self._holdfast_before_command(harmless=True)
        return self._holdfast_exchange(self._holdfast.driver_class.cmd_statistics, self)

    def cmd_change_user(self, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_finish_unread()
        self._holdfast_before_command()
        return self._holdfast_exchange(self._holdfast.driver_class.cmd_change_user, self, *args, **kwargs)

    def cmd_stmt_prepare(self, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_finish_unread()
        return self._holdfast_reply(self._holdfast.driver_class.cmd_stmt_prepare, *args, **kwargs)

    def cmd_stmt_execute(self, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_finish_unread()
        return self._holdfast_reply(self._holdfast.driver_class.cmd_stmt_execute, *args, **kwargs)


def _read_next_result(connection: Any) -> Any:
    """Read what comes behind a result that said that there is more."""
    return connection._handle_result(connection._holdfast_receive())


class CMySQLConnection(_Connector):
    """A held :class:`mysql.connector.connection_cext.CMySQLConnection` (C extension)."""

    def _holdfast_fd(self) -> int | None:
        return sockets.newest()

    def _holdfast_encryption(self) -> Encryption:
        return c_encryption(self, unix_socket=bool(self._unix_socket))  # type: ignore[attr-defined]

    def _holdfast_signed_by(self, ca: str, authorities: frozenset[bytes]) -> bool | None:
        return bool(self._ssl.get("ca") == ca)  # type: ignore[attr-defined]  # the library has no others then

    def _open_connection(self) -> None:
        sockets.remember()
        _Connector._open_connection(self)

    def _holdfast_is_open(self) -> bool:
        return not self.is_closed() and self._holdfast.same_socket()  # type: ignore[attr-defined]

    def _holdfast_has_unread_result(self) -> bool:
        return bool(self.unread_result)  # type: ignore[attr-defined]

    def _holdfast_flags(self) -> int:
        return int(self._server_status)  # type: ignore[attr-defined]

    def _holdfast_reset_and_wait(self, statements: Sequence[bytes]) -> None:
        self._holdfast.in_flight = False  # the driver's own methods say so themselves
        self._holdfast_exchange(self._holdfast_reset_by_driver, statements)

    def _holdfast_reset_by_driver(self, statements: Sequence[bytes]) -> None:
        this: Any = self
        this._cmysql.reset_connection()
        for statement in statements:
            self._holdfast.driver_class.cmd_query(self, statement)

    def _holdfast_not_sent(self, error: BaseException) -> bool:
        return getattr(error, "errno", None) == OUT_OF_SYNC

    _holdfast_volatile = names(
        "_autocommit _cmysql _columns _handshake _local_infile_filenames _query _query_attrs "
        "_server_info _server_version _socket _sql_mode _unread_result"
    )

    @property
    def autocommit(self) -> bool:
        return bool(self._holdfast.driver_class.autocommit.fget(self))

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._holdfast_before_command(_set_autocommit(value))
        self._holdfast.driver_class.autocommit.fset(self, value)

    @property
    def database(self) -> Any:
        return self._holdfast.driver_class.database.fget(self)

    @database.setter
    def database(self, value: str) -> None:
        self._holdfast_before_command(harmless=True)
        if self._holdfast.session is not None:
            self._holdfast.session.sees(use(value), self)
        self._holdfast.driver_class.database.fset(self, value)


def _sees(name: str, said: Callable[..., str]) -> Callable[..., Any]:
    """Make a method that sends a command without a statement that commits nothing, and changes the session."""

    def method(self: CMySQLConnection, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_before_command(harmless=True)
        if self._holdfast.session is not None:
            self._holdfast.session.sees(said(*args) if args else None, self)
        return self._holdfast_exchange(getattr(self._holdfast.driver_class, name), self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def _begins(name: str, *, text: bool = False, harmless: bool = False) -> Callable[..., Any]:
    def method(self: CMySQLConnection, *args: Any, **kwargs: Any) -> Any:
        self._holdfast_before_command(_as_text(args[0]) if text and args else None, harmless=harmless)
        call = getattr(self._holdfast.driver_class, name)
        return self._holdfast_exchange(call, self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def _as_text(statement: Any) -> Any:
    return statement if isinstance(statement, (str, bytes, bytearray)) else None


# The C extension has no single place through which commands go.
for _name in ("_execute_query", "cmd_query", "info_query"):
    setattr(CMySQLConnection, _name, _begins(_name, text=True))
CMySQLConnection.cmd_init_db = _sees("cmd_init_db", use)  # type: ignore[attr-defined]
CMySQLConnection.set_character_set_name = _sees(  # type: ignore[attr-defined]
    "set_character_set_name", "SET NAMES {}".format
)
for _name in ("cmd_statistics", "cmd_stmt_close", "cmd_stmt_reset"):
    setattr(CMySQLConnection, _name, _begins(_name, harmless=True))
for _name in (
    "cmd_change_user",
    "cmd_refresh",
    "cmd_reset_connection",
    "cmd_shutdown",
    "cmd_stmt_execute",
    "cmd_stmt_prepare",
):
    setattr(CMySQLConnection, _name, _begins(_name))
