"""The supervisor of one server: a small process that outlives its owner by just long enough to clean up.

Run as a script, `python -I -S _guard.py OWNER_PID DIRECTORY`, with only the standard library, so that it starts in
some tens of milliseconds and works wherever the interpreter does. It makes DIRECTORY, runs the server in it on
request, and when its owner is gone, however that happened, kills the server and removes the directory.

Why a process of its own: PR_SET_PDEATHSIG fires when the *thread* that started the child ends, not the process, it
does not exist on macOS, and setting it needs code between fork and exec in a process that may have threads. Here there
is one thread, so the guard itself can use it, for the case that somebody kills the guard.

How it knows that the owner is gone, whichever comes first:

* end of file on standard input. Not enough alone: children that the owner forked hold the other end as well;
* the owner's pidfd becomes readable (Linux 5.3 and later);
* where there is no pidfd: the parent process id changes, looked at twice a second.

Requests are JSON objects, one a line, on standard input; each gets one on standard output:

    {"do": "start", "argv": [...], "env": {...}, "log": path}  ->  {"pid": n} or {"error": text}
    {"do": "signal", "number": n}                              ->  {}
    {"do": "poll"}                                             ->  {"running": bool, "exit": code or null}
    {"do": "close"}                                            ->  (cleans up and ends)
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any

_SIGNALS_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # meant for the owner; its end is noticed anyway


def _die_with_parent() -> Any:
    """Return a function for the child that asks the kernel to kill it with its parent, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda: prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 = PR_SET_PDEATHSIG, <linux/prctl.h>


class Guard:
    """One directory and at most one server process in it."""

    def __init__(self, owner: int, directory: str) -> None:
        self.owner = owner
        self.directory = directory
        self.pid: int | None = None
        self.exit: int | None = None
        self.die_with_parent = _die_with_parent()

    def start(self, argv: list[str], env: dict[str, str], log: str) -> dict[str, Any]:
        if self.pid is not None:
            return {"error": "already running"}
        read, write = os.pipe()  # close-on-exec: end of file here means that exec succeeded
        myself = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()  # a group of its own, so that a wrapper script and its server can be killed together
                if self.die_with_parent is not None:
                    self.die_with_parent()
                    if os.getppid() != myself:
                        os._exit(1)
                for number in (*_SIGNALS_IGNORED, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                null = os.open(os.devnull, os.O_RDONLY)
                out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                for source, target in ((null, 0), (out, 1), (out, 2)):
                    os.dup2(source, target)
                os.chdir(self.directory)
                os.execve(argv[0], argv, env)
            except BaseException as error:
                os.write(write, str(error).encode())
            os._exit(127)
        os.close(write)
        with open(read, "rb") as pipe:
            failure = pipe.read()
        if failure:
            os.waitpid(pid, 0)
            return {"error": failure.decode(errors="replace")}
        self.pid, self.exit = pid, None
        return {"pid": pid}

    def reap(self, options: int = os.WNOHANG) -> None:
        if self.pid is not None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.pid, self.exit = None, os.waitstatus_to_exitcode(status)
                try:
                    os.killpg(pid, signal.SIGKILL)  # what it has left: the workers of a web server's killed master
                except (ProcessLookupError, PermissionError):
                    pass

    def signal(self, number: int) -> None:
        if self.pid is None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        self.reap()
        what = request["do"]
        if what == "start":
            return self.start(request["argv"], request["env"], request["log"])
        if what == "signal":
            self.signal(request["number"])
            return {}
        if what == "poll":
            return {"running": self.pid is not None, "exit": self.exit}
        return None

    def serve(self) -> None:
        """Answer requests until told to close or until the owner is gone."""
        poller = select.poll()
        poller.register(0, select.POLLIN)
        timeout: int | None = 500
        try:
            poller.register(os.pidfd_open(self.owner), select.POLLIN)  # type: ignore[attr-defined,unused-ignore]
            timeout = None
        except (AttributeError, OSError):
            pass
        received = b""
        while os.getppid() == self.owner:
            ready = [fd for fd, _ in poller.poll(timeout)]
            if 0 not in ready:
                continue  # the owner ended, a timeout, or nothing: the loop's condition tells
            data = os.read(0, 65536)
            if not data:
                return
            received += data
            while b"\n" in received:
                line, received = received.split(b"\n", 1)
                reply = self.answer(json.loads(line))
                if reply is None:
                    return
                os.write(1, json.dumps(reply).encode() + b"\n")

    def clean_up(self) -> None:
        import shutil

        self.signal(signal.SIGKILL)
        self.reap(0)
        shutil.rmtree(self.directory, ignore_errors=True)


def main() -> None:
    """Serve the owner named on the command line, then clean up."""
    owner, directory = int(sys.argv[1]), sys.argv[2]
    for number in _SIGNALS_IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # not ignored, or exit codes would be lost
    try:
        os.mkdir(directory, 0o700)
    except OSError as error:
        os.write(1, json.dumps({"error": str(error)}).encode() + b"\n")
        return
    guard = Guard(owner, directory)
    try:
        os.write(1, b"{}\n")
        guard.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        guard.clean_up()


if __name__ == "__main__":
    main()
