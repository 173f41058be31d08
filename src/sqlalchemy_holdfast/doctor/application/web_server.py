"""The web server's settings, from the files in a directory: does it fork after the import, and with what?

Read are uWSGI's ini files, ``gunicorn.conf.py``, and command lines in ``Procfile``, ``Dockerfile``, scripts and systemd
units. A setting that is somewhere else is not seen; nothing is concluded from that.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from .facts import Option, Place, WebServer
from .sources import Source, read

__all__ = ["GUNICORN_FILE", "gunicorn_sources", "look"]

GUNICORN_FILE = "gunicorn.conf.py"
_LONGEST = 200_000
_COMMANDS = ("Procfile", "Dockerfile", "*.sh", "*.service", "supervisord.conf")
_NEVER_FORK = ("uvicorn", "hypercorn", "daphne", "waitress-serve")
"""They import the application in each worker, or have one process."""
_PROGRAMS = ("uwsgi", "gunicorn", "celery", *_NEVER_FORK)
_GUNICORN_SHORT = {"-w": "workers", "-k": "worker_class", "-c": "config", "-b": "bind", "-t": "timeout"}
_CELERY_SHORT = {"-P": "pool", "-c": "concurrency"}


def look(directory: Path, environ: Mapping[str, str] = os.environ) -> tuple[WebServer, ...]:
    """Return the web servers that are configured here.

    :param environ: the environment; a hosting platform is recognised by it.
    """
    found = [*_uwsgi(directory), *_gunicorn(directory), *_commands(directory)]
    if not found and environ.get("PYTHONANYWHERE_SITE"):  # its sites run under uWSGI, which imports once and forks
        found.append(WebServer("uwsgi", Place("PythonAnywhere's own settings", 0)))
    return tuple(found)


def gunicorn_sources(directory: Path) -> list[Source]:
    """Return gunicorn's files of settings, parsed."""
    source = read(directory / GUNICORN_FILE)
    return [source] if source is not None else []


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _uwsgi(directory: Path) -> Iterator[WebServer]:
    for path in sorted(directory.glob("*.ini")):
        first, options, inside = 0, [], False
        for number, line in enumerate(_text(path).splitlines(), 1):
            line = line.strip()
            if line.startswith("["):
                inside = line.lower().startswith("[uwsgi")
                first = number if inside and not first else first
            elif inside and line and line[0] not in "#;":
                name, _, value = line.partition("=")
                # `lazy-apps` alone is `lazy-apps = true`
                options.append(
                    Option(name.strip().replace("_", "-"), value.strip() or "true", Place(path.name, number))
                )
        if first:
            yield WebServer("uwsgi", Place(path.name, first), tuple(options))


def _gunicorn(directory: Path) -> Iterator[WebServer]:
    for source in gunicorn_sources(directory):
        options = []
        for node in source.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                place = Place(source.path.name, node.lineno)
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                options += [Option(name, str(node.value.value), place) for name in names]
        yield WebServer("gunicorn", Place(source.path.name, 1), tuple(options))


def _commands(directory: Path) -> Iterator[WebServer]:
    for pattern in _COMMANDS:
        for path in sorted(directory.glob(pattern)):
            for number, line in enumerate(_text(path).splitlines(), 1):
                if not line.lstrip().startswith("#") and any(program in line for program in _PROGRAMS):
                    yield from _command(line, Place(path.name, number))


def _command(line: str, place: Place) -> Iterator[WebServer]:
    line = re.sub(r'["\[\],]', " ", line) if "[" in line else line  # Dockerfile: CMD ["gunicorn", "--preload"]
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    program = next((n for n, word in enumerate(words) if word.rpartition("/")[2] in _PROGRAMS), None)
    if program is None or (program and words[program - 1] == "install"):  # pip install gunicorn
        return
    kind = words[program].rpartition("/")[2]
    rest = words[program + 1 :]
    if kind == "celery" and "worker" not in rest:
        return
    options = []
    for position, word in enumerate(rest):
        name, equals, value = word.partition("=")
        following = rest[position + 1] if position + 1 < len(rest) else ""
        if not equals:
            value = following if following and not following.startswith("-") else "true"
        if kind == "gunicorn":
            name = _GUNICORN_SHORT.get(name, name.lstrip("-").replace("-", "_") if name.startswith("--") else "")
        else:
            name = _CELERY_SHORT.get(name, name.lstrip("-") if name.startswith("--") else "")
        # A switch takes no value: what follows it is something else.
        if name in ("preload", "lazy-apps", "lazy", "enable-threads", "py-call-uwsgi-fork-hooks", "master"):
            value = "true" if not equals else value
        if name:
            options.append(Option(name, value, place))
    if kind == "celery" and any(o.name == "pool" and o.value not in ("prefork", "processes") for o in options):
        return
    yield WebServer(kind, place, tuple(options))
