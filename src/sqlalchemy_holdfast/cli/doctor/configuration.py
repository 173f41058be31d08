"""The options of ``holdfast doctor`` that stand in ``pyproject.toml``, under ``[tool.holdfast.doctor]``."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sqlalchemy_holdfast.doctor import choose

__all__ = ["configured"]

_FILE = "pyproject.toml"
_TABLE = "[tool.holdfast.doctor]"
_NEVER = ("explain", "list", "help")


def configured(parameters: Sequence[click.Parameter], elsewhere: Sequence[str] = ()) -> dict[str, Any]:
    """Return the defaults of the options, by the parameters' names, from the nearest ``pyproject.toml``.

    :param elsewhere: names of options that are another command's, and are passed over.
    :raises ValueError: for a file that cannot be read, a key that is no option, or a value that cannot be one.
    """
    path = next((path for folder in (Path.cwd(), *Path.cwd().parents) if (path := folder / _FILE).is_file()), None)
    if path is None:
        return {}
    found = _read(path)
    options = {
        parameter.opts[-1].removeprefix("--"): parameter
        for parameter in parameters
        if isinstance(parameter, click.Option) and parameter.opts[-1].removeprefix("--") not in _NEVER
    }
    defaults: dict[str, Any] = {}
    for key, value in found.items():
        if key.replace("_", "-") in elsewhere:
            continue
        option = options.get(key.replace("_", "-"))
        if option is None:
            near = difflib.get_close_matches(key, options, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" There is: {', '.join(options)}."
            secret = " A URL has a password in it, which does not belong into a file like this." if key == "url" else ""
            raise ValueError(f"{path} has {key!r} under {_TABLE}, which is no option of holdfast doctor.{secret}{hint}")
        if option.multiple:
            value = [value] if isinstance(value, str) else value
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"{path}: {key} under {_TABLE} is a list of ids and groups, such as ['HF401', 'tls'].")
        elif isinstance(value, (list, dict)):
            raise ValueError(f"{path}: {key} under {_TABLE} takes one value.")
        _check(option, value, f"{path}: {key} under {_TABLE}")
        defaults[option.name or ""] = value
    return defaults


def _check(option: click.Option, value: Any, where: str) -> None:
    """Refuse a value that the option cannot have, and say where it stands: nobody has typed that option in."""
    try:
        if option.multiple:
            choose([name.strip() for item in value for name in item.split(",") if name.strip()])
        else:
            option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise ValueError(f"{where} has a value that it cannot have: {error.message}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}. holdfast doctor --list lists the checks.") from None


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "holdfast" not in text:
        return {}
    toml = _toml()
    if toml is None:
        if _TABLE in text:
            click.echo(
                f"{path} has {_TABLE}. It was not read: Python 3.10 needs the package tomli for that, or give the "
                "options on the command line.",
                err=True,
            )
        return {}
    try:
        tables: dict[str, Any] = toml.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    for name in ("tool", "holdfast", "doctor"):
        tables = tables.get(name, {})
        if not isinstance(tables, dict):
            raise ValueError(f"{path}: {_TABLE} must be a table.")
    return tables


def _toml() -> Any:
    """Python's own reader since 3.11, or the package it was made of."""
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return None
