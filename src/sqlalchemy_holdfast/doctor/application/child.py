"""The process in which an application is imported: what :mod:`.watching` starts.

It writes lines of JSON to a pipe: each password that it sees, so that nobody shows it; each engine's address; and, at
the end, the facts or why there are none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ...pool.status import status
from ...server.faults import error_number
from ...settings import PREFIX, Settings
from .engines import account
from .facts import ApplicationFacts, Failure, to_plain
from .flask_site import describe_flask, greenlets
from .importing import NotThere, Target, load
from .observing import Notes, observe
from .places import application_frame, place_of, shown
from .sources import fork_hooks, own_sources
from .web_server import gunicorn_sources, look

__all__ = ["main"]

_SERVING_SECONDS = 1.0
_AGAIN_SECONDS = 0.5
_LONGEST_TEXT = 300


class _Stopped(BaseException):
    """Raised into the import when it does not end."""


class _Watch:
    """Ends an import that serves, or does not end at all. Only the main thread's."""

    def __init__(self, seconds: float, directory: Path) -> None:
        self.directory = directory
        self.limit = seconds
        self.ends = time.monotonic() + seconds
        self.port = 0
        self.call: tuple[FrameType | None, int] = (None, -1)
        self.failure: Failure | None = None

    def begin(self) -> None:
        signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, self.limit)
        sys.addaudithook(self._audit)

    def end(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.bind" or self.failure is not None:
            return
        address = arguments[1]
        if isinstance(address, tuple) and len(address) >= 2 and address[1]:
            # A library may open a port in passing (metrics): it is a server when the same call does not come back.
            frame = application_frame(sys._getframe(1))
            if frame is not None:
                self.port, self.call = int(address[1]), (frame, frame.f_lasti)
                left = max(self.ends - time.monotonic(), 0.01)
                signal.setitimer(signal.ITIMER_REAL, min(_SERVING_SECONDS, left))

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        place = place_of(frame, self.directory)
        where = f" at {place}" if place else ""
        if self._serves(frame):
            self.failure = Failure(
                f"The import does not end: it starts a server on port {self.port}{where}.",
                'Put the call that starts it under: if __name__ == "__main__":',
            )
        elif time.monotonic() < self.ends - 0.01:
            signal.setitimer(signal.ITIMER_REAL, max(self.ends - time.monotonic(), 0.01))
            return
        elif self.failure is None:
            self.failure = Failure(
                f"The import did not end within {self.limit:g} s: it is still{where or ' running'}.",
                "If it only needs more time, give it more: --app-timeout SECONDS. "
                "If it starts a server or waits for something there, do that elsewhere.",
            )
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)  # somebody may catch everything
        raise _Stopped

    def _serves(self, frame: FrameType | None) -> bool:
        call, instruction = self.call
        while call is not None and frame is not None:
            if frame is call:
                return frame.f_lasti == instruction
            frame = frame.f_back
        return False


class _Report:
    """What is written to the pipe."""

    def __init__(self, descriptor: int) -> None:
        self.file = os.fdopen(descriptor, "w", encoding="utf-8")
        os.set_inheritable(self.file.fileno(), False)

    def secret(self, text: str) -> None:
        self._write({"secret": text})

    def address(self, engine: Engine, arguments: Mapping[str, Any]) -> None:
        if engine.dialect.name not in ("mysql", "mariadb") or engine.dialect.is_async:
            return
        known, default = status(engine), Settings()
        changed = {
            PREFIX + field.name: getattr(known.settings, field.name)
            for field in dataclasses.fields(Settings)
            if getattr(known.settings, field.name) != getattr(default, field.name)
        }
        url = engine.url.render_as_string(hide_password=False)
        with contextlib.suppress(TypeError, ValueError):  # arguments that are objects: nobody else can connect so
            line = {"address": url, "account": account(engine.url), "held": known.active, "settings": changed}
            self._write(line | {"arguments": dict(arguments)})

    def end(self, facts: ApplicationFacts) -> None:
        self._write({"facts": to_plain(facts)})

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def main() -> None:
    """Import the application that the arguments name: TARGET, the pipe's descriptor, and seconds."""
    text, descriptor, seconds = sys.argv[1:4]
    sys.argv[1:] = []
    directory = Path(os.path.realpath(os.getcwd()))
    report = _Report(int(descriptor))
    notes = Notes(directory, report.secret, report.address)
    watch = _Watch(float(seconds), directory)
    servers = look(directory)
    began = time.monotonic()
    loaded: Any = None
    failure: Failure | None = None
    try:
        target = Target(text)
        observe(notes)
        watch.begin()
        loaded = load(target, directory, lambda: setattr(notes, "moment", "factory"))
    except BaseException as error:
        watch.end()
        failure = watch.failure or _failure(error, directory)
    finally:
        watch.end()
    took = time.monotonic() - began
    sources = own_sources()
    hooks = (
        *fork_hooks(sources, directory),
        *fork_hooks(gunicorn_sources(directory), directory, gunicorn=True),
    )
    facts = ApplicationFacts(
        target=text,
        seconds=round(took, 3),
        engines=notes.facts(),
        threads=notes.running(),
        fork_hooks=tuple(dict.fromkeys(hooks)),
        web_servers=servers,
        greenlets=greenlets(),
        flask=describe_flask(loaded, sources),
        failure=failure,
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    report.end(facts)


def _failure(error: BaseException, directory: Path) -> Failure:
    """Say in words what an import has raised."""
    place = _raised_at(error, directory)
    where = f" ({place})" if place else ""
    if isinstance(error, NotThere):
        return Failure(error.happened, error.cure, not_there=True)
    if isinstance(error, SystemExit):
        return Failure(
            f"The import ends the process: it calls sys.exit(){where}, with {_exit_code(error)}.",
            "The lines below are what it wrote before. A module that a web server imports must not exit.",
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "uwsgi":
        return Failure(
            f"The application imports uwsgi{where}, a module that exists only inside of a running uWSGI.",
            "Import it under: try: ... except ImportError: ...; the application then also runs elsewhere.",
        )
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            f"The application imports {error.name}{where}, which is not installed here.",
            "Run the command with the Python, and in the environment, that your web server uses.",
        )
    if isinstance(error, DBAPIError):
        return Failure(
            f"The import uses the database{where}, and that failed: {_database_error(error)}",
            "Run holdfast doctor with the database URL: it says what is wrong with the connection.",
        )
    return Failure(
        f"The import failed: {_described(error)}{where}.",
        "Mend that first; the application does not start under a web server either, if it has the same environment.",
    )


def _exit_code(error: SystemExit) -> str:
    return f"code {error.code or 0}" if isinstance(error.code, (int, type(None))) else "a message"


def _database_error(error: DBAPIError) -> str:
    orig = error.orig
    number = error_number(orig) if orig is not None else None
    if error.statement is None:  # connecting: the text has no values in it
        return _described(orig or error)
    return f"{type(orig).__name__}{f' {number}' if number else ''} in a statement."


def _described(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {Path(error.filename or '?').name} line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raised_at(error: BaseException, directory: Path) -> str:
    """Name the last line of the application's own that an error went through."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if application_frame(frame) is frame:
            found = f"{shown(frame.f_code.co_filename, directory)} line {line}"
    return found
