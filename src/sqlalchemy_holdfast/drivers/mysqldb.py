"""mysqlclient (``mysql+mysqldb``), on libmariadb or libmysqlclient.

The C library has its own state machine and refuses a command out of turn (2014), so an interrupted statement cannot
lead to a wrong answer; such a connection is discarded all the same. After a fatal error ``fileno()`` still returns
the number of the socket that the library has closed and that may be another's by now; hence the look at the library's
last error before the socket is asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from os import getpid
from typing import Any

import MySQLdb
from MySQLdb import connections
from MySQLdb.constants import CR

from .._clock import monotonic_also_asleep
from .._outside import from_outside
from ..counters import Cause
from ..server.faults import OUT_OF_SYNC, UNKNOWN_ERROR, is_the_clients, is_the_servers
from ..server.middleboxes import Greeting
from ..server.session_changes import may_be_said_again, use
from ..server.tls import Encryption, Policy
from . import mysqldb_library as c_library
from . import mysqldb_tls, tls_words
from .connection import HeldConnection, alone
from .encryption import check_encryption
from .patience import HANDSHAKE_SECONDS
from .sockets import borrowed
from .state import ConnectionState
from .subclass import unwrap

__all__ = ["MySQLdbConnection", "prepare", "refuse_clear_text", "wrap_connect"]


_SET_UP = ("autocommit", "collation", "compress", "init_command", "read_default_file", "read_default_group", "sql_mode")
"""Arguments that say how a session is set up, and that the driver does not keep."""
_send_query = connections.Connection.send_query
_read_query_result = connections.Connection.read_query_result
_LONGEST_PASSWORD = 256
"""Characters that a password may have at the most where it is not sent in clear (caching_sha2_password)."""
_more_results = getattr(connections.Connection, "more_results", None)  # since mysqlclient 2.3


_RESET_CONNECTION = b"\x01\x00\x00\x00\x1f"
"""A packet with COM_RESET_CONNECTION, whole: its length, its number, the command."""


@functools.cache
def _is_libmariadb() -> bool:
    # libmysqlclient checks the sequence number of every reply packet against the one command it believes to be
    # outstanding; libmariadb reads two replies in order. And libmysqlclient refuses (2014) to store the result of a
    # statement that was left out, as mysqlclient's cursor asks for. Its versions are 5.x, 8.x, 9.x, libmariadb's 3.x
    # or the server's 10.x and up.
    major = MySQLdb.get_client_info().split(".")[0]
    return major.isdigit() and int(major) not in (5, 6, 8, 9)


def prepare(connection: Any, state: ConnectionState) -> None:
    """Switch off what the client library or a subclass of the application's does not allow."""
    cls = type(connection)
    if cls.query is not connections.Connection.query or not _is_libmariadb():
        state.pipeline = False
    if cls.rollback is not connections.Connection.rollback:
        state.defer = False
    state.time_limit = getattr(connection, "holdfast_time_limit", None)


def wrap_connect(connect: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Ask for TLS as ``holdfast_tls`` says, and note what the C library does not tell: how it has set the session up,
    and how long it waits for a reply. A reply that took longer is a lost connection to it.

    Without a ``connect_timeout`` the library would wait for ever for a server that says nothing. An option file may
    have one, so with a file nothing is changed.
    """

    def note(*positional: Any, **arguments: Any) -> Any:
        if policy.mode is not None:
            arguments = mysqldb_tls.translated(policy, arguments)
        else:
            tls_words.note(policy, arguments)
        if not arguments.keys() & {"connect_timeout", "read_default_file", "read_default_group"}:
            arguments["connect_timeout"] = HANDSHAKE_SECONDS
        connection = connect(*positional, **arguments)
        if policy.mode is not None and isinstance(own := unwrap(connection), connections.Connection):
            setattr(own, mysqldb_tls.ASKED, policy.mode)
        if isinstance(connection, connections.Connection):
            connection.holdfast_arguments = {name: arguments[name] for name in _SET_UP if name in arguments}
        limits = [arguments[name] for name in ("read_timeout", "write_timeout") if arguments.get(name)]
        if limits and isinstance(connection, connections.Connection):
            connection.holdfast_time_limit = min(limits)
        return connection

    return note


def refuse_clear_text(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Make one engine's ``connect`` keep a token where libmariadb might send it in clear without TLS.

    libmariadb sends the password as it is when a server asks for that, and cannot be told not to. Without TLS it goes
    on with ``ssl``, and with an ``ssl_mode`` of REQUIRED, in clear; it refuses that with VERIFY_CA and VERIFY_IDENTITY
    (libmariadb 3.3). libmysqlclient sends nothing in clear unless its environment or an option file says so.
    """

    def connect_in_secret(*positional: Any, **arguments: Any) -> Any:
        token = len(arguments.get("password") or "") > _LONGEST_PASSWORD
        verifies = str(arguments.get("ssl_mode")).upper() in ("VERIFY_CA", "VERIFY_IDENTITY")
        if token and not verifies and not arguments.get("unix_socket") and _is_libmariadb():
            raise MySQLdb.OperationalError(
                CR.AUTH_PLUGIN_ERR,
                "holdfast: a password of this length is a token, which a server asks for in clear text, and "
                "mysqlclient would send it without TLS as well. It was not sent. Set holdfast_tls=verify-identity and "
                "holdfast_tls_ca=<the server's CA file>",
            )
        return connect(*positional, **arguments)

    return connect_in_secret


class MySQLdbConnection(HeldConnection):
    """A held :class:`MySQLdb.connections.Connection`."""

    _holdfast_errors = MySQLdb.MySQLError

    def _holdfast_fd(self) -> int | None:
        try:
            return self.fileno()  # type: ignore[attr-defined,no-any-return]
        except MySQLdb.MySQLError:
            return None

    def _holdfast_error(self, number: int, text: str, kind: str = "OperationalError") -> Exception:
        error: Exception = getattr(MySQLdb, kind)(number, text)
        return error

    def _holdfast_is_open(self) -> bool:
        # The last error says whether the library has closed the socket; close() is noticed without.
        return not is_the_clients(self.errno())  # type: ignore[attr-defined]

    def _holdfast_encryption(self) -> Encryption:
        return mysqldb_tls.encryption(self, unix_socket=self._holdfast.is_unix_socket)

    def _holdfast_signed_by(self, ca: str, authorities: frozenset[bytes]) -> bool | None:
        named = mysqldb_tls.named_authority(self)
        if named is not None:
            return named == ca  # the library has no others then
        return True if hasattr(self, mysqldb_tls.ASKED) else None

    def _holdfast_greeting(self) -> Greeting:
        return Greeting(self.get_server_info(), self.thread_id())  # type: ignore[attr-defined]

    def _holdfast_needs_tls_to_log_in(self) -> str:
        # libmariadb asks for the server's public key by itself (3.1 and later); libmysqlclient only when it is told to.
        return "" if _is_libmariadb() else "libmysqlclient does not ask for the server's public key by itself"

    def _holdfast_failed(self, error: Exception) -> None:
        """Note what a driver's error says about the connection. A server's error leaves it sound."""
        state = self._holdfast
        number = error.args[0] if error.args else None
        state.in_flight = False
        if is_the_servers(number):
            self._holdfast_note_error(error)
        else:
            state.unusable_because = Cause.INTERRUPTED if number == OUT_OF_SYNC else Cause.LOST_IN_USE
            self._holdfast_raise_taken_away(error)

    def _holdfast_has_unread_result(self) -> bool:
        return _more_results is not None and bool(_more_results(self))

    def _holdfast_send(self, statement: bytes) -> None:
        _send_query(self, statement)

    def _holdfast_read_ok(self) -> None:
        _read_query_result(self)

    def _holdfast_connect_statements(self) -> list[bytes] | None:
        arguments = getattr(self, "holdfast_arguments", None)
        if arguments is None or not c_library.can_reset():
            return None
        if arguments.get("read_default_file") or arguments.get("read_default_group"):
            return None  # only the library knows what these say
        collation = arguments.get("collation")
        said = [f"SET NAMES {self._holdfast_charset()}" + (f" COLLATE {collation}" if collation else "")]
        if arguments.get("init_command"):
            said.append(arguments["init_command"])
            if not may_be_said_again(said[-1]):
                return None
        if arguments.get("sql_mode"):
            said.append(f"SET SESSION sql_mode='{arguments['sql_mode']}'")
        if arguments.get("autocommit", False) is not None:
            said.append(f"SET autocommit={int(bool(arguments.get('autocommit')))}")
        return [statement.encode(self.encoding) for statement in said]

    def _holdfast_send_reset(self) -> int:
        state = self._holdfast
        arguments = getattr(self, "holdfast_arguments", {"compress": True})
        if state.pipeline and state.fd is not None and not arguments.get("compress") and c_library.is_plain(self):
            # The library has no call that sends this without waiting. What it reads next are replies, in order.
            try:
                with borrowed(state.fd) as sock:
                    sent = sock.send(_RESET_CONNECTION)
            except OSError as error:
                if from_outside(error) is not None:
                    raise
                raise self._holdfast_error(2006, "MySQL server has gone away") from error
            if sent != len(_RESET_CONNECTION):
                raise self._holdfast_error(2006, "MySQL server has gone away")
            return 1
        while state.pending:
            self._holdfast_read_rollback_reply()
        state.in_flight = True
        if c_library.reset(self):
            raise self._holdfast_error(self.errno() or UNKNOWN_ERROR, self.error())  # type: ignore[attr-defined]
        return 0

    def _holdfast_remembered(self) -> Any:
        return self.encoding

    def _holdfast_remember(self, remembered: Any) -> bool:
        self.encoding = remembered
        return True

    def _holdfast_autocommits(self) -> bool:
        return bool(self.get_autocommit())  # type: ignore[attr-defined]

    def _holdfast_charset(self) -> str:
        return str(self.character_set_name())  # type: ignore[attr-defined]

    def _holdfast_backslash_escapes(self) -> bool | None:
        # The library escapes as the session's sql_mode wants it.
        return bool(self.escape_string(b"\\") == b"\\\\")  # type: ignore[attr-defined]

    def _holdfast_not_sent(self, error: BaseException) -> bool:
        return error.args[:1] == (OUT_OF_SYNC,)

    def _holdfast_time_limit(self, error: BaseException) -> bool:
        state = self._holdfast
        limit = state.time_limit
        # The library's clock and this one are not the same.
        return limit is not None and monotonic_also_asleep() - state.began > 0.9 * limit

    _holdfast_volatile = frozenset({"messages"})
    _holdfast_members = ("converter",)

    def rollback(self) -> None:
        """Roll back; a connection whose result was never fetched (2014) is given up instead."""
        try:
            HeldConnection.rollback(self)
        except MySQLdb.MySQLError as error:
            if error.args[:1] != (OUT_OF_SYNC,):
                raise
            self._holdfast.give_up(Cause.UNREAD_RESULT)

    def query(self, query: Any) -> None:
        state = self._holdfast
        if state.pid != getpid():
            state.notice_fork()
        outermost = self._holdfast_enter()
        try:
            if state.charset_is_set:
                state.charset_is_set = False
                # SQLAlchemy's dialect repeats the SET NAMES that the driver sent while connecting.
                if _is_libmariadb() and query == b"SET NAMES " + self.character_set_name().encode():  # type: ignore[attr-defined]
                    return
            pipelined = state.pending and not state.in_flight and self._holdfast_may_pipeline(query)
            if not pipelined and (state.pending or state.in_flight or state.unusable_because is not None):
                self._holdfast_before_command(query)
            else:
                if state.judged:
                    self._holdfast_judge(query)
                state.sent += 1
                if state.reads_only and not pipelined:
                    self._holdfast_note(query)
            state.nothing_to_roll_back = False
            state.statement = query if len(query) < 500 else query[:200]
            state.in_flight = True
            state.nested_calls += 1  # a subclass's query() may call send_query()
            try:
                if pipelined:
                    _send_query(self, bytes(query) if isinstance(query, bytearray) else query)
                    self._holdfast_read_rollback_reply(statement_behind=True)
                    self._holdfast_pipelined(query)
                    _read_query_result(self)
                else:
                    state.driver_class.query(self, query)
            except MySQLdb.MySQLError as error:
                self._holdfast_failed(error)
                raise
            finally:
                state.nested_calls -= 1
            state.in_flight = False
            state.replied = monotonic_also_asleep()
        finally:
            if outermost:
                state.users.pop(0, None)

    @alone
    def autocommit(self, on: Any) -> None:
        if bool(on) != self.get_autocommit():  # type: ignore[attr-defined]
            self._holdfast_before_command(f"SET autocommit={int(bool(on))}")
        self._holdfast.driver_class.autocommit(self, on)

    @alone
    def ping(self, *args: Any) -> None:
        self._holdfast_before_command(harmless=True)
        self._holdfast.driver_class.ping(self, *args)
        if not self._holdfast.same_socket():  # ping(True) may have reconnected
            self._holdfast.watch(self._holdfast_fd())
            check_encryption(self)

    @alone
    def send_query(self, query: Any) -> None:
        if not self._holdfast.nested_calls:
            self._holdfast_before_command(query)
        self._holdfast.in_flight = True
        self._holdfast.driver_class.send_query(self, query)

    @alone
    def read_query_result(self) -> None:
        try:
            _read_query_result(self)
        except MySQLdb.MySQLError as error:
            self._holdfast_failed(error)
            raise
        self._holdfast.in_flight = False

    @alone
    def change_user(self, *args: Any, **kwargs: Any) -> None:
        self._holdfast_before_command()
        self._holdfast.driver_class.change_user(self, *args, **kwargs)

    @alone
    def dump_debug_info(self) -> None:
        self._holdfast_before_command(harmless=True)
        self._holdfast.driver_class.dump_debug_info(self)

    @alone
    def kill(self, thread_id: int) -> None:
        self._holdfast_before_command(harmless=True)
        self._holdfast.driver_class.kill(self, thread_id)

    @alone
    def select_db(self, database: str) -> None:
        self._holdfast_before_command(harmless=True)
        if self._holdfast.session is not None:
            self._holdfast.session.sees(use(database), self)
        self._holdfast.driver_class.select_db(self, database)

    @alone
    def set_character_set(self, charset: str, *args: Any) -> None:
        self._holdfast_before_command(harmless=True)
        if self._holdfast.session is not None:
            self._holdfast.session.sees(f"SET NAMES {charset}", self)
        self._holdfast.driver_class.set_character_set(self, charset, *args)

    @alone
    def set_server_option(self, option: int) -> int:
        self._holdfast_before_command(harmless=True)
        if self._holdfast.session is not None:
            self._holdfast.session.sees(None, self)
        return int(self._holdfast.driver_class.set_server_option(self, option))

    @alone
    def shutdown(self) -> None:
        self._holdfast_before_command()
        self._holdfast.driver_class.shutdown(self)

    @alone
    def stat(self) -> str:
        self._holdfast_before_command(harmless=True)
        return str(self._holdfast.driver_class.stat(self))
