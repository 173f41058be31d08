"""The server that both sides share, its administrator, and whoever locks rows against them."""

from __future__ import annotations

import gc
import os
import re
import time
from typing import Any

import pymysql

from sqlalchemy_holdfast.lab import Proxy, Server

from . import schema
from .refuser import Refuser

__all__ = ["SIDES", "Lab"]

SIDES = ("stock", "held")
_LOCK_SECONDS = 1


class _Session:
    """A connection of the administrator's, over the socket; another one in a child."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Any = None
        self._pid = 0
        self._left: list[Any] = []  # the parent's: not to be closed here

    def connection(self) -> Any:
        if self._pid != os.getpid():
            self._left.append(self._connection)
            self._connection = None
            self._pid = os.getpid()
        if self._connection is None:
            self._connection = pymysql.connect(
                unix_socket=self._server.socket, user="root", charset="utf8mb4", autocommit=True
            )
        return self._connection

    def __call__(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        connection = self.connection()
        if database is not None:
            connection.select_db(database)
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None


class Lab:
    """A server with two databases for each side, and a proxy in front of it for each.

    :param rollback_on_timeout: whether the server undoes a transaction with a 1205.
    """

    def __init__(self, executable: str | None, *, rollback_on_timeout: bool = False) -> None:
        options: dict[str, str | int | None] = {
            "innodb_lock_wait_timeout": _LOCK_SECONDS,
            "lock_wait_timeout": _LOCK_SECONDS,
        }
        if rollback_on_timeout:
            options["innodb_rollback_on_timeout"] = "ON"
        self.rollback_on_timeout = rollback_on_timeout
        self.server = Server(options=options, executable=executable)
        self.proxies = {name: Proxy.for_server(self.server) for name in SIDES}
        self._commits_engine: dict[str, str] = {}
        self.refusers: dict[str, Refuser] = {}
        self.refusing: dict[str, Proxy] = {}
        """Proxies in front of those."""
        self.admin = _Session(self.server)
        self.locker = _Session(self.server)
        self.heavy = _Session(self.server)
        """Its transactions are larger than any user's: in a deadlock the user is the victim."""

    @property
    def flavour(self) -> str:
        return self.server.flavour

    def __enter__(self) -> Lab:
        self.server.start()
        for name in SIDES:
            self.server.create_account(name, name, databases=())
            schema.create(self.admin, name, other=f"{name}_other", account=name)
            self.proxies[name].start()
            self.refusers[name] = Refuser(self.server.host, self.server.port)
            self.refusing[name] = Proxy("127.0.0.1", self.refusers[name].port).start()
        if self.flavour == "mysql":
            self.admin("SET GLOBAL log_bin_trust_function_creators = 1")
        gc.collect()
        gc.freeze()  # each sequence is collected behind: what is here now need not be looked at each time
        return self

    def __exit__(self, *exception: object) -> None:
        gc.unfreeze()
        for session in (self.admin, self.locker, self.heavy):
            session.close()
        for proxy in (*self.proxies.values(), *self.refusing.values()):
            proxy.close()
        for refuser in self.refusers.values():
            refuser.close()
        self.server.close()

    # -- what is there -------------------------------------------------------------------------------------------

    def rows(self, name: str) -> dict[int, int]:
        """Count how often each number is in a side's databases."""
        found: dict[int, int] = {}
        for database in (name, f"{name}_other"):
            for table in ("ledger", "once", "lasting"):
                for number, count in self.admin(f"SELECT n, COUNT(*) FROM {database}.{table} WHERE n > 0 GROUP BY n"):
                    found[number] = found.get(number, 0) + count
        return found

    def clear(self, name: str) -> None:
        """Make a side's databases empty."""
        for database in (name, f"{name}_other"):
            for table in schema.TABLES:
                self.admin(f"DELETE FROM {database}.{table} WHERE n > 0")
        self.admin(f"CREATE TABLE IF NOT EXISTS {name}.scratch (id INT) ENGINE=InnoDB")

    def set_commits_table(self, name: str, engine: str) -> None:
        """Have a side's table holdfast_commits of an engine."""
        if self._commits_engine.get(name) != engine:
            for database in (name, f"{name}_other"):
                schema.create_commits_table(self.admin, database, engine)
            self._commits_engine[name] = engine

    @staticmethod
    def sessions_by(connection: Any, name: str) -> list[int]:
        """Return the ids of a side's sessions, asked for on another connection than the administrator's."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM information_schema.processlist WHERE user = '{name}'")
            return [int(row[0]) for row in cursor.fetchall()]

    def sessions(self, name: str) -> list[int]:
        """Return the ids of a side's sessions."""
        rows = self.admin(f"SELECT id FROM information_schema.processlist WHERE user = '{name}'")
        return [int(row[0]) for row in rows]

    def transactions(self, name: str) -> list[tuple[int, str]]:
        """Return the open transactions of a side's sessions: session and state.

        Not from innodb_trx, which the server makes anew only when nobody has looked at it for 0.1 s.
        """
        own = set(self.sessions(name))
        text = str(self.admin("SHOW ENGINE INNODB STATUS")[0][2])
        found = []
        for part in re.split(r"^---TRANSACTION ", text, flags=re.MULTILINE)[1:]:
            session = re.search(r"(?:MySQL|MariaDB) thread id (\d+)", part)
            if session is not None and "not started" not in part[:60] and int(session[1]) in own:
                found.append((int(session[1]), " ".join(part.split())[:80]))
        return found

    def row_is_free(self, name: str, row: int) -> bool:
        """Say whether nobody has a lock on a row of counter, at this moment."""
        try:
            self.admin(f"SELECT id FROM {name}.counter WHERE id = {row} FOR UPDATE NOWAIT")
        except pymysql.err.MySQLError as error:
            if error.args[0] in (1205, 3572):
                return False
            raise
        return True

    def tables_are_free(self, name: str) -> bool:
        """Say whether nobody has a metadata lock on a side's tables."""
        wait = 0 if self.flavour == "mariadb" else 1
        self.admin(f"SET SESSION lock_wait_timeout = {wait}")
        try:
            self.admin("LOCK TABLES " + ", ".join(f"{name}.{table} WRITE" for table in ("ledger", "counter", "once")))
        except pymysql.err.MySQLError as error:
            if error.args[0] != 1205:
                raise
            return False
        finally:
            self.admin("UNLOCK TABLES")
            self.admin(f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}")
        return True

    def prepared(self) -> list[str]:
        """Return the names of prepared XA transactions, which outlive their sessions."""
        names = (row[3] for row in self.admin("XA RECOVER"))
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names]

    def wait_until(self, done: Any, seconds: float = 3.0) -> bool:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        return True
