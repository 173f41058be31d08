"""How a driver's object becomes a held connection: it is given a subclass of its own class, in place.

So ``isinstance``, ``driver_connection`` and other people's instrumentation go on working. The methods of
:class:`~.connection.HeldConnection` and of the driver's class below it are copied into a class with one base: to assign
``__class__``, Python wants the same memory layout, which a second base can change.
"""

from __future__ import annotations

import weakref
from os import getpid
from typing import Any, TypeVar

from .connection import HeldConnection
from .state import ConnectionState

__all__ = ["subclass_in_place", "unwrap"]


def _collected(self: Any) -> None:
    """The destructor of a held connection: what a driver's own sends in a child would reach the parent's session."""
    state = getattr(self, "_holdfast", None)
    if state is not None and state.pid != getpid():
        state.notice_fork()
        if not self._holdfast_is_harmless():
            return
    stock = getattr(state.driver_class, "__del__", None) if state is not None else None
    if stock is not None:
        stock(self)
    if state is not None:
        if state.unusable_because is not None:
            self._holdfast_let_go()
        state.ended()


_C = TypeVar("_C")
_classes: dict[tuple[type, type], type] = {}


def unwrap(connection: Any) -> Any:
    """Return the driver's own connection from inside a tracer's proxies (``__wrapped__``: OpenTelemetry, ddtrace)."""
    for _ in range(8):
        inner = getattr(connection, "__wrapped__", None)
        if inner is None:
            break
        connection = inner
    return connection


def subclass_in_place(connection: _C, methods: type[HeldConnection], state: ConnectionState) -> None:
    """Turn a connection into a held one, in place.

    :param connection: the driver's own connection object, unwrapped.
    :param methods: the driver's class of methods.
    :param state: its fresh state.
    """
    cls = type(connection)
    held = _classes.get((methods, cls)) or _classes.setdefault((methods, cls), _subclass(cls, methods))
    target: Any = connection
    state.driver_class = cls
    state.connection = weakref.ref(target)
    target._holdfast = state
    target.__class__ = held
    state.watch(target._holdfast_fd())


def _subclass(cls: type, methods: type[HeldConnection]) -> type:
    namespace: dict[str, Any] = {}
    for part in reversed(methods.__mro__[:-1]):
        namespace.update({name: value for name, value in vars(part).items() if not name.startswith("__")})
    namespace["__del__"] = _collected
    return type(cls.__name__, (cls,), {**namespace, "__module__": cls.__module__, "__qualname__": cls.__qualname__})
