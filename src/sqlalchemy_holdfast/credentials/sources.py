"""A password that a file has, or that the application's function returns: ``holdfast_password_file`` and
``holdfast_password``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from .._outside import raised_by_signal_handler, raised_inside
from .asking import sleep
from .checking import checked, decoded, unavailable
from .password import Password

__all__ = ["from_file", "from_function"]

_LONGEST = 64 * 1024
"""Bytes of a file that is taken for a password's. The longest tokens have some thousand."""
_LOOKS, _BETWEEN_LOOKS = 5, 0.05
"""How often a file is looked at that is empty or not there, and how many seconds later again: it may be at this moment
that it is replaced."""
_FILE, _FUNCTION = "holdfast_password_file", "holdfast_password"
_IS_MOUNTED = "Is the path right, and is the secret mounted or written here?"


def from_file(path: str) -> Password:
    """Read a file and return what it has.

    :raises PasswordUnavailable: when it is missing, unreadable or empty, or has what cannot be a password.
    """
    for look in range(_LOOKS):
        if look:
            sleep(_BETWEEN_LOOKS)
        last = look == _LOOKS - 1
        try:
            data = _read(path)
        except FileNotFoundError as error:
            if not raised_inside(error, _read):
                raise
            if last:
                raise unavailable(_FILE, f"there is no file {path}", _IS_MOUNTED) from None
            continue
        except OSError as error:
            if not raised_inside(error, _read):
                raise
            raise unavailable(
                _FILE,
                f"the file {path} could not be read: {error.strerror or type(error).__name__}",
                "May the user of this process read it?",
            ) from None
        if data is None:
            raise unavailable(_FILE, f"{path} is not a file", "It has to be a file with the password and nothing else.")
        if len(data) > _LONGEST:
            raise unavailable(
                _FILE,
                f"the file {path} is larger than {_LONGEST} bytes",
                "It has to be a file with the password and nothing else.",
            )
        if data.strip(b"\r\n"):
            return Password(checked(decoded(data, _FILE, f"the file {path}"), _FILE, f"the file {path}"))
    raise unavailable(_FILE, f"the file {path} is empty", "Is the secret written yet?")


def _read(path: str) -> bytes | None:
    # Not blocking: to open a pipe would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        found = b""
        while len(found) <= _LONGEST and (part := os.read(descriptor, _LONGEST + 1)):
            found += part
        return found
    finally:
        os.close(descriptor)


def from_function(function: Callable[[], Any]) -> Password:
    """Call the application's function and return what it returns.

    :raises PasswordUnavailable: when it raises an error, or returns what is no password.
    """
    name = f"the function {_name(function)}"
    try:
        returned = function()
    except Exception as error:
        if raised_by_signal_handler(error):  # a task's time limit: the program's own doing
            raise
        raise unavailable(
            _FUNCTION,
            f"{name} raised {type(error).__name__}, which is shown above this error",
            "The application has to correct that: holdfast only calls the function.",
        ) from error
    password = returned if isinstance(returned, Password) else Password(returned)
    value, life = password.value, password.expires_in
    if not isinstance(value, str):
        kind = "None" if value is None else f"an object of type {type(value).__name__}"
        raise unavailable(
            _FUNCTION,
            f"{name} returned {kind}",
            "It has to return the password as a str, or as a sqlalchemy_holdfast.Password with the time for which it "
            "is valid.",
        )
    if life is not None and (isinstance(life, bool) or not isinstance(life, (int, float)) or life != life):
        raise unavailable(
            _FUNCTION,
            f"{name} returned a Password whose expires_in is not a number",
            "It is the number of seconds for which the password is valid from now on, or None.",
        )
    value = checked(value, _FUNCTION, f"what {name} returned")
    if not value:
        raise unavailable(_FUNCTION, f"{name} returned an empty password", "It has to return the password.")
    return Password(value, life)


def _name(function: Callable[[], Any]) -> str:
    """Name a function, without what it was given: an argument of a partial() may be a secret."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__qualname__", None) or type(inner).__qualname__)
