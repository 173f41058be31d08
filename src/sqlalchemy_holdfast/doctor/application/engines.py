"""What is known of one engine, from the engine itself: for a watched application and for one that runs here."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from ... import drivers
from ...pool.queue_pool import most_connections, pings, recycles_after
from ...pool.status import describe as where
from ...pool.status import status
from .facts import EngineFacts, OpenConnection, Place, PoolFacts

__all__ = ["account", "bound_engines", "describe", "pool_of", "pool_of_options", "wrapped_by"]

_OURS = ("mysql", "mariadb")
_PORT = 3306
_LOCAL = ("localhost", "127.0.0.1", "::1", "")
_FLASK_RECYCLE = 7200
"""What Flask-SQLAlchemy sets ``pool_recycle`` to for MySQL by itself (3.0 and later, ``_apply_driver_defaults``)."""


def describe(
    engine: Engine,
    *,
    pool: PoolFacts,
    orm: bool,
    by_flask: bool = False,
    options: Mapping[str, Any] | None = None,
    made: Place | None = None,
    moment: str = "import",
    connects: int = 0,
    connections: tuple[OpenConnection, ...] = (),
) -> EngineFacts:
    """Describe an engine. Nothing is sent.

    :param options: the arguments that the engine was made with, as far as they are known.
    """
    found = status(engine)
    url, dialect = engine.url, engine.dialect
    dbapi: Any = getattr(dialect, "dbapi", None)
    ours = dialect.name in _OURS
    level = (options or {}).get("isolation_level") or engine.get_execution_options().get("isolation_level")
    driver = drivers.by_module(dbapi)
    return EngineFacts(
        where=where(engine),
        driver=f"{dialect.name}+{dialect.driver}",
        ours=ours,
        account=account(url) if ours else "",
        database=url.database or "",
        made=made,
        moment=moment,
        held=found.active,
        why_not=found.reason,
        switched_off=not found.settings.enabled,
        asyncio=bool(dialect.is_async),
        pool=pool,
        recycle_by_flask=by_flask and pool.recycle == _FLASK_RECYCLE,
        by_flask=by_flask,
        echo=bool(engine.echo),
        autocommit=str(level or "").upper() == "AUTOCOMMIT",
        orm=orm,
        blocks_greenlets=driver is not None and driver.waits_in_c,
        wrapped_by=wrapped_by(dbapi),
        connects=connects,
        open=connections,
    )


def account(url: URL) -> str:
    """Name an account and its server, the same for every spelling of this machine."""
    host = "localhost" if (url.host or "") in _LOCAL else url.host
    return f"{url.username or ''}@{host}:{url.port or _PORT}"


def pool_of_options(kind: type[Any], arguments: Mapping[str, Any]) -> PoolFacts:
    """Describe a pool from its class and the arguments that it is made with."""
    queue = issubclass(kind, QueuePool)
    return PoolFacts(
        kind.__name__,
        size=arguments.get("pool_size", 5) if queue else None,
        max_overflow=arguments.get("max_overflow", 10) if queue else None,
        timeout=arguments.get("timeout", 30.0) if queue else None,
        recycle=_seconds_or_off(arguments.get("recycle")),
        pre_ping=bool(arguments.get("pre_ping")),
    )


def pool_of(engine: Engine) -> PoolFacts:
    """Describe a pool that exists."""
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return PoolFacts(_kind(type(pool)), pre_ping=pings(pool), recycle=_seconds_or_off(recycles_after(pool)))
    most = most_connections(pool)
    return PoolFacts(
        _kind(type(pool)),
        size=pool.size(),
        max_overflow=-1 if most is None else most - pool.size(),
        timeout=pool.timeout(),
        recycle=_seconds_or_off(recycles_after(pool)),
        pre_ping=pings(pool),
    )


def _seconds_or_off(recycle: float | None) -> int:
    """Return a ``pool_recycle``, -1 for off. With 0, every connection is made anew at its next checkout."""
    return -1 if recycle is None else int(recycle)


def _kind(pool: type[Any]) -> str:
    """Name a pool's class, and not the one that holdfast has made of it."""
    own = __name__.partition(".")[0]
    return next((one.__name__ for one in pool.__mro__ if not one.__module__.startswith(own)), pool.__name__)


def bound_engines() -> set[int]:
    """Return the ids of the engines that a ``sessionmaker`` or an open session of this process uses."""
    found: set[int] = set()
    for one in gc.get_objects():
        kind = type(one)
        if isinstance(kind, type) and issubclass(kind, (sessionmaker, Session)):
            bind = one.kw.get("bind") if isinstance(one, sessionmaker) else one.bind
            engine = getattr(bind, "engine", None)
            if engine is not None:
                found.add(id(engine.dialect))  # which an engine shares with its execution_options() copies
    return found


def wrapped_by(dbapi: Any) -> str:
    """Name the package that has wrapped a driver's ``connect``, as tracers do."""
    connect = getattr(dbapi, "connect", None)
    if connect is None or getattr(connect, "__wrapped__", None) is None:
        return ""
    own = getattr(dbapi, "__name__", "").partition(".")[0]
    wrapper = getattr(connect, "_self_wrapper", None)
    for one in (wrapper, getattr(wrapper, "__func__", None), connect, type(connect)):
        module = str(getattr(one, "__module__", "") or "").partition(".")
        if module[0] and module[0] not in (own, "wrapt", "functools", "builtins"):
            return module[0]
    return "another library"
