"""What a database server is told on its command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ._bootstrap import server_options
from ._executable import Executable

_FIXED_OPTIONS = frozenset({"datadir", "socket", "port", "pid_file", "log_error", "tmpdir"})


def command_line(executable: Executable, directory: Path, socket: str, host: str, port: int, *, tls: bool) -> list[str]:
    """Return the command line of a server whose data and files are in `directory`, without the caller's options."""
    command = [
        *executable.command(),
        *server_options(executable),
        f"--datadir={directory / 'data'}",
        f"--tmpdir={directory / 'tmp'}",
        # Where SELECT INTO OUTFILE and LOAD DATA INFILE may go. Some programs say nowhere by default, some everywhere.
        f"--secure-file-priv={directory / 'tmp'}",
        f"--socket={socket}",
        f"--pid-file={directory / 'pid'}",
        f"--bind-address={host}",
        f"--port={port}",
        # The administrator has no password, but as root@localhost: without names that is the socket only.
        "--skip-name-resolve",
        "--innodb-fast-shutdown=2",  # what it leaves undone, the next start does as fast
    ]
    if tls:
        command += [
            f"--ssl-ca={directory / 'ca.pem'}",
            f"--ssl-cert={directory / 'server-cert.pem'}",
            f"--ssl-key={directory / 'server-key.pem'}",
        ]
    elif executable.flavour == "mariadb":
        command.append("--skip-ssl")  # from 11.4 on it would make a certificate for itself
    else:
        command.append("--tls-version=")  # MySQL 8.4 took --skip-ssl away
    return command


def option_arguments(options: Mapping[str, str | int | None]) -> list[str]:
    """Return a caller's options as arguments; raise `ValueError` for those that the lab sets itself."""
    arguments = []
    for name, value in options.items():
        if name.startswith("-") or "=" in name:
            raise ValueError(f"write the option {name!r} without dashes, and its value as the value")
        if name.replace("-", "_") in _FIXED_OPTIONS:
            raise ValueError(f"the option {name!r} is one that the lab sets itself")
        arguments.append(f"--{name}" if value is None else f"--{name}={value}")
    return arguments
