"""What a unit of work must not return: anything that is read later, when its transaction is over.

A generator, a coroutine or a result with unread rows would go to the database after the COMMIT, outside the unit. This
module also looks for them inside other things: containers, partial functions, closures, bound methods, and the
attributes of one object, such as a web framework's response or a dataclass.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import gc
import inspect
import io
import itertools
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
)
from typing import Any, TypeVar

from sqlalchemy import inspect as inspected
from sqlalchemy.engine import FilterResult, Result, Row

__all__ = ["name_of", "refuse_lazy_function", "refuse_lazy_value"]

R = TypeVar("R")

_PLAIN = frozenset(
    {
        type(None),
        *(bool, int, float, complex, str, bytes, bytearray, memoryview, range, type),
        *(datetime.date, datetime.time, datetime.datetime, datetime.timedelta, decimal.Decimal, uuid.UUID),
    }
)
"""Types of values that hold nothing."""
_FINISHED = tuple(map(type, (iter([]), iter(()), iter({}), iter(set()), iter(""), iter(b""), iter(range(0)))))
"""Iterators over what is there already."""
_PASSES_ON = (
    *(zip, enumerate, reversed, itertools.chain, itertools.islice, itertools.count, itertools.cycle, itertools.repeat),
    *(itertools.zip_longest, itertools.product, itertools.permutations, itertools.combinations, itertools.compress),
)
"""Iterators that are as lazy as what they are over, and run no function of the application's."""
_MACHINERY = (
    *("sqlalchemy.", "logging", "threading", "_thread", "asyncio", "concurrent", "weakref", "_weakref"),
    *("flask.app", "flask.ctx", "flask_sqlalchemy.extension", "flask_sqlalchemy.session", "holdfast."),
)
"""The modules of objects whose attributes are nobody's result."""
_DEPTH = 3
"""In so many objects, one inside the other, is looked."""
_OBJECTS = 200_000
"""So many values are looked at."""


def refuse_lazy_function(fn: Callable[..., Any]) -> None:
    """Refuse what is not done when it returns.

    :raises TypeError: for a coroutine function and for a generator function.
    """
    function = inspect.unwrap(fn)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    call = getattr(function, "__call__", None)  # noqa: B004 - an object's own, when it is no function
    for candidate in (function, call):
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(
                f"{name_of(fn)} is a coroutine function: run() needs a function that is finished when it returns"
            )
        if inspect.isgeneratorfunction(candidate):
            raise TypeError(
                f"{name_of(fn)} is a generator function: its rows would be read after the commit. Return a list"
            )


def refuse_lazy_value(value: R, fn: Callable[..., Any]) -> R:
    """Refuse what would be read after the commit; return everything else.

    :param value: what ``fn`` has returned.
    :raises TypeError: it names what was found.
    """
    found = _find(value)
    if found is None:
        return value
    wrapped = "" if found is value else f" in a {type(value).__name__}"
    if isinstance(found, (Result, FilterResult)):
        raise TypeError(
            f"{name_of(fn)} returned a {type(found).__name__}{wrapped}, whose rows would be read after the commit. "
            "Return the result of its all()"
        )
    raise TypeError(
        f"{name_of(fn)} returned a {type(found).__name__}{wrapped}, which would run after the commit. Return its "
        "results, for example as a list"
    )


def name_of(fn: Callable[..., Any]) -> str:
    """Name a function in a message."""
    return getattr(fn, "__qualname__", type(fn).__qualname__)


def _find(value: object) -> object:
    """Return the first lazy thing in a value, or ``None``."""
    seen: set[int] = set()
    todo = [(value, 0)]
    while todo and len(seen) < _OBJECTS:
        item, depth = todo.pop()  # in how many objects it is
        if type(item) in _PLAIN or id(item) in seen:
            continue
        seen.add(id(item))
        if _is_lazy(item, depth > 0):
            return item
        if not isinstance(item, (Row, type, io.IOBase)):
            held = _held_by(item)
            if held is None and depth < _DEPTH and _is_the_applications(item):
                held, depth = _attributes(item), depth + 1
            todo.extend((inner, depth) for inner in _several(held or ()))
    return None


def _is_lazy(item: object, in_object: bool) -> bool:
    if isinstance(item, (Result, FilterResult)):
        return bool(getattr(item, "returns_rows", True)) and not item.closed
    if isinstance(item, (GeneratorType, AsyncGeneratorType, CoroutineType)):
        return True
    if isinstance(item, (*_FINISHED, *_PASSES_ON, io.IOBase)) or type(item).__module__.startswith("werkzeug."):
        return False
    if isinstance(item, Iterator):
        return True
    # An object may have these for reasons of its own: a page of results keeps its query, a service its tasks.
    return not in_object and (isinstance(item, (Awaitable, AsyncIterator)) or _is_query(item) or _is_cursor(item))


def _is_query(item: object) -> bool:
    """Say whether it is one of the ORM's queries, which is run when it is read."""
    return any(base.__module__ == "sqlalchemy.orm.query" for base in type(item).__mro__) and hasattr(item, "all")


def _is_cursor(item: object) -> bool:
    return all(hasattr(item, name) for name in ("fetchone", "fetchmany", "description", "arraysize"))


def _held_by(item: object) -> Collection[object] | None:
    """Return what something holds that is there to hold other things; ``None`` when it is none of these."""
    if isinstance(item, Mapping):
        return [*_copied(item.keys()), *_copied(item.values())]
    if isinstance(item, (list, tuple, set, frozenset, deque)) or type(item).__name__ in ("dict_values", "dict_items"):
        return _copied(item)
    if isinstance(item, _PASSES_ON) or type(item) in _FINISHED:
        return gc.get_referents(item)
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, FunctionType):
        return [*_cells(item), *(item.__defaults__ or ())]
    if isinstance(item, (MethodType, BuiltinMethodType, MethodWrapperType)):
        return [item.__self__]
    return None


def _several(values: Collection[Any]) -> Collection[Any]:
    """Leave plain values out, at once where all are: there may be many rows of them."""
    if set(map(type, values)) - _PLAIN <= {tuple, list, dict} and set(map(type, _flat(values))) <= _PLAIN:
        return ()
    return values


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Return what the rows among some values hold."""
    rows = (value.values() if type(value) is dict else value for value in values if type(value) in (tuple, list, dict))
    return itertools.chain.from_iterable(rows)


def _copied(values: Any) -> list[Any]:
    try:
        return list(values)
    except RuntimeError:  # changed by another thread
        return []


def _cells(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            pass


def _attributes(item: object) -> list[Any]:
    slots = [
        getattr(item, name, None)
        for base in type(item).__mro__
        for name in _names(base.__dict__.get("__slots__", ()))
        if not name.startswith("__")
    ]
    return [*slots, *list(getattr(item, "__dict__", {}).values())]


def _names(slots: object) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots if isinstance(slots, (tuple, list)) else ()


def _is_the_applications(item: object) -> bool:
    """Say whether an object may have been made to be returned: not one of the ORM's, nor of the machinery."""
    if inspect.ismodule(item) or type(item).__module__.startswith(_MACHINERY):
        return False
    state: object = inspected(item, raiseerr=False)
    return state is None
