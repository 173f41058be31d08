"""Database URLs that cannot mean what their author meant.

No message here ever repeats a part of the URL that may hold a piece of the password.
"""

from __future__ import annotations

import re

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from .errors import DatabaseURLError
from .settings import PREFIX

__all__ = ["ESCAPING", "check", "parse"]

ESCAPING = (
    "In a URL, each of @ : / ? # % in a user name or password must be written as %40 %3A %2F %3F %23 %25: "
    "urllib.parse.quote(password, safe='') does it, and sqlalchemy.URL.create(drivername, username, password, host, "
    "...) takes the password as it is."
)
"""How to write a password in a URL."""


def parse(text: str) -> URL:
    """Parse a database URL given as text.

    :raises DatabaseURLError: when it cannot be parsed, or when what follows its ``?`` shows that the password was not
        escaped.
    """
    query = text.partition("://")[2].partition("@")[2].partition("?")[2]
    if re.search(r"(^|&)[^=&]*@", query):  # SQLAlchemy drops a key without a value: nothing would be left to see
        raise DatabaseURLError(f"The database URL has an @ behind its ?, as an unescaped password has. {ESCAPING}")
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        pass
    # Raised here, not above: the error's text may repeat the URL, and __context__ would keep it.
    raise DatabaseURLError(
        "The database URL cannot be parsed; it should look like "
        f"mysql+mysqldb://user:password@host:3306/database. {ESCAPING}"
    )


def check(url: URL, *, ours: bool) -> None:
    """Refuse a parsed URL that cannot mean what was meant.

    :param url: the URL as SQLAlchemy parsed it.
    :param ours: whether it is for MySQL or MariaDB.
    :raises DatabaseURLError: when the password was not escaped, or when ``holdfast_*`` settings stand in the URL of
        another database, where they can have no effect.
    """
    if not ours:
        mine = [key for key in url.query if key.startswith(PREFIX)]
        if mine:
            raise DatabaseURLError(
                f"{', '.join(mine)} in the URL of a {url.get_backend_name()} database can have no effect: holdfast "
                "holds MySQL and MariaDB connections. Remove it from the URL; given to create_engine as a keyword "
                "argument it is ignored for other databases."
            )
        return
    host, database = url.host or "", url.database or ""
    # A database may have an @ in its name; with a / as well it is the rest of a password, and a host.
    if "@" in host or ("@" in database and "/" in database) or re.search(r"[@/?:]", "".join(url.query)):
        raise DatabaseURLError(
            "The host or database part of the URL has a character that belongs to the user name or password. "
            + ESCAPING
        )
