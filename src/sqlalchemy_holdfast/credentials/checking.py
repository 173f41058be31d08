"""What may be a password, and the error for what may not. No text here has a password in it."""

from __future__ import annotations

from .._pages import page
from ..errors import PasswordUnavailable

__all__ = ["checked", "decoded", "unavailable"]


def unavailable(setting: str, happened: str, cure: str) -> PasswordUnavailable:
    """Make the error that says that there is no password to connect with.

    :param setting: the setting that says where it comes from.
    :param happened: what happened, in words that fit after a colon.
    :param cure: what to do about it, in sentences.
    """
    address = page("errors/password-unavailable")
    text = f"There is no password to connect with. {setting}: {happened}. {cure}"
    return PasswordUnavailable(f"{text} ({address})" if address else text)


def decoded(data: bytes, setting: str, what: str) -> str:
    """Return bytes as text.

    :param what: names the bytes in a message.
    :raises PasswordUnavailable: when they are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # its own text has a byte of the password
        pass
    raise unavailable(setting, f"{what} is not UTF-8", "Write the password there as UTF-8 text.")


def checked(text: str, setting: str, what: str) -> str:
    """Return a password without the newline at its end.

    :param what: names the text in a message.
    :raises PasswordUnavailable: when it has several lines, or a character that no driver can send.
    """
    password = text.rstrip("\r\n")
    if "\n" in password or "\r" in password:
        raise unavailable(setting, f"{what} has more than one line", "The password has to be the only line.")
    if "\0" in password:
        raise unavailable(setting, f"{what} has a NUL character in it", "No password of MySQL's has one.")
    return password
