"""holdfast: SQLAlchemy + MySQL/MariaDB connections that hold.

Add ``?plugin=holdfast`` to the database URL, or call :func:`create_engine`. :func:`url` builds that URL.
"""

from __future__ import annotations

from ._version import __version__
from .counters import Cause, Counters
from .errors import DatabaseURLError, DriverNotInstalled, HoldfastError, SettingError
from .hold import Hold, of
from .plugin import create_engine
from .settings import SETTINGS, Setting, Settings
from .urls import url

__all__ = [
    "SETTINGS",
    "Cause",
    "Counters",
    "DatabaseURLError",
    "DriverNotInstalled",
    "Hold",
    "HoldfastError",
    "Setting",
    "SettingError",
    "Settings",
    "__version__",
    "create_engine",
    "of",
    "url",
]
