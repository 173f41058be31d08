"""Imports an application as web servers spell it: ``module:app``, ``module:create_app()``, ``module``, ``file.py``.

The rules are those of gunicorn (``util.import_app``) and Flask (``flask.cli``), with one addition: a plain module
without an application in it is accepted, for what it makes at import.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import places

__all__ = ["NotThere", "Target", "load"]

_NAMES = ("app", "application")
_FACTORIES = ("create_app", "make_app")


class NotThere(Exception):
    """Raised when there is no such module or no such application in it.

    :param happened: what happened and why, in a sentence.
    :param cure: what to do, in a sentence.
    """

    def __init__(self, happened: str, cure: str) -> None:
        super().__init__(happened)
        self.happened = happened
        self.cure = cure


class Target:
    """What is to be imported.

    :raises NotThere: for a text that cannot be one.
    """

    def __init__(self, text: str) -> None:
        if "://" in text:  # which is not repeated: it may have a password in it
            raise NotThere("That is a URL, and no application.", "holdfast doctor takes a database URL without --app.")
        path, colon, name = text.strip().partition(":")
        self.folder: str | None = None
        if path.endswith(".py") or "/" in path:
            file = Path(path if path.endswith(".py") else f"{path}.py").resolve()
            if not file.is_file():
                raise NotThere(f"There is no file {path}.", "Check the name, and the directory that you are in.")
            self.folder, self.module = _module_of(file)
        else:
            self.module = path
        self.name, self.arguments, self.keywords = "", [], {}  # type: tuple[str, list[Any], dict[str, Any]]
        self.is_call = False
        if not self.module or not all(part.isidentifier() for part in self.module.split(".")):
            raise NotThere(f"{text!r} does not name a module.", _SPELLING)
        if colon:
            self._parse(text, name)

    def _parse(self, text: str, name: str) -> None:
        try:
            found: Any = ast.parse(name.strip(), mode="eval").body
            if isinstance(found, ast.Call):
                self.is_call = True
                self.arguments = [ast.literal_eval(one) for one in found.args]
                self.keywords = {one.arg: ast.literal_eval(one.value) for one in found.keywords if one.arg}
                found = found.func
            self.name = ast.unparse(found)
        except (SyntaxError, ValueError):
            self.name = ""
        if not all(part.isidentifier() for part in self.name.split(".")):
            raise NotThere(f"{text!r} does not name an application.", _SPELLING)


_SPELLING = (
    "Write it as your web server does: shop:app for the object app in shop.py, shop:create_app() for a factory, "
    "web.site:app for a module in a package."
)


def _module_of(file: Path) -> tuple[str, str]:
    """Return a file's module, and the folder it is imported from: the one above the package that it is in."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(parts)


def load(target: Target, directory: Path, in_factory: Callable[[], object]) -> Any:
    """Import the module, and get the application.

    :param directory: becomes the first place where modules are looked for, as with gunicorn.
    :param in_factory: called before a factory is.
    :return: the application, or ``None`` when a plain module was asked for that has none.
    :raises NotThere: when it is not there.
    :raises: whatever the application raises.
    """
    for folder in (str(directory), target.folder):
        if folder is not None and folder not in sys.path:
            sys.path.insert(0, folder)
    places.APPLICATIONS.add(target.module.partition(".")[0])
    if importlib.util.find_spec(target.module.partition(".")[0]) is None:
        raise NotThere(
            f"There is no module {target.module.partition('.')[0]} in {directory}, nor among the installed packages.",
            f"Run the command in the directory that your web server runs in. {_SPELLING}",
        )
    try:
        module = importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{target.module}.".startswith(f"{error.name}."):
            raise
        parent, _, last = target.module.rpartition(".")
        hint = f" Did you mean {parent}:{last}?" if parent in sys.modules and not target.name else ""
        raise NotThere(f"There is no module {error.name}.{hint}", _SPELLING) from None
    if target.name:
        return _named(target, module, in_factory)
    return _any(module, in_factory)


def _named(target: Target, module: ModuleType, in_factory: Callable[[], object]) -> Any:
    found: Any = module
    for part in target.name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [name for name in vars(module) if name[0] != "_"], n=1)
            hint = f" Did you mean {target.module}:{near[0]}?" if near else ""
            raise NotThere(f"The module {target.module} has no {target.name}.{hint}", _SPELLING)
        found = getattr(found, part)
    if target.is_call:
        in_factory()
        return found(*target.arguments, **target.keywords)
    if inspect.isfunction(found) and not _required(found):  # a factory without its brackets, as Flask accepts it
        in_factory()
        return found()
    return found


def _any(module: ModuleType, in_factory: Callable[[], object]) -> Any:
    for name in _NAMES:
        if (found := getattr(module, name, None)) is not None:
            return found
    for name in _FACTORIES:
        found = getattr(module, name, None)
        if inspect.isfunction(found) and not _required(found):
            in_factory()
            return found()
    return None


def _required(function: Any) -> bool:
    """Say whether a function needs arguments: a WSGI application does, and is no factory."""
    return any(
        one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        for one in inspect.signature(function).parameters.values()
    )
