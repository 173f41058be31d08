"""What becomes of an engine's pool in a forked child.

The pool's locks may have been held by another thread of the parent's, and its places belong to connections that are
the parent's. So the engine gets a new pool, and the old one, to which inherited checkouts still point, is made to
keep nothing.

The one module that uses what SQLAlchemy does not document: ``QueuePool._pool`` and ``_overflow_lock``,
``_ConnectionRecord.get_connection()``, and the closure of ``create_engine``'s first_connect.
``tests/core/test_private_attributes.py`` fails when they change.
"""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util.queue import Full, Queue

__all__ = ["initialise_again", "reconnect", "renew"]


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
