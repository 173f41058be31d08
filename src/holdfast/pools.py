"""An engine's pool: how its checkouts wait, and what becomes of it in a forked child.

A ``QueuePool`` that has no idle connection opens one. Where that has to wait, for a slot of the budget or for the
server, a connection that is returned meanwhile should do as well; so the pool gets a subclass of its own class
(:func:`wait_patiently`) that waits for both.

In a child, the pool's locks may have been held by another thread of the parent's, and its places belong to connections
that are the parent's. So the engine gets a new pool, and the old one, to which inherited checkouts still point, is made
to keep nothing.

The one module that uses what SQLAlchemy does not document: ``Pool._reset_on_return``, ``QueuePool._pool``,
``_overflow_lock``, ``_overflow`` and its methods ``_do_get``, ``_do_return_conn``, ``_inc_overflow``,
``_dec_overflow``, ``_ConnectionFairy._pool``, ``_ConnectionRecord.get_connection()``, and the closure of
``create_engine``'s first_connect. ``tests/core/test_private_attributes.py`` fails when they change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.pool.base import ResetStyle
from sqlalchemy.util.queue import Empty, Full, Queue

from .connecting import Connecting, Wait

__all__ = ["initialise_again", "reconnect", "renew", "replace", "reset_style", "timeout", "wait_patiently"]


_SOON = 0.02
"""Seconds for which a process that has its share of connections waits for one of its own before it asks for more."""


class _PatientPool(QueuePool):
    """A pool whose checkouts wait for whatever comes first: a returned connection, or leave to open one."""

    _holdfast: ClassVar[Connecting]
    _holdfast_keeps: Callable[[Any], bool]  # a static method

    def _do_get(self) -> Any:
        if self._holdfast.aside:
            return super()._do_get()
        record: Any
        try:
            record = self._pool.get(False)
        except Empty:
            record = self._holdfast_returned_soon() if self._holdfast.has_its_share() else None
        if record is not None and record.dbapi_connection is not None:
            return record
        with self._holdfast.wait(self._timeout, in_pool=True) as wait:
            return self._holdfast_open_or_wait(wait, record)

    def _holdfast_returned_soon(self) -> Any:
        try:
            return self._pool.get(True, min(_SOON, self._timeout))
        except Empty:
            return None

    def _holdfast_open_or_wait(self, wait: Wait, record: Any) -> Any:
        while True:
            if record is None and not self._inc_overflow():
                seconds = wait.pause(
                    f"QueuePool limit of size {self.size()} overflow {self.overflow()} reached, connection timed out"
                )
            else:
                opened = self._holdfast_open(wait, record)
                if opened is not None:
                    return opened
                seconds = wait.pause()
            try:
                record = self._pool.get(True, seconds)
            except Empty:
                record = None
            if record is not None and record.dbapi_connection is not None:
                return record

    def _holdfast_open(self, wait: Wait, record: Any) -> Any:
        """Open a connection in a place of the pool's, if it may be now; give the place up if not."""
        opened = None
        try:
            if wait.may_connect():
                if record is None:
                    opened = self._create_connection()
                else:
                    record.get_connection()
                    opened = record
        except Exception as error:
            if not wait.is_worth_another_try(error):
                raise
        finally:
            if opened is None:
                self._dec_overflow()
        return opened

    def _do_return_conn(self, record: Any) -> None:
        connection = record.dbapi_connection
        if self._holdfast.budget is not None and connection is not None and not self._holdfast_keeps(connection):
            record.close()
        super()._do_return_conn(record)


def wait_patiently(engine: Engine, connecting: Connecting, keeps: Callable[[Any], bool]) -> None:
    """Make the checkouts of an engine's ``QueuePool`` wait, and its returned connections be given back.

    A pool of another kind, and one with a ``_do_get`` of its own, is left as it is.

    :param keeps: says whether a driver's connection that was returned may stay open.
    """
    cls = type(engine.pool)
    if not issubclass(cls, QueuePool) or cls._do_get is not QueuePool._do_get or cls._is_asyncio:
        return
    own = {"_holdfast": connecting, "_holdfast_keeps": staticmethod(keeps), "__module__": cls.__module__}
    engine.pool.__class__ = type(cls.__name__, (_PatientPool, cls), own)  # recreate() keeps the class


def reset_style(engine: Engine) -> ResetStyle | None:
    """Say what a pool does to each connection that is returned (``pool_reset_on_return``)."""
    return engine.pool._reset_on_return


def timeout(engine: Engine) -> float | None:
    """Return a pool's ``pool_timeout`` in seconds, or ``None`` where it has none."""
    return engine.pool.timeout() if isinstance(engine.pool, QueuePool) else None


class _KeepsNothing(Queue[Any]):
    """A queue that is always full and always empty: the pool closes what is returned to it."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        raise Full


def renew(engine: Engine) -> None:
    """Give an engine a new, empty pool, without waiting for a lock and without closing anything properly.

    Its connections must have been left to the parent before: here the idle ones are dropped.
    """
    old = engine.pool
    if isinstance(old, QueuePool):
        old._overflow_lock = threading.Lock()
        old._pool = _KeepsNothing(old._pool.maxsize, old._pool.use_lifo)  # the new pool takes both from there
    engine.dispose(close=False)


def initialise_again(engine: Engine) -> None:
    """Make the next connection the engine's first, if another thread of the parent's was about to make that one.

    SQLAlchemy asks the first connection for the server's version and more, and remembers that it has begun to.
    """
    for listener in engine.pool.dispatch.connect:
        code = getattr(listener, "__code__", None)
        cells = dict(zip(code.co_freevars, listener.__closure__ or (), strict=True)) if code else {}
        if "once" in cells and getattr(cells["fn"].cell_contents, "__name__", "") == "first_connect":
            once = cells["once"].cell_contents
            if not once:
                once.append(cells["fn"].cell_contents)


def reconnect(checkout: Any) -> Any:
    """Put a new connection in the place of an inherited one that is checked out, and return it.

    As SQLAlchemy does at checkout when a listener finds a connection dead. It belongs to the old pool, so it is one
    more than the new pool's limit, and it is closed when it is returned.

    :param checkout: SQLAlchemy's proxy (:class:`sqlalchemy.pool.PoolProxiedConnection`).
    :return: the new connection, or ``None`` for a connection that has no pool any more (``detach()``).
    :raises: whatever connecting raises.
    """
    record = checkout._connection_record
    if record is None:
        return None
    record.invalidate()
    connection = record.get_connection()
    checkout.dbapi_connection = connection
    return connection


def replace(checkout: Any) -> Any:
    """Put a new connection in the place of one that was lost, and return it.

    The pool's checkout listeners are told of it, as by SQLAlchemy when it replaces a connection at checkout: they may
    have something to set up on it.

    :param checkout: SQLAlchemy's proxy (:class:`sqlalchemy.pool.PoolProxiedConnection`).
    :return: the new connection, or ``None`` for a connection that has no pool any more (``detach()``).
    :raises: whatever connecting, or a listener, raises.
    """
    connection = reconnect(checkout)
    if connection is not None:
        checkout._pool.dispatch.checkout(connection, checkout._connection_record, checkout)
    return connection
