"""The errors holdfast itself raises.

::

    HoldfastError
    ├── SettingError      (also sqlalchemy.exc.ArgumentError)   a holdfast_* setting is wrong
    ├── DatabaseURLError  (also sqlalchemy.exc.ArgumentError)   a database URL cannot be what was meant
    └── DriverNotInstalled (also ModuleNotFoundError)           the URL names a driver that is not there

They are raised while an engine is being created or a URL built, never from a request. What goes wrong later reaches
the application as the driver's and SQLAlchemy's own exceptions, type unchanged.
"""

from __future__ import annotations

from sqlalchemy import exc

__all__ = ["DatabaseURLError", "DriverNotInstalled", "HoldfastError", "SettingError"]


class HoldfastError(Exception):
    """Base of every error that holdfast raises on its own account."""


class SettingError(HoldfastError, exc.ArgumentError):
    """Raised when a ``holdfast_*`` setting is unknown, malformed, out of range or contradicts another."""


class DatabaseURLError(HoldfastError, exc.ArgumentError):
    """Raised when a database URL cannot mean what its author meant, as with an unescaped password."""


class DriverNotInstalled(HoldfastError, ModuleNotFoundError):
    """Raised when the URL names a driver that cannot be imported; the message names what to install."""
