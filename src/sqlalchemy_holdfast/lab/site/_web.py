"""Prefork server programs: where they are, what they are told, and which processes are theirs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from .._errors import ServerNotFound

Kind = Literal["uwsgi", "gunicorn"]

PACKAGES: dict[Kind, str] = {"uwsgi": "uWSGI", "gunicorn": "gunicorn"}
"""What `pip install` calls each program."""

WORKER_STARTED: dict[Kind, re.Pattern[str]] = {
    "uwsgi": re.compile(r"^spawned uWSGI worker \d+ \(", re.MULTILINE),
    "gunicorn": re.compile(r"\] Booting worker with pid: \d+"),
}
"""What each writes for every worker that it forks, after the application was imported in the master."""

# What a worker catches once it is ready for requests, and neither its master nor a worker on its way there does.
# Before that a worker of uWSGI takes the order to end for a KeyboardInterrupt, and lives on.
_IN_PLACE: dict[Kind, signal.Signals] = {"uwsgi": signal.SIGTERM, "gunicorn": signal.SIGABRT}

PORT_TAKEN: dict[Kind, re.Pattern[str]] = {
    "uwsgi": re.compile(r"^bind\(\): Address already in use", re.MULTILINE),
    "gunicorn": re.compile(r"\] Connection in use: "),
}
"""What each writes when it cannot bind its port: uWSGI before it ends, gunicorn before it tries again, for seconds."""

_HELP: dict[Kind, str] = {
    "uwsgi": "pip install uWSGI (it is compiled: that needs a C compiler and Python's headers)",
    "gunicorn": "pip install gunicorn",
}
# Options that another server of this machine was given in its environment.
_STRAY_PREFIX = "UWSGI_"
_STRAY = frozenset({"GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"})


def find(kind: Kind) -> Path:
    """Return the program: the one next to this interpreter, else the first on the PATH.

    Raises `ServerNotFound`, which says what to install.
    """
    own = Path(sys.executable).with_name(kind) if sys.executable else None
    if own is not None and own.is_file() and os.access(own, os.X_OK):
        return own.absolute()
    if found := shutil.which(kind):
        return Path(found).absolute()
    folder = f"next to {sys.executable} nor " if sys.executable else ""
    raise ServerNotFound(f"there is no program {kind}, neither {folder}on the PATH. Install it: {_HELP[kind]}")


def locate(app: str, directory: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the directory to import from, and the application as "module:callable".

    Raises `ValueError` when `app` is not written as "module:callable" or "path/file.py:callable", or its file is not
    in `directory`; `FileNotFoundError` when there is no such file or directory.
    """
    module, colon, name = app.rpartition(":")
    if not (module and colon and name):
        raise ValueError(f"app is {app!r}: write it as 'module:callable' or 'path/file.py:callable'")
    folder = Path.cwd() if directory is None else Path(directory).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no directory {folder}, which app {app!r} is to be imported from")
    if not module.endswith(".py"):
        return folder, app
    file = folder / module
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}, which app {app!r} names")
    if directory is None:
        folder = file.parent
    try:
        parts = file.relative_to(folder).with_suffix("").parts
    except ValueError:
        raise ValueError(f"app {app!r} is not in the directory {folder}, which it is to be imported from") from None
    return folder, f"{'.'.join(parts)}:{name}"


def command_line(
    kind: Kind, program: Path, app: str, directory: Path, address: str, workers: int, options: Sequence[str], home: Path
) -> list[str]:
    """Return the command line of a server at `address` ("host:port"), the caller's `options` last.

    `home` is the server's own directory, in which it may be given files.
    """
    if kind == "gunicorn":
        return [
            str(program), "--preload", f"--workers={workers}", f"--bind={address}", f"--chdir={directory}",
            *options, app,
        ]  # fmt: skip
    command = [
        str(program), "--master", f"--processes={workers}", "--need-app", f"--http-socket={address}", "--die-on-term",
        f"--chdir={directory}", f"--module={app}",
    ]  # fmt: skip
    if sys.prefix != sys.base_prefix:  # uWSGI is no script of the virtual environment and would not look there
        command.append(f"--virtualenv={_in_ascii(sys.prefix, home)}")
    return [*command, *options]


def _in_ascii(folder: str, home: Path) -> str:
    """Return a path that uWSGI finds: it takes each byte for a character, and "Zoë" is then another name."""
    if folder.isascii():
        return folder
    link = home / "venv"
    link.symlink_to(folder)
    return str(link)


def gunicorn_settings(directory: Path) -> str:
    """Return what belongs into gunicorn.conf.py, read in the `directory` that gunicorn is started in.

    Newer ones open a control socket, under the home directory and the same for all: one started by a test would take
    it from the machine's own. Older ones ignore a setting that they do not know; on the command line they refuse it.
    """
    return f"control_socket = {str(directory / 'gunicorn.ctl')!r}\n"


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without options for such servers, and with `more`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_STRAY_PREFIX) and key not in _STRAY}
    env.setdefault("PYTHONUNBUFFERED", "1")  # what the application prints is in the log at once
    return {**env, **more}


def children(pid: int) -> tuple[int, ...]:
    """Return the processes whose parent is `pid`, in ascending order; none where there is no /proc as Linux has it."""
    return tuple(sorted(own for own, parent, _ in _processes() if parent == pid))


def workers_in_place(kind: Kind, pid: int) -> int | None:
    """Return how many workers of the master `pid` are ready; None where there is no /proc as Linux has it."""
    if _caught(os.getpid()) is None:
        return None
    if not _catches(_caught(pid) or 0, signal.SIGTERM):
        return 0
    return sum(_catches(_caught(worker) or 0, _IN_PLACE[kind]) for worker in children(pid))


def _catches(caught: int, number: signal.Signals) -> bool:
    return bool(caught >> (number - 1) & 1)


def _caught(pid: int) -> int | None:
    """Return the signals that a process has handlers for, a bit each, or None if that cannot be read."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next((int(line.split()[1], 16) for line in file if line.startswith("SigCgt:")), None)
    except (OSError, ValueError):
        return None


def has_ended(group: int) -> bool:
    """Tell whether no process of a group runs; those that ended and were not reaped yet do not count on Linux."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    processes = list(_processes())
    return bool(processes) and all(its_group != group for _, _, its_group in processes)


def _processes() -> Iterator[tuple[int, int, int]]:
    """Yield process id, parent and group of everything that runs; nothing where there is no /proc as Linux has it."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                # pid (name) state parent group …, where the name may hold anything, a parenthesis too
                state, parent, group = file.read().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has just ended
        if state not in "ZX":
            yield int(name), int(parent), int(group)
