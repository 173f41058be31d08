"""An engine's pool: how its checkouts wait, and what becomes of it in a forked child.

A ``QueuePool`` that has no idle connection opens one. Where that has to wait, for a slot of the budget or for the
server, a connection that is returned meanwhile should do as well; so the pool gets a subclass of its own class
(:func:`make_wait`) that waits for both.

In a child, the pool's locks may have been held by another thread of the parent's, and its places belong to connections
that are the parent's. So the engine gets a new pool, and the old one, to which inherited checkouts still point, is made
to keep nothing.

A pool also gives up what it keeps idle: for another engine of this process that needs the slot, and when nobody can
use it any more.

The one module that uses what SQLAlchemy does not document: ``Pool._reset_on_return``, ``_recycle``,
``_pre_ping``, ``QueuePool._pool``, ``_overflow_lock``, ``_overflow``, ``_max_overflow`` and its methods ``_do_get``,
``_do_return_conn``, ``_create_connection``, ``_inc_overflow``, ``_dec_overflow``, ``Queue.queue``,
``_ConnectionFairy._pool``, ``_ConnectionRecord.get_connection()``, the closure of ``create_engine``'s first_connect,
the mutex of a pool's first connect event, ``Engine._has_events`` and ``Engine.dispatch``.
``tests/promises/test_private_attributes.py`` fails when they change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.pool.base import ResetStyle
from sqlalchemy.util.queue import Empty, Full, Queue

from .._registry import Registry
from .waiting import Connector, Wait, seconds

__all__ = [
    "drop_idle",
    "forget_if_idle",
    "initialise_again",
    "is_first_listener",
    "let_nest",
    "make_wait",
    "most_connections",
    "on_dispose",
    "pings",
    "reconnect",
    "recycles_after",
    "renew",
    "replace",
    "reset_style",
    "tell_disposed",
    "timeout",
]


_SOON = 0.02
"""Seconds for which a process that has its share of connections waits for one of its own before it asks for more, and
after which a place that nobody seems to have is looked for a second time."""


class WaitingQueuePool(QueuePool):
    """A pool whose checkouts wait for whatever comes first: a returned connection, or leave to open one."""

    _holdfast: ClassVar[Connector]
    _holdfast_keeps: Callable[[Any], bool]  # a static method
    _holdfast_engine: Callable[[], Engine | None]  # a static method
    _holdfast_recreated = False
    """The engine may have another pool by now."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._holdfast_prepare()

    def _holdfast_prepare(self) -> None:
        queue: Any = self._pool
        queue.not_empty, queue.not_full = _Condition(queue.mutex), _Condition(queue.mutex)
        self._holdfast_records: Registry[Any] = Registry()
        """All that have a place in the pool."""
        self._holdfast_ways: Registry[_Way] = Registry()
        """Checkouts that may have a place in the pool and no record."""
        self._holdfast_before = self.size() + self._overflow
        """How many records there were before."""
        self._holdfast.limit.pools.add(self)

    def recreate(self) -> Any:
        self._holdfast_recreated = True
        return super().recreate()

    def _do_get(self) -> Any:
        if self._holdfast.aside:
            return super()._do_get()
        record: Any = None
        way: _Way | None = None
        try:
            try:
                record = self._pool.get(False)
            except Empty:
                pass
            if record is not None and record.dbapi_connection is not None:
                return record
            if record is None and self._holdfast.limit.has_its_share() and self.checkedout():
                record = self._holdfast_returned_soon()
                if record is not None and record.dbapi_connection is not None:
                    return record
            way, record = _Way(self, record), None
            return way.go()
        except BaseException:  # it may have come from outside, at any line
            if record is not None:
                super()._do_return_conn(record)
            if way is not None:
                way.give_up()
            raise

    def _holdfast_returned_soon(self) -> Any:
        try:
            return self._pool.get(True, min(_SOON, seconds(self._timeout)))
        except Empty:
            return None

    def _create_connection(self) -> Any:
        record = super()._create_connection()
        self._holdfast_records.add(record)
        return record

    def _do_return_conn(self, record: Any) -> None:
        try:
            connection = record.dbapi_connection
            if connection is None:
                self._holdfast.give_up_kept_slot()
            elif self._holdfast.limit.budget is not None and (
                (self._holdfast_recreated and self._holdfast_is_replaced()) or not self._holdfast_keeps(connection)
            ):
                record.close()
        finally:
            super()._do_return_conn(record)

    def _holdfast_is_replaced(self) -> bool:
        engine = self._holdfast_engine()
        return engine is None or engine.pool is not self

    def _holdfast_lost_places(self) -> int:
        """Count the places that nobody has: an exception from outside came between a record and its pool."""
        records = self._holdfast_before + sum(1 for _ in self._holdfast_records)
        ways = sum(way.place and way.record is None for way in self._holdfast_ways)
        return self.size() + self._overflow - records - ways

    def _holdfast_find_places(self, number: int) -> None:
        with self._overflow_lock:
            self._overflow -= number

    # -- what is idle, for other pools that share a budget (sqlalchemy_holdfast.budget.Idle) ---------------------------

    def holdfast_idle(self) -> int:
        queue: Any = self._pool
        return sum(record.dbapi_connection is not None for record in list(queue.queue))

    def holdfast_close_one(self, before: Callable[[object], object]) -> bool:
        taken: list[Any] = []
        """What belongs back into the pool: without a connection, each still has its place there."""
        try:
            while self.holdfast_idle():
                taken.append(self._pool.get(False))
                if taken[-1].dbapi_connection is not None:
                    before(taken[-1].dbapi_connection)
                    taken[-1].close()
                    self._holdfast.reporter.closed_for_sharing()
                    return True
        except Empty:  # somebody was faster
            pass
        finally:
            while taken:
                super()._do_return_conn(taken.pop())
        return False


class _Condition(threading.Condition):
    """A condition whose lock is taken and released in one step of the interpreter's, as a lock of C code is.

    Python's own does it in functions written in Python. An exception from outside (a task's time limit, Ctrl-C) that
    comes between two lines of these leaves the lock taken for ever, and with it every connection of the pool.
    """

    def __init__(self, lock: Any) -> None:
        super().__init__(lock)
        self._holdfast_lock = lock

    __enter__: Any = property(lambda self: self._holdfast_lock.__enter__)
    __exit__: Any = property(lambda self: self._holdfast_lock.__exit__)


class _Way:
    """A checkout that found no idle connection: what it has of its pool, and how it goes on."""

    def __init__(self, pool: WaitingQueuePool, record: Any) -> None:
        """:param record: one without a connection, which has a place in the pool, or ``None``."""
        self.pool = pool
        self.record = record
        self.place = record is not None
        """A connection may be opened in a place of the pool's. (With a record it is the record's.)"""
        self._wait = Wait(pool._holdfast, seconds(pool._timeout), pool=pool)
        self._looked_lost = 0
        pool._holdfast_ways.add(self)

    def go(self) -> Any:
        """Wait, and open a connection.

        :return: a record with a connection, opened here or returned by somebody.
        :raises CheckoutTimeout: when neither was possible in time; the driver's error when it is not worth waiting.
        """
        return self.pool._holdfast.accompany(self._wait, self._open_or_wait)

    def give_up(self) -> None:
        """Give back what it has. Harmless when it has nothing."""
        try:
            if self.record is not None and self.record.dbapi_connection is not None:
                self.record.close()
            self._wait.close_what_was_opened()
        finally:
            self.record = None
            if self.place:
                self.place = not self.pool._dec_overflow()

    def _open_or_wait(self, wait: Wait) -> Any:
        pool = self.pool
        while True:
            if not self.place:
                self.place = pool._inc_overflow()  # in one line: nothing comes in between
            if not self.place:
                seconds_left = wait.pause(
                    f"QueuePool limit of size {pool.size()} overflow {pool.overflow()} reached, connection timed out"
                )
                if self._finds_a_lost_place():
                    continue
                if self._looked_lost:
                    seconds_left = min(seconds_left, _SOON)
            else:
                if self._opens(wait):
                    return self.record
                self.give_up()
                seconds_left = wait.pause()
            try:
                self.record, self.place = pool._pool.get(True, seconds_left), True
            except Empty:
                continue
            if self.record.dbapi_connection is not None:
                return self.record

    def _opens(self, wait: Wait) -> bool:
        try:
            if not wait.may_connect():
                return False
            if self.record is None:
                self.record = self.pool._create_connection()
            else:
                self.record.get_connection()
            return True
        except Exception as error:
            if not wait.is_worth_another_try(error):
                raise
            return False

    def _finds_a_lost_place(self) -> bool:
        """Look for places that nobody has, when there is none: twice, for one may just be changing hands."""
        lost = self.pool._holdfast_lost_places()
        found, self._looked_lost = min(lost, self._looked_lost), max(lost, 0)
        if found > 0:
            self._looked_lost = 0
            self.pool._holdfast_find_places(found)
        return found > 0


def make_wait(
    engine: Engine, connector: Connector, keeps: Callable[[Any], bool], of: Callable[[], Engine | None]
) -> None:
    """Make the checkouts of an engine's ``QueuePool`` wait, and its returned connections be given back.

    A pool of another kind, and one with a ``_do_get`` of its own, is left as it is.

    :param keeps: says whether a driver's connection that was returned may stay open.
    :param of: returns the engine, if it still exists.
    """
    let_nest(engine)
    cls = type(engine.pool)
    if not issubclass(cls, QueuePool) or cls._do_get is not QueuePool._do_get or cls._is_asyncio:
        return
    own = {
        "_holdfast": connector,
        "_holdfast_keeps": staticmethod(keeps),
        "_holdfast_engine": staticmethod(of),
        "__module__": cls.__module__,
    }
    pool: Any = engine.pool
    pool.__class__ = type(cls.__name__, (WaitingQueuePool, cls), own)  # recreate() keeps the class
    pool._holdfast_prepare()


def reset_style(engine: Engine) -> ResetStyle | None:
    """Say what a pool does to each connection that is returned (``pool_reset_on_return``)."""
    return engine.pool._reset_on_return


def timeout(engine: Engine) -> float | None:
    """Return a pool's ``pool_timeout`` in seconds, or ``None`` where a pool has no such thing."""
    return seconds(engine.pool.timeout()) if isinstance(engine.pool, QueuePool) else None


def let_nest(engine: Engine) -> None:
    """Let a thread that is making its pool's first connection make another one, in a signal's handler or a listener.

    SQLAlchemy lets one thread make the first one, with a mutex for which the handler would wait for ever: its own
    thread has it.
    """
    dispatch = engine.pool.dispatch
    for listeners in (dispatch.connect, dispatch.first_connect):
        listeners.for_modify(dispatch)._exec_once_mutex = threading.RLock()  # type: ignore[attr-defined]


def is_first_listener(engine: Engine, listener: Callable[..., Any]) -> bool:
    """Say whether nobody listens to an engine's connecting before this listener to its pool's ``connect``."""
    # Copies that are made in one step: another thread may be adding a listener.
    return not list(engine.dialect.dispatch.do_connect) and list(engine.pool.dispatch.connect)[:1] == [listener]


def on_dispose(engine: Engine, listener: Callable[[Engine], object]) -> None:
    """Listen to an engine's ``dispose()``.

    SQLAlchemy takes any listener to an engine for a reason to call all of them at each statement; not this one.
    """
    before = vars(engine).get("_has_events")
    event.listen(engine, "engine_disposed", listener)
    if before is None:  # the class's: somebody may yet listen to all engines
        vars(engine).pop("_has_events", None)
    else:
        engine._has_events = before


def drop_idle(known: Registry[Any], but: object) -> None:
    """Drop what pools keep that their engine has no longer, so that it is not kept until the garbage collector comes.

    :param known: pools of one engine.
    :param but: the pool that the engine has.
    """
    for pool in known:
        while pool is not but and pool.holdfast_idle():
            try:
                pool._pool.get(False)
            except Empty:
                break
            pool._dec_overflow()


class _KeepsNothing(Queue[Any]):
    """A queue that is always full and always empty: the pool closes what is returned to it."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        raise Full


def renew(engine: Engine) -> None:
    """Give an engine a new, empty pool, without waiting for a lock and without closing anything properly.

    Its connections must have been left to the parent before: here the idle ones are dropped. As ``dispose()`` does,
    but for the listeners (:func:`tell_disposed`).
    """
    old = engine.pool
    if isinstance(old, QueuePool):
        old._overflow_lock = threading.Lock()
        old._pool = _KeepsNothing(old._pool.maxsize, old._pool.use_lifo)  # the new pool takes both from there
    engine.pool = old.recreate()
    let_nest(engine)


def forget_if_idle(entry: Callable[[], Any] | None) -> None:
    """Let a pool's record forget an inherited connection, if nobody has it checked out.

    Left to the collector of garbage, Python would warn of a socket that was not closed.

    :param entry: returns the :class:`sqlalchemy.pool.ConnectionPoolEntry`, if it still exists.
    """
    record = entry() if entry is not None else None
    if record is not None and not record.in_use:
        record.dbapi_connection = None


def tell_disposed(engine: Engine) -> None:
    """Tell those who listen to ``engine_disposed`` of the new pool."""
    engine.dispatch.engine_disposed(engine)


def initialise_again(engine: Engine) -> None:
    """Make the next connection the engine's first, if another thread of the parent's was about to make that one.

    SQLAlchemy asks the first connection for the server's version and more, and remembers that it has begun to.
    """
    for listener in list(engine.pool.dispatch.connect):
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


def most_connections(pool: object) -> int | None:
    """Return how many connections a pool can have at once (``pool_size`` and ``max_overflow`` together), or ``None``
    where it has no such limit."""
    if not isinstance(pool, QueuePool) or pool._max_overflow < 0:
        return None
    return pool.size() + pool._max_overflow


def recycles_after(pool: Pool) -> float | None:
    """Return a pool's ``pool_recycle`` in seconds, or ``None`` where it is off."""
    return pool._recycle if pool._recycle >= 0 else None


def pings(pool: Pool) -> bool:
    """Say whether a pool makes a round trip at every checkout (``pool_pre_ping``)."""
    return bool(pool._pre_ping)
