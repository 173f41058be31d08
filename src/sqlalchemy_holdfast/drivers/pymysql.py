"""PyMySQL (``mysql+pymysql``).

Every command goes out through ``_execute_command``. Replies are read through a buffered file, which may hold bytes
that ``poll()`` cannot see; a reply that was not read to its end is therefore noticed by keeping account
(``ConnectionState.in_flight``), not by looking into the buffer.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from os import getpid
from typing import Any

from pymysql import connections, err
from pymysql.constants import COMMAND, CR, SERVER_STATUS

from .._clock import monotonic_also_asleep
from ..counters import Cause
from ..server.middleboxes import Greeting
from ..server.session_changes import may_be_said_again, use
from ..server.tls import Encryption, Policy
from . import python_tls
from .connection import HeldConnection, alone, names
from .encryption import check_encryption
from .patience import handshake_limit
from .pymysql_clear_text import refuse_clear_text
from .pymysql_tls import SharedTLS
from .state import ConnectionState
from .subclass import unwrap

__all__ = ["PyMySQLConnection", "prepare", "refuse_clear_text", "wrap_connect"]


def prepare(connection: Any, state: ConnectionState) -> None:
    """Switch off what a subclass of the application's does not allow."""
    if type(connection).rollback is not connections.Connection.rollback:
        state.defer = False


_HARMLESS = frozenset({COMMAND.COM_INIT_DB, COMMAND.COM_PING, COMMAND.COM_PROCESS_KILL, COMMAND.COM_STATISTICS})
"""Commands without a statement that commit nothing."""
_COM_RESET_CONNECTION = 0x1F
"""The driver does not know it."""


class _InheritedResult(connections.MySQLResult):
    """A half-read result of the parent process's: nobody reads the rest of it here. Reading on is an error."""

    def _finish_unbuffered_query(self) -> None:
        pass

    def __del__(self) -> None:
        pass


class PyMySQLConnection(HeldConnection):
    """A held :class:`pymysql.connections.Connection`."""

    _holdfast_errors = err.MySQLError

    def _holdfast_fd(self) -> int | None:
        sock = self._sock  # type: ignore[attr-defined]
        return None if sock is None else sock.fileno()

    def _holdfast_error(self, number: int, text: str, kind: str = "OperationalError") -> Exception:
        error: Exception = getattr(err, kind)(number, text)
        return error

    def _holdfast_encryption(self) -> Encryption:
        return python_tls.encryption(self._sock, unix_socket=self._holdfast.is_unix_socket)  # type: ignore[attr-defined]

    def _holdfast_signed_by(self, ca: str, authorities: frozenset[bytes]) -> bool | None:
        return python_tls.signed_by(self._sock, authorities)  # type: ignore[attr-defined]

    def _holdfast_greeting(self) -> Greeting:
        return Greeting(self.server_version, self.thread_id())  # type: ignore[attr-defined]

    def _holdfast_needs_tls_to_log_in(self) -> str:
        if importlib.util.find_spec("cryptography") is not None:
            return ""
        return "PyMySQL needs the package cryptography for it, which is not installed"

    def _holdfast_is_open(self) -> bool:
        return self._sock is not None  # type: ignore[attr-defined]

    def _holdfast_has_unread_result(self) -> bool:
        result = self._result  # type: ignore[attr-defined]
        return result is not None and bool(result.unbuffered_active or result.has_next)

    def _holdfast_left_to_parent(self) -> None:
        if type(self._result) is connections.MySQLResult:  # type: ignore[attr-defined]
            self._result.__class__ = _InheritedResult  # type: ignore[attr-defined]

    def _holdfast_send(self, statement: bytes) -> None:
        self._holdfast.driver_class._execute_command(self, COMMAND.COM_QUERY, statement)

    def _holdfast_read_ok(self) -> None:
        self._next_seq_id = 1  # each reply starts counting after its own command
        self._holdfast.driver_class._read_ok_packet(self)

    def _holdfast_connect_statements(self) -> list[bytes] | None:
        this: Any = self
        said = [f"SET NAMES {this.charset}" + (f" COLLATE {this.collation}" if this.collation else "")]
        if this.sql_mode is not None:
            said.append(f"SET sql_mode={this.escape(this.sql_mode)}")
        if this.init_command is not None:
            said.append(this.init_command)
            if not may_be_said_again(said[-1]):
                return None
        if this.autocommit_mode is not None:
            said.append(f"SET AUTOCOMMIT = {int(this.autocommit_mode)}")
        return [statement.encode(this.encoding) for statement in said]

    def _holdfast_send_reset(self) -> int:
        self._holdfast.driver_class._execute_command(self, _COM_RESET_CONNECTION, b"")
        return 1

    def _holdfast_remembered(self) -> Any:
        return {name: vars(self)[name] for name in ("autocommit_mode", "charset", "collation", "encoding")}

    def _holdfast_remember(self, remembered: Any) -> bool:
        vars(self).update(remembered)
        return True

    def _holdfast_finish_unread(self) -> None:
        # As the driver does before each command; here, before it is said that COMMIT is being sent.
        result = self._result  # type: ignore[attr-defined]
        while result is not None and not result.unbuffered_active and result.has_next:
            self._holdfast.driver_class.next_result(self)
            result = self._result  # type: ignore[attr-defined]

    def _holdfast_in_transaction(self) -> bool | None:
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)  # type: ignore[attr-defined]

    def _holdfast_autocommits(self) -> bool:
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT)  # type: ignore[attr-defined]

    def _holdfast_charset(self) -> str:
        return str(self.charset)  # type: ignore[attr-defined]

    def _holdfast_backslash_escapes(self) -> bool | None:
        return not self.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES  # type: ignore[attr-defined]

    _holdfast_volatile = names(
        "_affected_rows _auth_plugin_name _closed autocommit_mode _next_seq_id _result _rfile _secure "
        "_sock host_info insert_id protocol_version salt server_capabilities server_charset "
        "server_language server_status server_thread_id server_version"
    )

    def _execute_command(self, command: int, sql: bytes | str) -> None:
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        if state.users and state.users.get(0) != threading.get_ident():
            self._holdfast_refuse_second_thread()
        statement = sql if command == COMMAND.COM_QUERY else None
        if statement is not None:
            state.statement = statement if len(statement) < 500 else statement[:200]
        if state.pending and not state.in_flight and statement is not None and self._holdfast_may_pipeline(statement):
            if state.judged:
                self._holdfast_judge(statement)
            state.in_flight = True
            state.sent += 1
            state.driver_class._execute_command(self, command, sql)
            self._holdfast_read_rollback_reply(statement_behind=True)
            self._next_seq_id = 1
            self._holdfast_pipelined(statement)
            return
        if command == COMMAND.COM_INIT_DB and state.session is not None:
            state.session.sees(use(sql), self)
        self._holdfast_before_command(statement, harmless=command in _HARMLESS)
        state.in_flight = True
        try:
            state.driver_class._execute_command(self, command, sql)
        except err.MySQLError as error:
            state.in_flight = False  # the driver has closed the connection, or had not begun to send
            self._holdfast_raise_taken_away(error)
            raise

    def _holdfast_replied(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Read one reply to its end with the driver's own ``read``."""
        state = self._holdfast
        try:
            value = read(*args, **kwargs)
        except err.MySQLError as error:
            if error.args[:1] == (CR.CR_COMMANDS_OUT_OF_SYNC,):
                state.unusable_because = Cause.OUT_OF_SYNC
            state.in_flight = False
            self._holdfast_raise_taken_away(error)
            self._holdfast_note_error(error)
            raise
        state.in_flight = False
        return value

    def _read_ok_packet(self) -> Any:
        return self._holdfast_replied(self._holdfast.driver_class._read_ok_packet, self)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        return self._holdfast_replied(self._holdfast.driver_class._read_query_result, self, unbuffered=unbuffered)

    def query(self, sql: Any, unbuffered: bool = False) -> Any:
        state = self._holdfast
        outermost = self._holdfast_enter()
        try:
            if state.charset_is_set:
                state.charset_is_set = False
                # SQLAlchemy's dialect repeats the SET NAMES that the driver sent while connecting.
                if sql == f"SET NAMES {self.charset}":  # type: ignore[attr-defined]
                    this: Any = self
                    this._result = connections.MySQLResult(this)
                    return 0
            rows = state.driver_class.query(self, sql, unbuffered)
            state.replied = None if unbuffered else monotonic_also_asleep()
            return rows
        finally:
            if outermost:
                state.users.pop(0, None)

    @alone
    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self._holdfast_replied(self._holdfast.driver_class.set_character_set, self, charset, collation)

    @alone
    def show_warnings(self) -> Any:
        return self._holdfast_replied(self._holdfast.driver_class.show_warnings, self)

    @alone
    def next_result(self, unbuffered: bool = False) -> Any:
        return self._holdfast.driver_class.next_result(self, unbuffered)

    @alone
    def ping(self, *args: Any, **kwargs: Any) -> None:
        self._holdfast.driver_class.ping(self, *args, **kwargs)

    @alone
    def select_db(self, db: str) -> None:
        self._holdfast.driver_class.select_db(self, db)

    @alone
    def begin(self) -> None:
        self._holdfast.driver_class.begin(self)

    @alone
    def autocommit(self, value: bool) -> None:
        self._holdfast.driver_class.autocommit(self, value)

    def connect(self, sock: Any = None) -> None:
        # ping(reconnect=True) comes here on a connection that is already held.
        state = self._holdfast
        state.begin_anew()
        state.driver_class.connect(self, sock)
        state.watch(self._holdfast_fd())
        check_encryption(self)


def wrap_connect(connect: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Ask for TLS as ``holdfast_tls`` says, and give the connections of one engine one TLS context, and
    their handshake a time limit.

    PyMySQL builds a context for each connection and loads the system's certificates into it: 25 to 36 ms of CPU time
    (PyMySQL 1.2.4), also when the server then offers no TLS. Its ``connect_timeout`` ends when the server has accepted
    the connection, and ``read_timeout`` is off: it would wait for ever for a server that says nothing.
    """
    connect_over_tls = SharedTLS(connect, policy).connect

    def within_the_limit(*positional: Any, **arguments: Any) -> Any:
        if arguments.get("read_timeout") is not None or arguments.get("defer_connect"):
            return connect_over_tls(*positional, **arguments)
        limit = handshake_limit(arguments.get("connect_timeout"))
        connection = connect_over_tls(*positional, **{**arguments, "read_timeout": limit})
        own = unwrap(connection)  # a tracer's proxy may keep what is set on it
        own._read_timeout = own._current_timeout = None
        sock = getattr(own, "_sock", None)
        if sock is not None:
            sock.settimeout(None)
        return connection

    return within_the_limit
