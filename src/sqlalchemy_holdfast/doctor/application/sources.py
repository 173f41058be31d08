"""What an application's own source code says: functions that run in each new worker, and ``remove()`` of sessions.

Read, not run: most of it runs in a web server alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .facts import ForkHook, Place
from .places import is_library, shown

__all__ = ["Source", "fork_hooks", "own_sources", "read", "removes_sessions"]

_LONGEST = 2_000_000
_DECORATORS = {
    "postfork": "uWSGI's postfork",
    "worker_process_init.connect": "Celery's worker_process_init",
}
_IN_GUNICORN = {"post_fork": "gunicorn's post_fork", "post_worker_init": "gunicorn's post_worker_init"}
_REGISTERS = "os.register_at_fork"


@dataclass(frozen=True)
class Source:
    """A file of Python, parsed."""

    path: Path
    tree: ast.Module


def read(path: Path) -> Source | None:
    """Parse a file, or return ``None`` when it cannot be read or is no Python."""
    try:
        if path.stat().st_size > _LONGEST:
            return None
        return Source(path, ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def own_sources() -> list[Source]:
    """Return the sources of the modules that are imported now and are the application's own."""
    found = []
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or name == "__main__" or is_library(file):
            continue
        if name.partition(".")[0] != __name__.partition(".")[0] and (source := read(Path(file))) is not None:
            found.append(source)
    return found


def removes_sessions(sources: Iterable[Source]) -> bool:
    """Say whether ``something.remove()`` is called anywhere without an argument, or handed to somebody who calls it."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call):
                if not node.args and _ends_in(node.func, "remove"):
                    return True
                if any(_ends_in(argument, "remove") for argument in node.args):  # teardown_appcontext(session.remove)
                    return True
    return False


def _ends_in(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name


def fork_hooks(sources: Iterable[Source], directory: Path, *, gunicorn: bool = False) -> Iterator[ForkHook]:
    """Find the functions that run in each new worker and call ``dispose()``.

    :param gunicorn: these are files of gunicorn's settings, where a function's name makes it a hook.
    """
    for source in sources:
        functions = {node.name: node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef)}
        for kind, body in _hooks(source.tree, functions, gunicorn):
            for line, closes in _disposals(body, functions):
                yield ForkHook(kind, Place(shown(source.path, directory), line), closes)


def _hooks(tree: ast.Module, functions: dict[str, ast.FunctionDef], gunicorn: bool) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if gunicorn and node.name in _IN_GUNICORN:
                yield _IN_GUNICORN[node.name], node
            for decorator in node.decorator_list:
                kind = _kind_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
                if kind:
                    yield kind, node
        elif isinstance(node, ast.Call):
            if _dotted(node.func) in (_REGISTERS, "register_at_fork"):
                for keyword in node.keywords:
                    if keyword.arg == "after_in_child":
                        yield _REGISTERS, _meant(keyword.value, functions)
            elif (kind := _kind_of(node.func)) and node.args:
                yield kind, _meant(node.args[0], functions)
        elif isinstance(node, ast.Assign) and any(_dotted(one) == "uwsgi.post_fork_hook" for one in node.targets):
            yield "uwsgi.post_fork_hook", _meant(node.value, functions)


def _kind_of(node: ast.AST) -> str:
    name = _dotted(node)
    return next((kind for end, kind in _DECORATORS.items() if name == end or name.endswith(f".{end}")), "")


def _meant(node: ast.AST, functions: dict[str, ast.FunctionDef]) -> ast.AST:
    """Return the function that a name stands for, in the same file."""
    return functions.get(node.id, node) if isinstance(node, ast.Name) else node


def _disposals(body: ast.AST, functions: dict[str, ast.FunctionDef], deeper: bool = True) -> Iterator[tuple[int, bool]]:
    """Yield the line of each ``dispose`` in a function, and in those that it calls by name, and whether it closes."""
    if isinstance(body, ast.Attribute) and body.attr == "dispose":  # after_in_child=engine.dispose
        yield body.lineno, True
    for node in ast.walk(body):
        if not isinstance(node, ast.Call):
            continue
        if _ends_in(node.func, "dispose"):
            yield node.lineno, not _keeps_open(node)
        elif deeper and isinstance(node.func, ast.Name) and node.func.id in functions:
            yield from _disposals(functions[node.func.id], functions, deeper=False)


def _keeps_open(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "close")]
    return any(isinstance(value, ast.Constant) and value.value is False for value in values)


def _dotted(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else ""
