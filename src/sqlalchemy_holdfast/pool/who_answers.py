"""What the hints about errors while connecting are told of a place: what its URL says, and what is there.

A port may be that of another program, and some of these speak before anything was said to them (SSH, mail, FTP).

Nothing is sent to find out. It is asked only when a handshake has failed, and at most once a minute.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable

from sqlalchemy.engine import URL

from .. import drivers
from ..drivers.patience import greeting_limit
from ..server.hints import Place

__all__ = ["WhoAnswers", "place_of"]

_SECONDS = 1.0
"""How long to connect, and how long to listen."""
_AGAIN = 60.0
"""Seconds after which it is asked anew."""
_X_PROTOCOL = b"\x0b\x08\x05"
"""What MySQL's X protocol greets with, behind its length: a notice."""


_DEFAULT_PORT = 3306


def place_of(url: URL, driver: drivers.Driver | None, tries_for: float = 0.0) -> Place:
    """Return what a URL says of the place it leads to, without its password.

    :param tries_for: for how many seconds it is tried again when nothing answers.
    """
    by_socket = "unix_socket" in url.query
    host = "" if by_socket else url.host or "localhost"
    port = url.port or _DEFAULT_PORT
    password = "" if url.password is None else str(url.password)
    return Place(
        driver=driver.distribution if driver is not None else "",
        host=host,
        port=port,
        socket=str(url.query.get("unix_socket", "")),
        is_localhost=(url.host or "localhost") == "localhost",
        one_attempt=greeting_limit(driver, url.query),
        tries_for=tries_for,
        database=url.database or "",
        has_user=bool(url.username),
        has_password=bool(password),
        needs_escaping=re.search("[@:/?#%]", password) is not None,
        asks_for_tls=_asks_for_tls(url),
        who_answers=WhoAnswers(host, port) if host else str,
    )


def _asks_for_tls(url: URL) -> bool:
    """Say whether the URL wants TLS or nothing, in holdfast's words or the driver's."""
    query = {key: str(value).lower() for key, value in url.query.items()}
    strict = ("required", "verify")
    return (
        query.get("holdfast_tls", "").startswith(strict)
        or query.get("ssl_mode", "").startswith(strict)
        or any(key.startswith("ssl") and key not in ("ssl_mode", "ssl_disabled") for key in query)
    )


class WhoAnswers:
    """Asks who answers at a place.

    :param clock: monotonic time; another one in tests.
    """

    def __init__(self, host: str, port: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = host, port
        self._clock = clock
        self._known: tuple[float, str] | None = None

    def __call__(self) -> str:
        """Say what is there, by its first words; nothing when it is silent, or a MySQL server after all."""
        now = self._clock()
        if self._known is None or now - self._known[0] > _AGAIN:
            self._known = now, _readable(self._listen())
        return self._known[1]

    def _listen(self) -> bytes:
        try:
            with socket.create_connection(self._place, _SECONDS) as sock:
                return sock.recv(80)
        except OSError:
            return b""


def _readable(said: bytes) -> str:
    if said[4:7] == _X_PROTOCOL:
        return "is MySQL's X protocol"
    if said[3:4] in (b"\x00", b"\x01"):  # a MySQL packet's number: a greeting, or an error
        return ""
    found = re.match(rb"[ -~]{4,60}", said)
    if found is None:
        return ""
    return f"""begins with "{found[0].decode("ascii").strip().replace('"', "'")}\""""
