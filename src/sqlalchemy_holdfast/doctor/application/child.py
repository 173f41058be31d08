"""The process in which an application is imported: what :mod:`.watching` starts.

It writes lines of JSON to a pipe: each password that it sees, so that nobody shows it; each engine's address; and, at
the end, the facts or why there are none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from ...pool.status import status
from ...settings import PREFIX, Settings
from .ending import ImportWatch
from .engines import account
from .facts import ApplicationFacts, Failure, to_plain
from .flask_site import describe_flask, greenlets
from .importing import Target, load
from .observing import Notes, observe
from .sources import fork_hooks, own_sources
from .web_server import gunicorn_sources, look
from .wording import failure_of

__all__ = ["main"]


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
    watch = ImportWatch(float(seconds), directory)
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
        watch.ended(error)
        failure = watch.failure or failure_of(error, directory)
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
