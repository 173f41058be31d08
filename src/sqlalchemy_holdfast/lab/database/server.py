"""Private MariaDB and MySQL servers, to be started, stopped, killed and thrown away by tests."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from .. import _ports
from .._errors import ServerFailed
from .._process import ServerProcess, short_directory
from . import _admin, _bootstrap, _command, _executable, _tls

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_DRIVERS = ("pymysql", "mysqldb", "mysqlconnector")
_LOG_TAIL_LINES = 25
_BIND_FAILURE = re.compile(r"Bind on TCP/IP port.*(Address already in use|in use)", re.IGNORECASE)


@dataclass(frozen=True)
class ServerConnection:
    """One connection, as the server lists it."""

    id: int
    """What CONNECTION_ID() says in that connection."""
    user: str
    host: str
    """Where it comes from: "address:port", or "localhost" over the socket."""
    database: str | None
    command: str
    """What it is doing: "Sleep", "Query", …"""
    time: int
    """Seconds in that state."""
    state: str | None
    info: str | None
    """The statement that is running, if any."""


class Server:
    """A private MariaDB (or MySQL) in a temporary directory, listening on a free port of 127.0.0.1 and a socket.

    ::

        with Server(options={"wait_timeout": 2}) as server:
            engine = create_engine(server.url())

    There is a database `test` (utf8mb4) and an account app with the password app: all ordinary privileges, none that
    lifts limits. Nothing survives the Python process, even if it is killed: neither the server nor its directory.
    Threads may share a `Server`. A process forked from this one may use it (`execute`, `url`, …) but not start or
    stop it.

    What is committed survives `kill`, but not the loss of power: the server never calls fsync.

    :param options: server options, `{"wait_timeout": 2}` for `--wait_timeout=2`; None for an option without a value.
      They come last, so they win over the lab's own, except for those that say where the server is.
    :param tls: offer TLS, with a certificate for localhost and 127.0.0.1 from an authority whose certificate is the
      file `tls_ca`; or with one of the others that `use_certificate` knows. Without it the server offers none, so that
      a `Proxy` can read what passes.
    :param executable: the server program; default: the one $HOLDFAST_LAB_MYSQLD names, else
      $HOLDFAST_LAB_MARIADBD, else `mariadbd` or `mysqld` on the PATH or where distributions put them, else the one in
      the tree $HOLDFAST_LAB_ROOT (Debian's packages, unpacked with `dpkg -x`).
    :raises ServerNotFound: there is no such program.
    :raises ValueError: an option is one of those that the lab sets itself.
    """

    START_SECONDS = 60.0
    """How long `start` waits for the server to answer."""
    STOP_SECONDS = 30.0
    """How long `stop` waits for an orderly end."""

    host: str = "127.0.0.1"
    port: int
    """0 until the first start; the same from then on."""
    options: dict[str, str | int | None]
    """May be changed while the server is stopped."""
    directory: Path
    """Where everything is; exists from the first start until `close`."""

    def __init__(
        self,
        *,
        options: Mapping[str, str | int | None] | None = None,
        tls: bool | _tls.Certificate = False,
        executable: str | os.PathLike[str] | None = None,
    ) -> None:
        self._executable = _executable.find(executable)
        self._process: ServerProcess | None = None
        self._closed = False
        self._lock = threading.RLock()
        self.port = 0
        self.options = dict(options or {})
        _command.option_arguments(self.options)  # refuses now what would be refused at the start
        self.directory = short_directory()
        self.tls_ca: str | None = str(self.directory / "ca.pem") if tls else None
        """Path of the certificate authority's certificate; None without TLS."""
        self._certificate: _tls.Certificate = "valid" if isinstance(tls, bool) else tls
        _tls.must_be_known(self._certificate)
        self._admin = _admin.Administrator(self.socket)

    # What it is

    @property
    def flavour(self) -> Literal["mariadb", "mysql"]:
        """ "mariadb" or "mysql"."""
        return self._executable.flavour

    @property
    def version(self) -> str:
        """The server's version, such as "10.11.6"."""
        return self._executable.version

    @property
    def socket(self) -> str:
        """Path of the unix socket."""
        return str(self.directory / "s")

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.running() else None

    @property
    def running(self) -> bool:
        """Whether the server process exists."""
        return self.pid is not None

    @property
    def log(self) -> str:
        """The server's error log, of all starts so far; empty before the first and after `close`."""
        try:
            return self._log_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "closed" if self._closed else "stopped"
        return f"<Server {self.flavour} {self.version} {self.host}:{self.port} {state}>"

    # Life

    def start(self) -> Server:
        """Start the server and return it once it answers; at the first start with an empty database `test`.

        Later starts find the same data, port and socket, whatever ended the server. Starting a running server does
        nothing.

        :raises ServerFailed: it ended or did not answer within `START_SECONDS`; the message has its last words.
        """
        with self._lock:
            if self._closed:
                raise ServerFailed(f"{self!r} has been closed: its data are gone. Did you mean stop() before?")
            if self.running:
                return self
            first = self._process is None
            try:
                if self._process is None:
                    self._process = ServerProcess(self.directory)
                    _bootstrap.copy_template(self._executable, self.directory / "data")
                    (self.directory / "tmp").mkdir(0o700)
                    if self.tls_ca is not None:
                        _tls.make_certificates(self.directory)
                        _tls.use_certificate(self.directory, self._certificate)
                self._start(self._process, choose_port=first)
            except BaseException:
                if first:  # as if start had never been called: the next one begins from nothing
                    if self._process is not None:
                        self._process.close()
                    self._process, self.port = None, 0
                raise
        return self

    def stop(self) -> None:
        """Shut the server down in order (SIGTERM) and wait for its end, at most `STOP_SECONDS`.

        :raises ServerFailed: it took longer; it has been killed then.
        """
        with self._lock:
            if self._process is None or not self.running:
                return
            self._process.signal(signal.SIGTERM)
            if not self._process.wait(self.STOP_SECONDS):
                self.kill()
                raise ServerFailed(self._words(f"did not stop within {self.STOP_SECONDS:g} s and was killed"))

    def kill(self) -> None:
        """Kill the server (SIGKILL) and wait for its end. Its clients get a reset or the end of their connection."""
        with self._lock:
            if self._process is None or not self.running:
                return
            self._process.signal(signal.SIGKILL)
            if not self._process.wait(self.STOP_SECONDS):
                raise ServerFailed(self._words("did not end after SIGKILL"))

    def restart(self) -> Server:
        """Stop and start."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Kill the server and remove its directory. May be called twice; does nothing in a forked process."""
        process = self._process
        if process is not None and not process.is_owner():
            return  # and leave the lock alone: another thread may have held it when this process was forked
        with self._lock:
            if self._process is not None:
                self._process.close()
            self._closed = True

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Use

    def url(
        self,
        driver: str = "pymysql",
        *,
        database: str = "test",
        user: str = "app",
        password: str = "app",
        transport: Literal["tcp", "unix"] = "tcp",
        host: str | None = None,
        port: int | None = None,
        query: Mapping[str, str] | None = None,
    ) -> URL:
        """Return the URL for SQLAlchemy's `create_engine`.

        :param driver: "pymysql", "mysqldb" (the package mysqlclient) or "mysqlconnector".
        :param transport: "tcp", or "unix" for the socket.
        :param host: another host, and `port` another port, than the server's own: those of a `Proxy` in front of it.
        :param query: more for the URL's query. TLS is asked for here: `{"ssl_ca": server.tls_ca}`.

        On MySQL without TLS the accounts' passwords are checked by caching_sha2_password. The lab logs in once for
        app and for each account of `create_account`, so that every driver is let in. After FLUSH PRIVILEGES or a
        changed password mysql-connector-python is refused (1045), and PyMySQL needs the package cryptography, until
        something has logged in over TLS, the socket, or with mysqlclient.
        """
        from sqlalchemy.engine import URL

        if driver not in _DRIVERS:
            raise ValueError(f"driver is {driver!r}, which is none of {', '.join(_DRIVERS)}")
        name, arguments = f"mysql+{driver}", dict(query or {})
        if transport == "unix":
            if host is not None or port is not None:
                raise ValueError("host and port have no meaning with transport='unix'")
            arguments.setdefault("unix_socket", self.socket)
            return URL.create(name, user, password, database=database, query=arguments)
        if transport != "tcp":
            raise ValueError(f"transport is {transport!r}, which is neither 'tcp' nor 'unix'")
        if not port and not self.port:
            raise ServerFailed(f"{self!r} has no port before its first start")
        return URL.create(name, user, password, host or self.host, port or self.port, database, arguments)

    def execute(
        self, sql: str, args: Sequence[Any] | Mapping[str, Any] | None = None, *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, in a connection of its own, and return its rows.

        Autocommit; over the socket; allowed even when `max_connections` is reached.

        :param args: values for the statement's `%s` or `%(name)s`.
        :raises pymysql.err.MySQLError: what the server said.
        :raises ServerFailed: it is not running; the message has its last words.
        :raises LabError: the package PyMySQL is not installed.
        """
        with self._explained():
            return self._admin.execute(sql, args, database=database)

    def create_database(self, name: str) -> None:
        """Create a database (utf8mb4)."""
        self.execute(f"CREATE DATABASE {_admin.quote(name)} CHARACTER SET utf8mb4")

    def create_account(
        self,
        user: str,
        password: str = "",
        *,
        host: str = "%",
        databases: Sequence[str] = ("%",),
        max_connections: int | None = None,
    ) -> None:
        """Create an account.

        :param host: where it may come from, as in `CREATE USER`.
        :param databases: where it has all privileges; names, or patterns with `%` and `_`.
        :param max_connections: at most so many connections at once (the server's MAX_USER_CONNECTIONS); more are
          refused with error 1226. None or 0: no limit of its own.
        """
        limit = f" WITH MAX_USER_CONNECTIONS {int(max_connections)}" if max_connections else ""
        self.execute(f"CREATE USER %s@%s IDENTIFIED BY %s{limit}", (user, host, password))
        for database in databases:
            name = _admin.quote(database).replace("%", "%%")
            self.execute(f"GRANT ALL PRIVILEGES ON {name}.* TO %s@%s", (user, host))
        if self.flavour == "mysql" and host in ("%", "localhost"):
            self._admin.warm_password_cache(user, password)

    def processlist(self, *, user: str | None = None) -> list[ServerConnection]:
        """Return the connections, oldest first, or those of one account; never the administrator's own."""
        rows = self.execute(
            "SELECT id, user, host, db, command, time, state, info FROM information_schema.processlist"
            " WHERE user <> 'root' AND command <> 'Daemon' AND (%s IS NULL OR user = %s) ORDER BY id",
            (user, user),
        )
        return [
            ServerConnection(int(row[0]), row[1], row[2], row[3], row[4], int(row[5] or 0), row[6], row[7])
            for row in rows
        ]

    def kill_connection(self, id: int) -> None:
        """End one connection, as `KILL` does. Nothing happens when there is none with that id."""
        with self._explained():
            self._admin.kill(id)

    def use_certificate(self, kind: _tls.Certificate) -> None:
        """Give the running server another certificate for the connections that come from now on.

        MySQL starts with an expired certificate, and refuses to change to one while it runs: it is restarted for that.

        :param kind: "valid"; "wrong-name" is for another host than localhost; "expired" was valid until yesterday;
          "self-signed" is signed by nobody else.
        :raises ValueError: there is no such kind, or the server offers no TLS.
        """
        if self.tls_ca is None:
            raise ValueError("the server offers no TLS: it was made without tls=True")
        _tls.use_certificate(self.directory, _tls.must_be_known(kind))
        if self.flavour == "mysql" and kind == "expired":
            self.restart()
        else:
            self.execute("FLUSH SSL" if self.flavour == "mariadb" else "ALTER INSTANCE RELOAD TLS")

    def kill_connections(self, user: str = "app") -> int:
        """End all connections of an account, and return how many there were."""
        return sum(self._admin.kill(connection.id) for connection in self.processlist(user=user))

    def status(self, name: str) -> str:
        """Return one value of `SHOW GLOBAL STATUS`. The connection that asks counts in `Threads_connected`.

        :raises KeyError: there is no such status variable.
        """
        rows = self.execute("SHOW GLOBAL STATUS LIKE %s", (name.replace("_", r"\_"),))
        if not rows:
            raise KeyError(name)
        return str(rows[0][1])

    # Inside

    @property
    def _log_path(self) -> Path:
        return self.directory / "error.log"

    def _start(self, process: ServerProcess, *, choose_port: bool) -> None:
        deadline = time.monotonic() + self.START_SECONDS
        while True:
            if choose_port:
                self.port = _ports.free_port(self.host)
            before = len(self.log)
            for name in ("s", "s.lock"):  # a killed server leaves them
                (self.directory / name).unlink(missing_ok=True)
            process.start(self._command(), self._executable.environment(), self._log_path)
            try:
                if self._answers(process, deadline):
                    break
            except BaseException:
                self.kill()
                raise
            code = process.exit_code()
            # Somebody took the port between our looking and the server's binding, or while it was stopped.
            if not _BIND_FAILURE.search(self.log[before:]) or time.monotonic() > deadline - self.START_SECONDS / 2:
                raise ServerFailed(self._words(f"ended while starting (exit status {code})", before))
            time.sleep(0.05)
        if self.flavour == "mysql":
            self._admin.warm_password_cache("app", "app")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is the matter with the server when nothing listens on its socket."""
        try:
            yield
        except OSError as error:
            what = f"does not answer ({error})" if self.running else "is not running"
            raise ServerFailed(self._words(what)) from error

    def _answers(self, process: ServerProcess, deadline: float) -> bool:
        """Wait until the server answers (True) or has ended (False)."""
        while process.running():
            if self._admin.answers():
                return True
            if time.monotonic() > deadline:
                raise ServerFailed(self._words(f"did not answer within {self.START_SECONDS:g} s"))
            time.sleep(0.01)
        return False

    def _command(self) -> list[str]:
        return _command.command_line(
            self._executable, self.directory, self.socket, self.host, self.port, tls=self.tls_ca is not None
        ) + _command.option_arguments(self.options)

    def _words(self, what: str, log_from: int = 0) -> str:
        tail = "\n".join(self.log[log_from:].splitlines()[-_LOG_TAIL_LINES:])
        return (
            f"{self._executable.path} ({self.flavour} {self.version}) at {self.host}:{self.port}, in {self.directory}, "
            f"{what}. The end of its error log:\n{tail or '(empty)'}"
        )
