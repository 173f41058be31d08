"""The connection: a driver's object becomes a held one. One module a driver.

Nothing outside this package knows which driver it is. :mod:`~.connection` has the rules that hold for each of them,
:mod:`~.state` what is known of one connection, :mod:`~.registry` the drivers, :mod:`~.subclass` how an object is held.
"""

from __future__ import annotations

from .._outside import from_outside
from .commit_record import CommitRecord, CommitState
from .connection import HeldConnection
from .encryption import check_encryption
from .registry import (
    DRIVERS,
    Connect,
    Driver,
    by_module,
    by_url_name,
    errors_of,
    greeting,
    held_connection,
    hold_connection,
    is_installed,
    refuse_clear_text,
    state_of,
    wrap_connect,
)
from .resetting import end_of_connecting, reset
from .resetting import watch as watch_session
from .sockets import borrowed, can_look, set_socket_options
from .state import ConnectionState
from .subclass import unwrap
from .tls_words import conflicting

__all__ = [
    "DRIVERS",
    "CommitRecord",
    "CommitState",
    "Connect",
    "ConnectionState",
    "Driver",
    "HeldConnection",
    "borrowed",
    "by_module",
    "by_url_name",
    "can_look",
    "check_encryption",
    "conflicting",
    "end_of_connecting",
    "errors_of",
    "from_outside",
    "greeting",
    "held_connection",
    "hold_connection",
    "is_installed",
    "refuse_clear_text",
    "reset",
    "set_socket_options",
    "state_of",
    "unwrap",
    "watch_session",
    "wrap_connect",
]
