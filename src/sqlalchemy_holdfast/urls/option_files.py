"""MySQL's option files (``my.cnf``), as a source of a URL's parts."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import DatabaseURLError
from .parts import Parts, plain_host

__all__ = ["from_option_file"]

_OPTION_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}


def from_option_file(path: Path, group: str) -> Parts:
    """Read ``[client]`` and a group above it.

    :raises DatabaseURLError: when the file cannot be read or has no such group. No line of it is ever repeated.
    """
    groups = _option_groups(path)
    if group not in groups:
        there = f"It has {', '.join(f'[{name}]' for name in groups)}." if groups else "It has no groups at all."
        raise DatabaseURLError(f"The option file {path} has no group [{group}]. {there}")
    options = {**groups.get("client", {}), **groups[group]}
    socket, host = options.get("socket"), options.get("host")
    if socket and host in (None, "", "localhost"):
        host = socket
    parts = Parts(
        options.get("user"), options.get("password"), host, options.get("port"), options.get("database") or None
    )
    parts.host = plain_host(parts) if parts.host else None
    if options.get("ssl_ca"):
        parts.query["ssl_ca"] = str(options["ssl_ca"])
    return parts


def _option_groups(path: Path) -> dict[str, dict[str, str | None]]:
    """Read an option file as MySQL's manual describes it in "Using Option Files"."""
    reason = ""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    if reason:  # outside of the except clause: a UnicodeDecodeError holds the whole file
        raise DatabaseURLError(f"The option file {path} cannot be read: {reason}.")
    groups: dict[str, dict[str, str | None]] = {}
    current: dict[str, str | None] | None = None
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line[0] in "#;":
            continue
        if line.startswith("!"):
            raise DatabaseURLError(
                f"Line {number} of the option file {path} includes other files, which is not supported: give the file "
                "that has the account as my_cnf, or the parts as arguments."
            )
        if line.startswith("["):
            if "]" not in line:
                raise DatabaseURLError(f"Line {number} of the option file {path} opens a group without closing its ].")
            current = groups.setdefault(line[1 : line.index("]")].strip(), {})
            continue
        if current is None:
            raise DatabaseURLError(
                f"Line {number} of the option file {path} stands before the first group, such as [client]."
            )
        name, equals, value = _without_comment(line).partition("=")
        current[name.strip().removeprefix("loose-").replace("-", "_")] = _option_value(value) if equals else None
    return groups


def _without_comment(line: str) -> str:
    mark, escaped = "", False
    for position, character in enumerate(line):
        if character in "\"'" and not escaped and mark in ("", character):
            mark = "" if mark else character
        if character == "#" and not mark:
            return line[:position]
        escaped = bool(mark) and character == "\\" and not escaped
    return line


def _option_value(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] in "\"'" and text[0] == text[-1]:
        text = text[1:-1]
    return re.sub(r"\\(.)", lambda found: _OPTION_ESCAPES.get(found[1], found[0]), text)
