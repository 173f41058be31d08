"""The errors that holdfast itself raises.

::

    HoldfastError
    ├── SettingError      (also sqlalchemy.exc.ArgumentError)   a holdfast_* setting is wrong
    ├── DatabaseURLError  (also sqlalchemy.exc.ArgumentError)   a database URL is almost certainly a mistake
    ├── DriverNotInstalled (also ModuleNotFoundError)           the URL names a driver that is not there
    ├── TLSError          (also sqlalchemy.exc.SQLAlchemyError) a connection is not what holdfast_tls asks for
    ├── BudgetUnavailable                                       no safe place for the file that processes share
    ├── PasswordUnavailable (also sqlalchemy.exc.SQLAlchemyError)  the password's source gives none
    ├── CommitOutcomeUnknown (also sqlalchemy.exc.DBAPIError)   a transaction may or may not have been committed
    ├── ServerAway        (also sqlalchemy.exc.OperationalError) the server is away, and others wait for it already
    └── CheckoutTimeout   (also sqlalchemy.exc.TimeoutError)    no connection became free in time
        └── TooManyWaiting                                      too many threads were waiting for one already

The first three are raised when an engine is created or a URL is built. When something goes wrong on a connection, the
application gets the driver's and SQLAlchemy's own exceptions, type unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import exc

from ._pages import page

__all__ = [
    "BudgetUnavailable",
    "CheckoutTimeout",
    "CommitOutcomeUnknown",
    "DatabaseURLError",
    "DriverNotInstalled",
    "HoldfastError",
    "PasswordUnavailable",
    "ServerAway",
    "SettingError",
    "TLSError",
    "TooManyWaiting",
]


_PAUSE = "holdfast_pause"


def note_connecting(error: BaseException, pause: Callable[[Callable[[], bool]], bool]) -> None:
    """Note on an error that it was raised while connecting.

    :param pause: pauses before another try, or returns false when this thread is not to wait.
    """
    setattr(error, _PAUSE, pause)


def raised_connecting(error: BaseException) -> Callable[[Callable[[], bool]], bool] | None:
    """Return what :func:`note_connecting` noted, or ``None`` for any other error."""
    return getattr(error, _PAUSE, None)


class HoldfastError(Exception):
    """Base of all errors that holdfast itself raises."""


class SettingError(HoldfastError, exc.ArgumentError):
    """Raised when a ``holdfast_*`` setting is unknown, malformed, out of range or contradicts another.

    :param message: what is wrong. The address of the page about it is put behind.
    """

    def __init__(self, message: str, *rest: Any, **more: Any) -> None:
        address = page("errors/setting-error")
        if not message.endswith(address):  # when it is unpickled, it does
            message = f"{message} {address}"
        super().__init__(message, *rest, **more)


class DatabaseURLError(HoldfastError, exc.ArgumentError):
    """Raised when a database URL is almost certainly a mistake, for example with a password that is not escaped."""


class DriverNotInstalled(HoldfastError, ModuleNotFoundError):
    """Raised when the URL names a driver that cannot be imported. The message names what to install."""


class CheckoutTimeout(HoldfastError, exc.TimeoutError):
    """Raised when no connection became free within ``pool_timeout``. Its text names who holds the connections.

    The attributes are for programs. The text says the same in words.
    """

    engine_key: str | None = None
    """Which engine it was: the ``engine_key`` of that engine's :func:`~.status`. ``None`` when it is not known.

    Each engine has its own key, also two engines with one URL. A parent process and its children have the same key for
    an engine. The key stays the same when the error is pickled.
    """
    account_full: bool = False
    """Whether all connections that the server allows the account were taken, and no setting of the pool was the reason.
    If so, another try may succeed when somebody returns a connection."""
    retry_after: int = 5
    """After how many seconds another try is worth it, for ``Retry-After``."""


class TooManyWaiting(CheckoutTimeout):
    """Raised at once when ``holdfast_max_waiting`` threads of this process are already waiting for a connection."""


class TLSError(HoldfastError, exc.SQLAlchemyError):
    """Raised when a new connection has not what ``holdfast_tls`` asks for. The connection was closed before it was
    used, and holdfast does not try again.

    It is not a ``DBAPIError``: the driver has found nothing wrong. What the driver itself refuses, such as a
    certificate, is the driver's own error.
    """


class ServerAway(HoldfastError, exc.OperationalError):
    """Raised when nothing answers at the server's address, and ``holdfast_max_waiting_for_server`` threads of
    this process wait for it already.

    It is an ``sqlalchemy.exc.OperationalError``, as the error is that a thread which has waited in vain gets
    (2002, 2003). Its ``orig`` is that error of the driver's, when this thread has asked the server itself; else a
    :class:`ConnectionError`.
    """

    code = ""  # SQLAlchemy's page on errors of drivers is no help here
    retry_after: int
    """After how many seconds another try is worth it, for ``Retry-After``: as long as the server has been away until
    now, but 1 at least and 30 at most."""
    away_for: float
    """For how many seconds the server has been away, as far as this process knows."""

    def __init__(self, message: str, orig: BaseException, away_for: float = 0.0) -> None:
        exc.StatementError.__init__(self, message, None, None, orig)
        self.connection_invalidated = False
        self.away_for = away_for
        self.retry_after = max(1, min(30, math.ceil(away_for)))

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self.orig, self.away_for), {"detail": self.detail}


class BudgetUnavailable(HoldfastError):
    """Raised when the processes of this user cannot share their connections. The message says why and what to do."""


class PasswordUnavailable(HoldfastError, exc.SQLAlchemyError):
    """Raised when a connection is to be opened and ``holdfast_password``, ``holdfast_password_file`` or
    ``holdfast_password_command`` gives no password. The message names the setting, and says why and what to do."""

    code = ""  # SQLAlchemy has no page on it


class CommitOutcomeUnknown(HoldfastError, exc.DBAPIError):
    """Raised when the reply to COMMIT was lost: :func:`~.run` cannot tell whether the transaction was committed.

    It is not an ``OperationalError``: code that catches those and does its work again does not catch this one.
    """

    code = ""  # SQLAlchemy's page on errors of drivers is no help here
    token: str | None
    """What the transaction wrote into ``holdfast_commits``, in hexadecimal, or ``None`` without ``verify``."""

    def __init__(self, message: str, orig: BaseException, token: str | None = None) -> None:
        exc.StatementError.__init__(self, message, None, None, orig)
        # Not "connection_invalidated", though it is: that invites to do it again.
        self.token = token

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self.orig, self.token), {"detail": self.detail}
