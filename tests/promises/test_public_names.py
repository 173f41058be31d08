"""What users may rely on: names, signatures, docstrings, types, version."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
from sqlalchemy import exc

import sqlalchemy_holdfast as holdfast
import sqlalchemy_holdfast.lab

PUBLIC = [
    "SETTINGS",
    "BudgetUnavailable",
    "Cause",
    "CheckoutTimeout",
    "CommitOutcomeUnknown",
    "Counters",
    "DatabaseURLError",
    "DriverNotInstalled",
    "Encryption",
    "EngineStatus",
    "HoldfastError",
    "Limits",
    "Password",
    "PasswordUnavailable",
    "ServerAway",
    "Setting",
    "SettingError",
    "Settings",
    "TLSError",
    "TooManyWaiting",
    "__version__",
    "create_engine",
    "run",
    "status",
    "transactional",
    "url",
]
LAB = [
    "LabError",
    "LoadFailure",
    "LoadReport",
    "Measurement",
    "Prefork",
    "Proxy",
    "Question",
    "Server",
    "ServerConnection",
    "ServerFailed",
    "ServerNotFound",
    "load",
]


def test_the_public_names_are_these() -> None:
    assert holdfast.__all__ == PUBLIC, "removing a name breaks somebody; adding one is a promise"
    assert sqlalchemy_holdfast.lab.__all__ == LAB


@pytest.mark.parametrize("module", [holdfast, sqlalchemy_holdfast.lab], ids=lambda module: module.__name__)
def test_the_list_is_sorted_and_complete(module: ModuleType) -> None:
    assert sorted(module.__all__, key=by_kind) == module.__all__
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    others = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert others <= set(module.__all__), "imported there and not public: import it under a leading underscore"


def by_kind(name: str) -> tuple[bool, bool, str]:
    """The usual order: CONSTANTS, Classes, functions."""
    return not name.isupper(), not name[0].isupper(), name


def public_members() -> Iterator[tuple[str, Any]]:
    """Everything public that can have a docstring: modules, functions, classes, and the members of those."""
    for module in (holdfast, sqlalchemy_holdfast.lab):
        yield module.__name__, module
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                for member, what in vars(value).items():
                    if not member.startswith("_") and (callable(what) or isinstance(what, (property, classmethod))):
                        yield f"{module.__name__}.{name}.{member}", what


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in public_members()])
def test_everything_public_has_a_docstring(value: Any) -> None:
    text = inspect.getdoc(value)
    assert text
    assert not text.startswith(f"{getattr(value, '__name__', '')}("), "a dataclass's own is none"


def documented_attributes(cls: type) -> set[str]:
    """Attributes with a string literal under them, which is how this package documents attributes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    found = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for first, second in zip(body or (), (body or [])[1:], strict=False) if isinstance(body, list) else ():
            if isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant):
                target = first.targets[0] if isinstance(first, ast.Assign) else getattr(first, "target", None)
                if target is not None:
                    found.add(ast.unparse(target).removeprefix("self."))
    return found


@pytest.mark.parametrize("cls", [holdfast.Counters, holdfast.Setting, holdfast.EngineStatus, holdfast.Cause])
def test_every_public_attribute_is_explained_where_it_is_defined(cls: type) -> None:
    if is_dataclass(cls):
        names = {field.name for field in fields(cls)}
    elif cls is holdfast.EngineStatus:
        names = {name for name in vars(holdfast.EngineStatus("nowhere")) if not name.startswith("_")}
    else:
        names = {name for name in vars(cls) if not name.startswith("_")}
    assert names
    assert names - documented_attributes(cls) == set()


def test_the_signatures_are_these() -> None:
    assert str(inspect.signature(holdfast.create_engine)) == "(url: 'str | URL', **kwargs: 'Any') -> 'Engine'"
    assert str(inspect.signature(holdfast.status)) == "(engine: 'Any') -> 'EngineStatus'"
    assert list(inspect.signature(holdfast.run).parameters) == [
        *("target", "fn", "attempts", "deadline", "verify", "on_retry"),
    ]
    assert str(inspect.signature(holdfast.transactional)) == "(target: 'Any', **options: 'Any') -> 'Any'"
    assert list(inspect.signature(holdfast.url).parameters) == [
        *("username", "password", "host", "database"),
        *("port", "driver", "at", "my_cnf", "group", "environ", "query", "settings"),
    ]


CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(holdfast, name))]


def written_methods(cls: type) -> dict[str, Any]:
    """The functions that a class's source defines, without what a decorator such as dataclass has put there."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    names = {node.name for node in definition.body if isinstance(node, ast.FunctionDef)}
    return {name: member for name, member in vars(cls).items() if name in names and inspect.isfunction(member)}


@pytest.mark.parametrize("name", CLASSES)
def test_type_hints_can_be_evaluated(name: str) -> None:
    value = getattr(holdfast, name)
    written = written_methods(value)
    if issubclass(value, exc.SQLAlchemyError):  # SQLAlchemy's own cannot
        value = type(name, (), dict(vars(value)))
    get_type_hints(value)
    for member in written.values():
        assert "return" in get_type_hints(member), member


def test_methods_are_told_from_what_dataclass_generates() -> None:
    found = written_methods(holdfast.Counters)
    assert "as_dict" in found
    assert not {"__init__", "__eq__", "__replace__"} & set(found)
    assert "__init__" in written_methods(holdfast.EngineStatus)


def test_the_errors_are_what_their_docstring_says() -> None:
    tree = {
        holdfast.SettingError: (holdfast.HoldfastError, exc.ArgumentError),
        holdfast.DatabaseURLError: (holdfast.HoldfastError, exc.ArgumentError),
        holdfast.DriverNotInstalled: (holdfast.HoldfastError, ModuleNotFoundError, ImportError),
        holdfast.ServerAway: (holdfast.HoldfastError, exc.OperationalError),
        holdfast.CommitOutcomeUnknown: (holdfast.HoldfastError, exc.DBAPIError),
        holdfast.PasswordUnavailable: (holdfast.HoldfastError, exc.SQLAlchemyError),
    }
    drawing = importlib.import_module("sqlalchemy_holdfast.errors").__doc__ or ""
    for error, bases in tree.items():
        assert all(issubclass(error, base) for base in bases)
        assert error.__name__ in drawing
        assert (error.__doc__ or "").startswith("Raised when")


def test_type_hints_are_shipped() -> None:
    assert (Path(holdfast.__file__).parent / "py.typed").is_file()


def test_the_version_is_the_distributions() -> None:
    assert holdfast.__version__ == importlib.metadata.version("sqlalchemy-holdfast")


def test_the_plugin_is_registered() -> None:
    (point,) = (
        point for point in importlib.metadata.entry_points(group="sqlalchemy.plugins") if point.name == "holdfast"
    )
    assert point.load() is importlib.import_module("sqlalchemy_holdfast.plugin").HoldfastPlugin
