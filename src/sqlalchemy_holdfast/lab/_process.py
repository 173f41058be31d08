"""The owner's side of `_guard.py`: start, signal and watch one server process that cannot outlive this one.

The process may be a database server or a web server; each has a directory of its own, named by `short_directory`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._errors import ServerFailed

_POLL_SECONDS = 0.005
_GUARD_END_SECONDS = 15.0
_SOCKET_PATH_BYTES = 100  # sun_path holds 104 on macOS, 108 on Linux


def short_directory() -> Path:
    """Return a new name in the temporary directory, or in /tmp where that would make a socket's path in it too long."""
    name = f"holdfast-lab-{secrets.token_hex(6)}"
    for parent in (tempfile.gettempdir(), "/tmp"):
        directory = Path(parent, name)
        if len(os.fsencode(directory / "s.lock")) < _SOCKET_PATH_BYTES:
            break
    return directory


def _release(guard: subprocess.Popen[bytes], owner: int, directory: Path) -> None:
    """Let the guard clean up and wait for it; in a forked child, which shares the pipes, do nothing."""
    if os.getpid() != owner:
        guard.returncode = 0  # not this process's child: keeps Popen from warning about it
        return
    assert guard.stdin is not None
    assert guard.stdout is not None
    try:
        # A request, not just the end of file, which a forked child would keep from being seen.
        guard.stdin.write(b'{"do": "close"}\n')
        guard.stdin.flush()
    except (OSError, ValueError):
        pass
    for pipe in (guard.stdin, guard.stdout):
        try:
            pipe.close()
        except OSError:
            pass
    try:
        guard.wait(_GUARD_END_SECONDS)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
    if directory.exists():  # the guard itself was killed
        shutil.rmtree(directory, ignore_errors=True)


class ServerProcess:
    """At most one server process at a time, in a directory that exists as long as this object.

    The process and the directory are gone soon after this Python process ends, even by SIGKILL. Threads may come and
    go, and children forked from here neither keep the server alive nor end it. Only the process that made this
    object may start and signal; in another one those raise `ServerFailed`.
    """

    def __init__(self, directory: Path) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("_guard.py")), str(self._owner), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the owner
        )
        self._finalizer = weakref.finalize(self, _release, self._guard, self._owner, directory)
        self.pid: int | None = None
        error = self._read().get("error")
        if error:
            self.close()
            raise ServerFailed(f"cannot make the server's directory {directory}: {error}")

    def is_owner(self) -> bool:
        """Tell whether this is the process that made this object, not one forked from it."""
        return os.getpid() == self._owner

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Run `argv` with both outputs appended to `log`; return its process id."""
        reply = self._ask({"do": "start", "argv": list(argv), "env": dict(env), "log": str(log)})
        if "error" in reply:
            raise ServerFailed(f"cannot run {argv[0]}: {reply['error']}")
        self.pid = int(reply["pid"])
        return self.pid

    def running(self) -> bool:
        """Tell whether the server process exists."""
        pid = self.pid
        if pid is None:
            return False
        if os.getpid() == self._owner:
            try:
                running = bool(self._ask({"do": "poll"})["running"])
            except ServerFailed:  # closed, or the guard was killed, and the server with it
                running = False
            if not running:
                self.pid = None
            return running
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def exit_code(self) -> int | None:
        """Return how the last server process ended: its exit status, or minus the signal that killed it."""
        code: int | None = self._ask({"do": "poll"})["exit"]
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL goes to the server's whole process group."""
        self._ask({"do": "signal", "number": int(number)})

    def wait(self, seconds: float) -> bool:
        """Wait for the server process to end; return whether it has."""
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def close(self) -> None:
        """Kill the server and remove the directory. May be called twice; does nothing in a forked child."""
        if os.getpid() == self._owner:
            with self._lock:
                self._finalizer()
                self.pid = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if os.getpid() != self._owner:
            raise ServerFailed(f"this server belongs to process {self._owner}, which must start and stop it itself")
        with self._lock:
            if not self._finalizer.alive:
                raise ServerFailed("this server has been closed")
            assert self._guard.stdin is not None
            try:
                self._guard.stdin.write(json.dumps(request).encode() + b"\n")
                self._guard.stdin.flush()
            except OSError:
                pass  # the guard is gone: reading says so
            return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline()
        if not line:
            raise ServerFailed(
                "the process that supervises the server has ended (was it killed?), and the server with it"
            )
        reply: dict[str, Any] = json.loads(line)
        return reply
