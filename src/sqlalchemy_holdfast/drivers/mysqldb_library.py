"""What mysqlclient's C library can do and mysqlclient has no method for: documented calls of its API, by ``ctypes``.

The library is the one that mysqlclient itself is linked to. Where it is linked in statically, as on Windows, its
calls are not to be found, and nothing is reset.
"""

from __future__ import annotations

import ctypes
from typing import Any

from MySQLdb import _mysql

__all__ = ["can_reset", "is_plain", "reset"]

_CAPSULE = b"_mysql.connection.native_connection"


def _call(name: str, result: Any) -> Any:
    try:
        call = ctypes.CDLL(_mysql.__file__)[name]
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = [ctypes.c_void_p], result
    return call


_reset = _call("mysql_reset_connection", ctypes.c_int)
_cipher = _call("mysql_get_ssl_cipher", ctypes.c_char_p)
_pointer: Any = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


def can_reset() -> bool:
    """Say whether the library can reset a session."""
    return _reset is not None and _cipher is not None


def reset(connection: Any) -> int:
    """Reset the session of an open connection, and wait for the reply.

    :return: not 0 for an error, which the connection tells.
    """
    return int(_reset(_pointer(connection._get_native_connection(), _CAPSULE)))


def is_plain(connection: Any) -> bool:
    """Say whether an open connection is not encrypted. Nothing is sent."""
    return _cipher(_pointer(connection._get_native_connection(), _CAPSULE)) is None
