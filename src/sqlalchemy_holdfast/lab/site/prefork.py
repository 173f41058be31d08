"""Real prefork servers, to run a site under: uWSGI and gunicorn."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .. import _ports
from .._errors import ServerFailed
from .._process import ServerProcess, short_directory
from . import _web
from ._web import Kind

_LOG_TAIL_LINES = 40
_POLL_SECONDS = 0.01
_SETTLED_SECONDS = 1.0
_KILLED_SECONDS = 5.0
_GROUP_END_SECONDS = 1.0  # where zombies cannot be told, no longer: nobody may ever reap them in a container


class Prefork:
    """A uWSGI or gunicorn on a free port of 127.0.0.1, serving a WSGI application as small hosts serve it.

    ::

        with Prefork("hello.py:application", workers=4) as site:
            report = load(site.url, [Question(f"/double/{n}", str(2 * n)) for n in range(1000)])
        assert report.right == report.sent, report

    The application is imported once, in the master process, and the workers are forked from it: whatever it made at
    import (an engine with open connections, too) is in every worker. The commands are

    * `uwsgi --master --processes=4 --need-app --http-socket=… --die-on-term`: uWSGI does not run the functions that
      were given to `os.register_at_fork`;
    * `gunicorn --preload --workers=4 --bind=…`, with its sync workers: gunicorn runs them.

    Both are also told where the application is, and uWSGI which virtual environment to use: this process's. The
    program is the one next to `sys.executable`, else the first on the PATH. Its working directory is `directory`.

    Nothing survives this Python process, even if it is killed: not the master, not the workers, no file. Threads may
    share a `Prefork`. In a process forked from this one `stop` and `kill` do nothing and `start` is refused.

    :param app: "module:callable", or "path/file.py:callable" with a path from `directory`.
    :param kind: "uwsgi" or "gunicorn".
    :param workers: how many worker processes.
    :param directory: where the application is imported from, and where it runs. Default: for a module the current
      directory, for a file the one it is in.
    :param environment: variables to add to this process's; its own `UWSGI_*`, `GUNICORN_CMD_ARGS` and
      `WEB_CONCURRENCY` are left out.
    :param options: more arguments for the program, `("--lazy-apps",)`. They come last. Paths in them should be
      absolute; no `gunicorn.conf.py` is read unless they name it.
    :param start_timeout: seconds that `start` waits for all workers.
    :raises ServerNotFound: the program is not installed.
    :raises ValueError: `kind`, `workers` or `app` is none.
    :raises FileNotFoundError: there is no such `directory`, or no such file as `app` names.
    """

    app: str
    """The application, as "module:callable"."""
    kind: Kind
    """ "uwsgi" or "gunicorn"."""
    directory: Path
    """Where the application is imported from, and its working directory."""
    environment: dict[str, str]
    """What is added to the environment; may be changed while the server is stopped."""
    options: tuple[str, ...]
    """More arguments for the program; may be changed while the server is stopped."""
    start_timeout: float
    """Seconds that `start` waits."""
    host: str = "127.0.0.1"
    port: int
    """0 until the first start; the same from then on."""

    def __init__(
        self,
        app: str,
        *,
        kind: Kind = "uwsgi",
        workers: int = 4,
        directory: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        start_timeout: float = 30.0,
    ) -> None:
        if kind not in _web.PACKAGES:
            raise ValueError(f"kind is {kind!r}, which is none of {', '.join(_web.PACKAGES)}")
        if workers < 1:
            raise ValueError(f"workers is {workers!r}: at least one is needed")
        self.directory, self.app = _web.locate(app, directory)
        self.kind = kind
        self.environment = dict(environment or {})
        self.options = tuple(options)
        self.start_timeout = start_timeout
        self.port = 0
        self._program = _web.find(kind)
        self._wanted = workers
        self._process: ServerProcess | None = None
        self._group: int | None = None
        # One attribute, so that other threads never see the log of a start twice: what is kept, and the file in use.
        self._logs: tuple[str, Path | None] = ("", None)
        self._lock = threading.RLock()

    # What it is

    @property
    def url(self) -> str:
        """The site's address, "http://127.0.0.1:12345"; its port is 0 before the first start."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The master's process id; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.running() else None

    @property
    def running(self) -> bool:
        """Whether the master process exists."""
        return self.pid is not None

    @property
    def workers(self) -> tuple[int, ...]:
        """The process ids of the workers, ascending: all children that the master has now.

        Empty while the server does not run, and where the system does not tell, which is everywhere but on Linux.
        """
        pid = self.pid
        return _web.children(pid) if pid is not None else ()

    @property
    def log(self) -> str:
        """What the server and the application have written so far, of all starts."""
        kept, file = self._logs
        if file is None:
            return kept
        try:
            return kept + file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return kept

    def __repr__(self) -> str:
        pid = self.pid
        state = f"pid {pid}" if pid is not None else "stopped"
        return f"<Prefork {self.kind} {self.app} {self.url} {state}>"

    # Life

    def start(self) -> Prefork:
        """Start the server and return it once all its workers are there. A running one is left as it is.

        No request is sent to the application for that.

        :raises ServerFailed: it ended, as it does when the application cannot be imported, or did not have all its
          workers within `start_timeout`. The message has the end of its log, with the traceback.
        """
        if self._is_foreign():
            raise ServerFailed(f"{self!r} belongs to another process, which must start it itself")
        with self._lock:
            if self.running:
                return self
            self._clear_away()
            first, deadline = self.port == 0, time.monotonic() + self.start_timeout
            try:
                while not self._launch(choose_port=first, deadline=deadline):
                    pass
            except BaseException:
                self._clear_away()
                if first:
                    self.port = 0
                raise
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """End the server in order (SIGTERM), after `timeout` seconds by SIGKILL; return whether it went in order.

        gunicorn lets requests finish. uWSGI does not: with `--die-on-term`, as hosts run it, requests that are being
        answered are cut off. It takes about a second for that.
        """
        if self._is_foreign():
            return True
        with self._lock:
            ended = True
            if self._process is not None and self.running:
                self._process.signal(signal.SIGTERM)
                ended = self._process.wait(timeout)
            self._clear_away()
        return ended

    def kill(self) -> None:
        """Kill master and workers at once (SIGKILL) and wait for their end."""
        if not self._is_foreign():
            with self._lock:
                self._clear_away()

    def __enter__(self) -> Prefork:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Inside

    def _is_foreign(self) -> bool:
        """Tell whether the server belongs to the process that this one was forked from.

        To be asked before taking the lock: another thread may have held it when this process was forked.
        """
        return self._process is not None and not self._process.is_owner()

    def _launch(self, *, choose_port: bool, deadline: float) -> bool:
        """Start the program and wait until it is ready; return False to try again with another port."""
        before = len(self.log)
        if choose_port:
            self.port = _ports.free_port(self.host)
        home = short_directory()
        self._process, self._logs = ServerProcess(home), (self.log, home / "log")
        if self.kind == "gunicorn":
            (home / "gunicorn.conf.py").write_text(_web.gunicorn_settings(home), encoding="utf-8")
        address = f"{self.host}:{self.port}"
        command = _web.command_line(
            self.kind, self._program, self.app, self.directory, address, self._wanted, self.options, home
        )
        self._group = self._process.start(command, _web.environment(self.environment), home / "log")
        if self._is_ready(self._process, before, deadline):
            return True
        if not self._has_no_port(before):
            code = self._process.exit_code()
            raise ServerFailed(self._words(f"ended while starting (exit status {code})", before))
        if not choose_port or time.monotonic() > deadline:
            raise ServerFailed(self._words("found its port taken", before))
        self._clear_away()
        return False

    def _has_no_port(self, before: int) -> bool:
        """Tell whether somebody has taken the port between our looking and its binding, or while it was stopped."""
        return _web.PORT_TAKEN[self.kind].search(self.log, before) is not None

    def _is_ready(self, process: ServerProcess, before: int, deadline: float) -> bool:
        """Wait until all workers are there (True), or the master has ended or has no port (False)."""
        count, counted = 0, time.monotonic()
        while process.running() and not self._has_no_port(before):
            now = time.monotonic()
            workers = self._workers_in_place(process, before)
            if workers >= self._wanted:
                return True
            if workers != count:
                count, counted = workers, now
            # Options may ask for fewer: then what there is has to settle.
            if count and now - counted > _SETTLED_SECONDS and self._accepts():
                return True
            if now > deadline:
                raise ServerFailed(self._words(f"did not start within {self.start_timeout:g} s", before))
            time.sleep(_POLL_SECONDS)
        return False

    def _workers_in_place(self, process: ServerProcess, before: int) -> int:
        count = _web.workers_in_place(self.kind, process.pid) if process.pid is not None else 0
        # Where the system does not tell, the log does, a moment too early.
        return count if count is not None else len(_web.WORKER_STARTED[self.kind].findall(self.log, before))

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 1.0).close()
        except OSError:
            return False
        return True

    def _clear_away(self) -> None:
        """Kill everything that the last start has left, and keep its log."""
        process, group = self._process, self._group
        if process is None:
            return
        try:
            if process.running():
                process.signal(signal.SIGKILL)
                process.wait(_KILLED_SECONDS)
        finally:
            # The supervisor forgets the group with its leader; workers may have survived a master that was killed.
            if group is not None:
                _kill_group(group)
            self._logs = (self.log, None)
            self._process = self._group = None
            process.close()

    def _words(self, what: str, log_from: int) -> str:
        tail = "\n".join(self.log[log_from:].splitlines()[-_LOG_TAIL_LINES:])
        return (
            f"{self._program}, serving {self.app} of {self.directory} at {self.host}:{self.port}, {what}. "
            f"The end of its log:\n{tail or '(empty)'}"
        )


def _kill_group(group: int) -> None:
    """Kill a process group and wait for its end."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    deadline = time.monotonic() + _GROUP_END_SECONDS
    while not _web.has_ended(group) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
