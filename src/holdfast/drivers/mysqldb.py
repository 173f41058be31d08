"""mysqlclient (``mysql+mysqldb``), on libmariadb or libmysqlclient.

The C library has its own state machine and refuses a command out of turn (2014), so an interrupted statement cannot
lead to a wrong answer; such a connection is discarded all the same. After a fatal error ``fileno()`` still returns
the number of the socket that the library has closed and that may be another's by now; hence the look at the library's
last error before the socket is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from typing import Any

import MySQLdb
from MySQLdb import connections

from ..counters import Cause
from ..middleboxes import Greeting
from .base import HeldConnection, server_error
from .statements import is_plain_read, may_follow_rollback
from .wire import Wire

__all__ = ["MySQLdbConnection", "connecting", "prepare"]

_CLIENT_ERRORS = 2000  # to 2999: errors of the library, after which the connection is of no use
_OUT_OF_SYNC = 2014  # CR_COMMANDS_OUT_OF_SYNC


_send_query = connections.Connection.send_query
_read_query_result = connections.Connection.read_query_result
_more_results = getattr(connections.Connection, "more_results", None)  # since mysqlclient 2.3


def _can_pipeline() -> bool:
    # libmysqlclient checks the sequence number of every reply packet against the one command it believes to be
    # outstanding; libmariadb reads two replies in order. Its versions are 3.x or the server's 10.x and up,
    # libmysqlclient's 5.x, 8.x, 9.x.
    major = MySQLdb.get_client_info().split(".")[0]
    return major.isdigit() and int(major) not in (5, 6, 8, 9)


def prepare(connection: Any, wire: Wire) -> None:
    """Switch off what the client library or a subclass of the application's does not allow."""
    cls = type(connection)
    if cls.query is not connections.Connection.query or not _can_pipeline():
        wire.pipeline = False
    if cls.rollback is not connections.Connection.rollback:
        wire.defer = False


def connecting(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Leave connecting as it is. How long it may take is the C library's business, or ``connect_timeout``'s: a server
    that is slow to greet is not cut off sooner than it would be without holdfast."""
    return connect


class MySQLdbConnection(HeldConnection):
    """A held :class:`MySQLdb.connections.Connection`."""

    _holdfast_errors = MySQLdb.MySQLError

    def _holdfast_fd(self) -> int | None:
        try:
            return self.fileno()  # type: ignore[attr-defined,no-any-return]
        except MySQLdb.MySQLError:
            return None

    def _holdfast_error(self, number: int, text: str) -> Exception:
        error: Exception = MySQLdb.OperationalError(number, text)
        return error

    def _holdfast_is_open(self) -> bool:
        # The last error says whether the library has closed the socket; close() is noticed without.
        return not _CLIENT_ERRORS <= self.errno() < _CLIENT_ERRORS + 1000  # type: ignore[attr-defined]

    def _holdfast_greeting(self) -> Greeting:
        return Greeting(self.get_server_info(), self.thread_id())  # type: ignore[attr-defined]

    def _holdfast_failed(self, error: Exception) -> None:
        """Note what a driver's error says about the connection. A server's error leaves it sound."""
        wire = self._holdfast
        number = error.args[0] if error.args else None
        wire.in_flight = False
        if not server_error(number):
            wire.fault = Cause.INTERRUPTED if number == _OUT_OF_SYNC else Cause.LOST_IN_USE

    def _holdfast_has_unread_result(self) -> bool:
        return _more_results is not None and bool(_more_results(self))

    def _holdfast_send_rollback(self) -> None:
        _send_query(self, b"ROLLBACK")

    def _holdfast_read_rollback(self) -> None:
        _read_query_result(self)

    def rollback(self) -> None:
        """Roll back; a connection whose result was never fetched (2014) is given up instead."""
        try:
            HeldConnection.rollback(self)
        except MySQLdb.MySQLError as error:
            if error.args[:1] != (_OUT_OF_SYNC,):
                raise
            self._holdfast.give_up(Cause.UNREAD_RESULT)

    def query(self, query: Any) -> None:
        wire = self._holdfast
        if wire.pid != getpid():
            wire.notice_fork()
        if wire.charset_is_set:
            wire.charset_is_set = False
            # SQLAlchemy's dialect repeats the SET NAMES that the driver sent while connecting.
            if query == b"SET NAMES " + self.character_set_name().encode():  # type: ignore[attr-defined]
                return
        pipelined = (
            wire.pending and wire.pipeline and not wire.in_flight and wire.fault is None and may_follow_rollback(query)
        )
        if not pipelined and (wire.pending or wire.in_flight or wire.fault is not None):
            self._holdfast_begin(query)
        else:
            wire.sent += 1
        wire.clean = False
        wire.statement = query if len(query) < 500 else query[:200]
        wire.in_flight = True
        wire.depth += 1  # a subclass's query() may call send_query()
        try:
            if pipelined:
                _send_query(self, bytes(query) if isinstance(query, bytearray) else query)
                self._holdfast_settle(statement_behind=True)
                wire.counters.statements_pipelined += 1
                wire.reads_only = is_plain_read(query)
                _read_query_result(self)
            else:
                wire.reads_only = wire.reads_only and is_plain_read(query)
                wire.stock.query(self, query)
        except MySQLdb.MySQLError as error:
            self._holdfast_failed(error)
            raise
        finally:
            wire.depth -= 1
        wire.in_flight = False

    def autocommit(self, on: Any) -> None:
        if bool(on) != self.get_autocommit():  # type: ignore[attr-defined]
            self._holdfast_begin()
        self._holdfast.stock.autocommit(self, on)

    def ping(self, *args: Any) -> None:
        self._holdfast_begin()
        self._holdfast.stock.ping(self, *args)
        if not self._holdfast.same_socket():  # ping(True) may have reconnected
            self._holdfast.watch(self._holdfast_fd())

    def send_query(self, query: Any) -> None:
        if not self._holdfast.depth:
            self._holdfast_begin()
        self._holdfast.in_flight = True
        self._holdfast.stock.send_query(self, query)

    def read_query_result(self) -> None:
        try:
            _read_query_result(self)
        except MySQLdb.MySQLError as error:
            self._holdfast_failed(error)
            raise
        self._holdfast.in_flight = False

    def change_user(self, *args: Any, **kwargs: Any) -> None:
        self._holdfast_begin()
        self._holdfast.stock.change_user(self, *args, **kwargs)

    def dump_debug_info(self) -> None:
        self._holdfast_begin()
        self._holdfast.stock.dump_debug_info(self)

    def kill(self, thread_id: int) -> None:
        self._holdfast_begin()
        self._holdfast.stock.kill(self, thread_id)

    def select_db(self, database: str) -> None:
        self._holdfast_begin()
        self._holdfast.stock.select_db(self, database)

    def set_character_set(self, charset: str, *args: Any) -> None:
        self._holdfast_begin()
        self._holdfast.stock.set_character_set(self, charset, *args)

    def set_server_option(self, option: int) -> int:
        self._holdfast_begin()
        return int(self._holdfast.stock.set_server_option(self, option))

    def shutdown(self) -> None:
        self._holdfast_begin()
        self._holdfast.stock.shutdown(self)

    def stat(self) -> str:
        self._holdfast_begin()
        return str(self._holdfast.stock.stat(self))
