"""What a run ran on. A result means little without it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

from sqlalchemy_holdfast import __version__, drivers
from sqlalchemy_holdfast.lab import Server

__all__ = ["Surroundings", "look_around"]

_FLAVOURS = {"mariadb": "MariaDB", "mysql": "MySQL"}


@dataclass(frozen=True)
class Surroundings:
    """Versions and the like, ready to be printed."""

    holdfast: str
    server: str
    drivers: dict[str, str]
    """By the URL's name: distribution and version."""
    sqlalchemy: str
    python: str
    cores: int


def look_around(server: Server) -> Surroundings:
    """Ask everything for its version."""
    names: dict[str, str] = {}
    for driver in drivers.DRIVERS:
        if drivers.is_installed(driver):
            names[driver.url_name] = f"{driver.distribution} {metadata.version(driver.distribution)}"
    return Surroundings(
        holdfast=__version__,
        server=f"{_FLAVOURS[server.flavour]} {server.version}",
        drivers=names,
        sqlalchemy=metadata.version("SQLAlchemy"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )
