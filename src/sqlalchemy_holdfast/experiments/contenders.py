"""Who is compared with whom: ways to make an engine, and the drivers to make it with."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine
from sqlalchemy.pool import NullPool

from sqlalchemy_holdfast import drivers

__all__ = [
    "CONTENDERS",
    "HOLDFAST",
    "NULL_POOL",
    "PRE_PING",
    "STOCK",
    "Contender",
    "installed_drivers",
    "missing_drivers",
]

_making = threading.Lock()


@dataclass(frozen=True)
class Contender:
    """One way to make an engine."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``create_engine``."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What is added to the URL."""

    def url(self, url: URL) -> URL:
        """Return the URL as this contender writes it."""
        if url.get_driver_name() == "mysqlconnector":  # its C extension is not on every machine; its Python is
            url = url.update_query_dict({"use_pure": "1"})
        return url.update_query_dict(self.query)

    def engine(self, url: URL, **more: Any) -> Engine:
        """Make an engine; the caller disposes of it."""
        with _making:  # a driver's first import in two threads at once is asking for trouble
            return sqlalchemy.create_engine(self.url(url), **{**self.options, **more})


STOCK = Contender("stock")
PRE_PING = Contender("pool_pre_ping", {"pool_pre_ping": True})
NULL_POOL = Contender("NullPool", {"poolclass": NullPool})
HOLDFAST = Contender("holdfast", query={"plugin": "holdfast"})
CONTENDERS = (STOCK, PRE_PING, NULL_POOL, HOLDFAST)


def installed_drivers() -> list[str]:
    """Return the drivers that can be used here, as URLs name them."""
    return list(dict.fromkeys(d.url_name for d in drivers.DRIVERS if drivers.is_installed(d)))


def missing_drivers() -> dict[str, str]:
    """Return the drivers that are not installed, each with what to install."""
    return {d.url_name: f"pip install {d.distribution}" for d in drivers.DRIVERS if not drivers.is_installed(d)}
