"""The administrator's connections: root over the socket, one for each statement."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._errors import LabError

if TYPE_CHECKING:
    from pymysql.connections import Connection

_CONNECT_SECONDS = 10
_FULL_SECONDS = 3.0
_LOST = 2013
_TOO_MANY_CONNECTIONS = 1040
_NO_SUCH_THREAD = 1094


def quote(name: str) -> str:
    """Return a database's name as an SQL identifier."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is not a name for a database")
    return "`" + name.replace("`", "``") + "`"


class Administrator:
    """Connects as root, over the socket, without a password.

    A connection for each statement, rather than one kept open: a kept one would take one of the places that
    `max_connections` allows, and a test of that limit would see one less than it asked for.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        # One at a time: above max_connections the server keeps a single place for administrators.
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def execute(
        self, sql: str, args: Sequence[Any] | Mapping[str, Any] | None = None, *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement; return its rows, none for a statement that has no result."""
        with self._one_at_a_time():
            connection = self._connect(database)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(sql, args)
                    return list(cursor.fetchall()) if cursor.description else []
            finally:
                connection.close()

    def kill(self, id: int) -> bool:
        """End a connection; return False if there was none with that id."""
        pymysql = _pymysql()
        try:
            self.execute(f"KILL {int(id)}")
        except pymysql.err.MySQLError as error:
            if error.args[:1] == (_NO_SUCH_THREAD,):
                return False
            raise
        return True

    def answers(self) -> bool:
        """Tell whether the server accepts the administrator."""
        pymysql = _pymysql()
        try:
            with self._one_at_a_time():
                self._connect().close()
        except OSError:
            return False
        except pymysql.err.OperationalError as error:
            if error.args[0] == _LOST:
                return False
            raise
        return True

    def warm_password_cache(self, user: str, password: str) -> None:
        """Log in once over the socket, so that MySQL's caching_sha2_password has the account in its cache.

        From then on, until the server ends or FLUSH PRIVILEGES, no driver has to send the password itself, which
        without TLS takes an RSA exchange: some milliseconds, two more round trips, and for PyMySQL the package
        cryptography.
        """
        pymysql = _pymysql()
        with self._one_at_a_time():
            pymysql.connect(unix_socket=self._socket, user=user, password=password, ssl_disabled=True).close()

    def _one_at_a_time(self) -> threading.Lock:
        if os.getpid() != self._owner:  # another thread may have held the lock when this process was forked
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock

    def _connect(self, database: str | None = None) -> Connection[Any]:
        """Connect, or raise `OSError` when nothing listens, or what PyMySQL raises."""
        pymysql = _pymysql()
        deadline = time.monotonic() + _FULL_SECONDS
        while True:
            connection: Connection[Any] = pymysql.connect(
                user="root",
                database=database,
                charset="utf8mb4",
                autocommit=True,
                defer_connect=True,
                # It does not leave the machine. PyMySQL would use what the server offers, be it of no use.
                ssl_disabled=True,
            )
            # PyMySQL 1.2 forgets to close the socket of an attempt that fails.
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(_CONNECT_SECONDS)
                sock.connect(self._socket)
                connection.connect(sock)
                return connection
            except pymysql.err.OperationalError as error:
                sock.close()
                # The administrator's extra place may still be taken by the connection that was just closed.
                if error.args[0] != _TOO_MANY_CONNECTIONS or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except BaseException:
                sock.close()
                raise


def _pymysql() -> Any:
    """Return the module pymysql, which only the lab needs: it is not a dependency of holdfast itself."""
    try:
        import pymysql
    except ImportError as error:
        raise LabError("sqlalchemy_holdfast.lab talks to its servers with PyMySQL: pip install PyMySQL") from error
    return pymysql
