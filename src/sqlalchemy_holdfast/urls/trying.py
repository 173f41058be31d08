"""Try a URL: connect once, and say who answered or why not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from .. import drivers
from ..drivers.options import refuses
from ..errors import HoldfastError
from .checking import is_ours

__all__ = ["Answered", "Attempt", "attempt"]

_CONNECT_SECONDS = 10
_FULL_SECONDS = 1
"""Seconds to wait when the account, or the server, has no connection left."""
_WHO = text("SELECT VERSION(), CURRENT_USER(), DATABASE(), @@SESSION.wait_timeout")


@dataclass(frozen=True)
class Answered:
    """What a MySQL or MariaDB server said of a new connection."""

    version: str
    account: str
    """As the server sees it: "user@host"."""
    database: str | None
    idle_limit_seconds: int
    """After how long without a statement it closes the connection."""


@dataclass(frozen=True)
class Attempt:
    """What came of an attempt to connect."""

    problem: str = ""
    """Why it failed, in a sentence; empty when it did not."""
    hints: tuple[str, ...] = ()
    """What holdfast knows about that error, a sentence or two each."""
    server: Answered | None = None
    """Who answered. None after a failure, and where the database is not MySQL or MariaDB."""


def attempt(url: URL, create_engine: Callable[..., Engine]) -> Attempt:
    """Connect once, and wait for nothing but the connection.

    It takes 10 seconds at most, unless the URL says how long, or nobody knows how its driver calls that.

    :param url: what to try.
    :param create_engine: makes the engine: :func:`sqlalchemy_holdfast.create_engine`, which knows the hints.
    """
    try:
        if url.get_dialect().is_async:
            return Attempt(f"The URL was not tried: {url.drivername} is an asyncio driver, which this cannot use.")
        once = url.difference_update_query(["holdfast_wait_for_server"])
        engine = create_engine(
            once,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=_FULL_SECONDS,
            connect_args=_patience(url),
            holdfast_wait_for_server=None,
        )
        try:
            with engine.connect() as connection:
                if not is_ours(url):
                    return Attempt()
                row = connection.execute(_WHO).one()
        finally:
            engine.dispose()
    except DBAPIError as error:
        return Attempt(f"The connection failed: {error.orig}", tuple(error.detail))
    except (RuntimeError, struct.error) as error:  # PyMySQL's own, while connecting
        return Attempt(f"The connection failed: {error}")
    except HoldfastError as error:
        return Attempt(str(error))
    except ImportError as error:
        return Attempt(f"What the URL's driver needs is not installed: {error}.")
    except SQLAlchemyError as error:
        return Attempt(f"SQLAlchemy refuses the URL: {error}")
    except Exception as error:  # what drivers say to a part of the query that they cannot use has no common type
        return Attempt(f"The driver could not use the URL: {type(error).__name__}: {error}")
    version, account, database, idle = row
    return Attempt(server=Answered(version, account, database, int(idle)))


def _patience(url: URL) -> dict[str, Any]:
    """Return what keeps an attempt short, unless the URL says how long, or nobody knows how its driver calls it."""
    driver = drivers.by_url_name(url.get_driver_name())
    if driver is None or "connect_timeout" in url.query or not drivers.is_installed(driver):
        return {}
    limits = dict.fromkeys(("connect_timeout", "read_timeout"), _CONNECT_SECONDS)  # the greeting is read as well
    return {name: limit for name, limit in limits.items() if refuses(driver, name, limit) is None}
