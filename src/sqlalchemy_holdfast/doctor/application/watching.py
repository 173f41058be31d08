"""Watches an application while it is imported, in a process of its own that has a time limit.

Nothing of the application runs in this process. What it prints is shown only when its import fails, and then without
the passwords that it was seen to use.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, quote_plus

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from ... import urls
from ...plugin import create_engine
from .facts import ApplicationFacts, Failure, from_plain

__all__ = ["SECONDS", "Watched", "watch"]

SECONDS = 30.0
"""How long an import may take, unless another time is given."""

_CODE = "import sys; sys.path[:1] == [''] and sys.path.pop(0); from {} import main; main()"
_CHILD = f"{__name__.rpartition('.')[0]}.child"
_GRACE_SECONDS = 3.0
_END_SECONDS = 2.0
_OUTPUT_LINES = 12
_OUTPUT_BYTES = 8_000
_HIDDEN = "***"
_SHORTEST_SECRET = 4
_IN_URL = re.compile(r"(://[^\s:/@]*:)[^\s@]+(?=@)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|PWD$", re.IGNORECASE)


@dataclass(frozen=True)
class _Address:
    """How one of the application's engines connects."""

    url: str = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    account: str
    held: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """What came of watching an application."""

    facts: ApplicationFacts
    """What was seen. It holds no password."""
    addresses: tuple[_Address, ...] = field(default=(), repr=False)
    """How its engines connect; with passwords, and for nobody's eyes."""

    def engines(self) -> tuple[Engine, ...]:
        """Make an engine for each account and database that the application uses, to connect as it does.

        Nothing is connected yet. Dispose of them afterwards. An engine with a ``creator``, or with a driver's argument
        that is an object, cannot be made again and is left out.
        """
        made: dict[str, Engine] = {}
        for address in sorted(self.addresses, key=lambda one: not one.held):
            url = make_url(address.url)
            key = f"{url.username}@{url.host}:{url.port}/{url.database}"
            if key not in made:
                made[key] = _engine(address, self.facts)
        return tuple(made.values())


def _engine(address: _Address, facts: ApplicationFacts) -> Engine:
    url = make_url(address.url)
    made = (address.account, url.database or "", address.held)
    pool = next((one.pool for one in facts.ours if (one.account, one.database, one.held) == made), None)
    options: dict[str, Any] = {"connect_args": dict(address.arguments)}
    if pool is not None and pool.kind == "QueuePool" and pool.size is not None:
        options |= {"pool_size": pool.size, "max_overflow": pool.max_overflow, "pool_recycle": pool.recycle}
    if address.held:
        settings = {"holdfast_wait_for_server": None, **address.settings}  # an absent server is to be told, not awaited
        return create_engine(url, **options, **settings)
    return sqlalchemy.create_engine(url, **options)


def watch(
    target: str,
    *,
    directory: str | Path | None = None,
    seconds: float = SECONDS,
    environ: Mapping[str, str] | None = None,
) -> Watched:
    """Import an application in another process, and say what was seen.

    The process has this one's Python. It imports as a web server would, with the directory first on its
    path. It makes no request.

    :param target: ``module:app``, ``module:create_app()``, ``module``, or a file's name with or without ``:app``.
    :param directory: where it runs; default: the current one.
    :param seconds: how long the import may take.
    :param environ: the environment that it has; default: this process's.
    :return: always: when the import fails, ``facts.failure`` says why.
    """
    if not hasattr(os, "killpg"):
        happened = "On this system the doctor cannot import an application in a process of its own."
        return Watched(
            ApplicationFacts(target, failure=Failure(happened, "For a Flask application use: flask holdfast doctor"))
        )
    environ = os.environ if environ is None else environ
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output, os.fdopen(reading, "rb") as pipe:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE.format(_CHILD), target, str(writing), f"{seconds:g}"],
                cwd=directory,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            lines = _read(pipe, time.monotonic() + seconds + _GRACE_SECONDS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS if _facts_of(lines) is not None else 0.5)
        finally:
            code = process.poll()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # also what it has started
            process.wait()
        secrets = {line["secret"] for line in lines if "secret" in line} | _of_environment(environ)
        facts = _facts_of(lines) or ApplicationFacts(target, failure=_without_facts(code, seconds))
        if facts.failure is not None:
            facts = replace(facts, failure=_cleaned(facts.failure, _tail(output), secrets))
    return Watched(facts, tuple(_address(line) for line in lines if "address" in line))


def _read(pipe: IO[bytes], ends: float) -> list[dict[str, Any]]:
    """Read lines of JSON until the facts, the end of the pipe, or a moment."""
    found: list[dict[str, Any]] = []
    rest = b""
    while (left := ends - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        data = os.read(pipe.fileno(), 65536)
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        found += [json.loads(line) for line in whole]
        if _facts_of(found) is not None:
            break
    return found


def _facts_of(lines: Iterable[dict[str, Any]]) -> ApplicationFacts | None:
    plain = next((line["facts"] for line in lines if "facts" in line), None)
    return None if plain is None else from_plain(ApplicationFacts, plain)


def _address(line: dict[str, Any]) -> _Address:
    return _Address(line["address"], line["arguments"], line["account"], line["held"], line["settings"])


def _without_facts(code: int | None, seconds: float) -> Failure:
    """Say why the process has told nothing.

    :param code: its exit code, or ``None`` when it had to be ended.
    """
    if code is None:
        return Failure(
            f"The import did not end within {seconds:g} s, and would not be interrupted.",
            "If it only needs more time, give it more: --app-timeout SECONDS.",
        )
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        return Failure(
            f"The process that imported the application was ended by the signal {name}.",
            "Look into the lines below, or at what the import loads: a library of C code may have crashed.",
        )
    return Failure(
        f"The import ended the process itself, with os._exit() or the like (exit code {code}).",
        "A module that a web server imports must not exit.",
    )


def _tail(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(size - _OUTPUT_BYTES, 0))
    lines = output.read().decode("utf-8", errors="replace").splitlines()
    if size > _OUTPUT_BYTES:
        lines = lines[1:]  # a part of a line may be a part of a password, which nobody would know
    return [line.rstrip() for line in lines if line.strip()][-_OUTPUT_LINES:]


def _cleaned(failure: Failure, output: list[str], secrets: Iterable[str]) -> Failure:
    """Take every known secret out of what is shown."""
    words = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)

    def clean(text: str) -> str:  # holdfast's own example has no secret in it
        return urls.EXAMPLE.join(map(without_secrets, text.split(urls.EXAMPLE)))

    def without_secrets(text: str) -> str:
        text = _IN_URL.sub(rf"\1{_HIDDEN}", text)
        for word in words:
            text = text.replace(word, _HIDDEN)
        return "".join(letter if letter.isprintable() else " " for letter in _COLOURS.sub("", text))

    return replace(
        failure,
        happened=clean(failure.happened),
        cure=clean(failure.cure),
        output=tuple(clean(line) for line in output),
    )


def _forms(secret: str) -> Iterable[str]:
    """Return a secret as it may be written: as it is, and escaped."""
    found = {secret, quote(secret, safe=""), quote_plus(secret), quote(secret, safe=" +"), repr(secret)[1:-1]}
    return (form for form in found if len(form) >= _SHORTEST_SECRET)


def _of_environment(environ: Mapping[str, str]) -> set[str]:
    """Return the values of the environment that are passwords: by their names, and inside of URLs."""
    found = {value for name, value in environ.items() if _SECRET_NAME.search(name) and name not in ("PWD", "OLDPWD")}
    for value in environ.values():
        if "://" in value:
            with contextlib.suppress(Exception):
                if password := make_url(value).password:
                    found.add(str(password))
    return found
