"""holdfast: SQLAlchemy + MySQL/MariaDB connections that hold.

Add ``?plugin=holdfast`` to the database URL, or call :func:`create_engine`. :func:`url` builds that URL.
"""

from __future__ import annotations

from ._version import __version__
from .counters import Cause, Counters
from .credentials import Password
from .errors import (
    BudgetUnavailable,
    CheckoutTimeout,
    CommitOutcomeUnknown,
    DatabaseURLError,
    DriverNotInstalled,
    HoldfastError,
    PasswordUnavailable,
    ServerAway,
    SettingError,
    TLSError,
    TooManyWaiting,
)
from .plugin import create_engine
from .pool.status import EngineStatus, status
from .server.limits import Limits
from .server.tls import Encryption
from .settings import SETTINGS, Setting, Settings
from .transactions import run, transactional
from .urls import url

__all__ = [
    "SETTINGS",
    "BudgetUnavailable",
    "Cause",
    "CheckoutTimeout",
    "CommitOutcomeUnknown",
    "Counters",
    "DatabaseURLError",
    "DriverNotInstalled",
    "Encryption",
    "EngineStatus",
    "HoldfastError",
    "Limits",
    "Password",
    "PasswordUnavailable",
    "ServerAway",
    "Setting",
    "SettingError",
    "Settings",
    "TLSError",
    "TooManyWaiting",
    "__version__",
    "create_engine",
    "run",
    "status",
    "transactional",
    "url",
]
