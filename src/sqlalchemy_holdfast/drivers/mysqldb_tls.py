"""mysqlclient's TLS: what ``holdfast_tls`` means to it, and what its C library tells of a connection.

The two libraries differ. Measured with libmariadb 3.3 and 3.4: ``ssl_mode`` REQUIRED, with or without ``ssl_ca``, is no
requirement, and it goes on in clear to a server without TLS; a certificate is verified when an authority is named,
without the host's name; VERIFY_CA verifies the name as well, but 3.4 does so for other machines than this one alone.
libmysqlclient (9.7) does what its modes say.

mysqlclient has no call for what a connection has. The library has: its functions are called through the pointer that
mysqlclient hands out (``_get_native_connection``). Where a library does not export them, it is not known.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from MySQLdb import _mysql

from ..server.tls import SYSTEM, Encryption, Policy, Verified
from .python_tls import system_bundle
from .tls_words import without

__all__ = ["ASKED", "encryption", "named_authority", "translated"]

_VERIFY_SERVER_CERT, _SSL_CA, _SSL_CAPATH = 21, 27, 28
"""``enum mysql_option`` of MariaDB Connector/C, whose numbers do not change: MYSQL_OPT_SSL_..."""
_HOST, _TLS_VERSION, _VERIFY_STATUS = 10, 23, 37
"""``enum mariadb_value``: MARIADB_CONNECTION_HOST, MARIADB_CONNECTION_TLS_VERSION, MARIADB_TLS_VERIFY_STATUS."""
_ONLY_THE_NAME = 0x02
"""MARIADB_TLS_VERIFY_HOST, a bit of that status."""
_LOCAL = ("", "localhost", "127.0.0.1", "::1")
"""Hosts whose name MariaDB Connector/C 3.4 does not look for in a certificate, whatever it was asked for."""
ASKED = "holdfast_tls"
"""The attribute of a connection that has the mode that its library was asked for."""


def translated(policy: Policy, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say in mysqlclient's words what ``holdfast_tls`` asks for."""
    mode = policy.mode
    rest, own = without(arguments)
    library = _library()
    is_mariadb = library is None or hasattr(library, "mariadb_get_info")
    if mode == "off":
        return {**rest, "ssl_mode": "DISABLED"}
    ca = policy.ca if policy.ca != SYSTEM else system_bundle()
    if ca:
        own["ca"] = ca
    words = {
        # To libmariadb, REQUIRED means: when the server has it.
        "preferred": "REQUIRED" if is_mariadb else "PREFERRED",
        "required": "REQUIRED",
        # To libmariadb, an authority is enough for the certificate to be verified, and VERIFY_CA is VERIFY_IDENTITY.
        "verify-ca": "REQUIRED" if is_mariadb else "VERIFY_CA",
        "verify-identity": "VERIFY_IDENTITY",
    }
    rest["ssl_mode"] = words[mode or ""]
    return {**rest, "ssl": own} if own else rest


def encryption(connection: Any, *, unix_socket: bool) -> Encryption:
    """Say what a connection has of TLS, as far as the library tells. Nothing is sent."""
    library, asked = _library(), getattr(connection, ASKED, None)
    if library is None:
        return Encryption("TLS" if asked in ("verify-ca", "verify-identity") else "", "", None, None, unix_socket)
    pointer = _pointer(connection)
    cipher = (library.mysql_get_ssl_cipher(pointer) or b"").decode()
    if not cipher:
        return Encryption(unix_socket=unix_socket)
    version = _text(library.mariadb_get_info, pointer, _TLS_VERSION) if hasattr(library, "mariadb_get_info") else ""
    return Encryption(
        version or ("TLSv1.3" if cipher.startswith("TLS_") else "TLS"),
        cipher,
        _verified(library, pointer, asked),
        unix_socket=unix_socket,
    )


def named_authority(connection: Any) -> str | None:
    """Return the file of the authorities that libmariadb was given, or ``None`` when there is none, or it is not
    known."""
    library = _library()
    if library is None or not hasattr(library, "mariadb_get_info"):
        return None
    return _text(library.mysql_get_option, _pointer(connection), _SSL_CA) or None


def _verified(library: Any, pointer: ctypes.c_void_p, asked: str | None) -> Verified | None:
    if not hasattr(library, "mariadb_get_info"):  # libmysqlclient keeps to the mode, and does not tell it
        return {
            "required": Verified.NOTHING, "preferred": Verified.NOTHING, "verify-ca": Verified.AUTHORITY,
            "verify-identity": Verified.IDENTITY,
        }.get(asked or "")  # fmt: skip
    verifies, status = ctypes.c_byte(0), ctypes.c_uint(0)
    library.mysql_get_option(pointer, _VERIFY_SERVER_CERT, ctypes.byref(verifies))
    is_new = library.mariadb_get_info(pointer, _VERIFY_STATUS, ctypes.byref(status)) == 0  # 3.4 and later
    if status.value & ~_ONLY_THE_NAME:  # it may have let the password vouch for the server
        return Verified.NOTHING
    if verifies.value:
        local = is_new and _text(library.mariadb_get_info, pointer, _HOST) in _LOCAL
        return Verified.AUTHORITY if local or status.value else Verified.IDENTITY
    named = any(_text(library.mysql_get_option, pointer, option) for option in (_SSL_CA, _SSL_CAPATH))
    return Verified.AUTHORITY if named else Verified.NOTHING


def _text(ask: Any, pointer: ctypes.c_void_p, what: int) -> str:
    found = ctypes.c_char_p()
    ask(pointer, what, ctypes.byref(found))
    return (found.value or b"").decode()


def _pointer(connection: Any) -> ctypes.c_void_p:
    """Return the address of the library's own ``MYSQL``."""
    capsule = connection._get_native_connection()
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_void_p(pointer(capsule, name(capsule)))


@functools.cache
def _library() -> Any:
    """Return the C library that mysqlclient runs on, or ``None`` where it does not export what is needed."""
    try:
        library = ctypes.CDLL(_mysql.__file__)
        library.mysql_get_ssl_cipher.restype = ctypes.c_char_p
        library.mysql_get_ssl_cipher.argtypes = [ctypes.c_void_p]
        for name in ("mariadb_get_info", "mysql_get_option"):
            if hasattr(library, name):
                getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    except (AttributeError, OSError):
        return None
    return library if hasattr(_mysql.connection, "_get_native_connection") else None
