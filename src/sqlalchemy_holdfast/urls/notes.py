"""What may well be meant in a database URL, and often is not: notes, never a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from sqlalchemy.engine import URL

from .. import drivers
from . import providers
from .foreign import plain
from .words import ESCAPING, driver_names

__all__ = ["notes", "notes_on_text"]

_EXAMPLES = {
    "user name": re.compile(r"(db|database|my|mysql)?[_-]?user(name)?", re.I),
    "password": re.compile(r"(db|database|my|mysql)?[_-]?(password|passwd|pass|pwd)|secret", re.I),
    "host": re.compile(r"(my)?[_-]?(host|hostname|server)(name)?", re.I),
    "database": re.compile(r"(my)?[_-]?(db|database)[_-]?(name)?", re.I),
}
"""What stands in the examples of pages; each may be somebody's own."""
_SURELY = re.compile(
    r"your[_-]?\w+|\[[a-z_ -]+\]|change[_-]?(me|this|it)|placeholder|x{3,}|\.\.\.|(\w+\.)?example\.(com|org|net)", re.I
)
"""What hardly anybody calls anything."""


def notes_on_text(text: str) -> Iterator[str]:
    """What the text shows of a user name and password that SQLAlchemy reads, and others may read otherwise."""
    found = re.match(r"[\w+]+://([^:/]*)(?::([^@]*))?@", text)
    raw = "".join(part or "" for part in found.groups()) if found else ""
    if re.search(r"[:/?#\[\] ]|%(?![0-9A-Fa-f]{2})", raw):
        yield (
            "The user name or password has a character that should be escaped. SQLAlchemy reads it all the same; other "
            f"programs do not. {ESCAPING}"
        )
    if any(re.fullmatch(r"[A-Za-z0-9]", unquote(code)) for code in re.findall("%[0-9A-Fa-f]{2}", raw)):
        yield (
            "The user name or password has a % and two digits that together stand for an ordinary letter or digit, "
            "which nobody escapes. If the % is a part of it, write %25."
        )


def notes(url: URL) -> Iterator[str]:
    """What may well be meant, and often is not."""
    driver = url.get_driver_name()
    if "+" not in url.drivername:
        yield (
            f"{url.drivername}:// names no driver and means {url.drivername}+{driver}://. Write that, so that a "
            "reader knows what must be installed."
        )
    examples = _from_an_example(url)
    if examples:
        yield (
            f"The {examples} in the URL {'look' if ' and ' in examples else 'looks'} like the words of an example. Is "
            "that really yours? Put the user name, password, host and database of your own account there."
        )
    if url.password == "***":
        yield (
            "The password is ***, which is what SQLAlchemy shows in a password's place: was the URL copied from a "
            "log? str(url) hides the password, url.render_as_string(hide_password=False) does not."
        )
    if not url.username and "read_default_file" not in url.query:
        yield "The URL has no user name; the driver then takes the name of the account the program runs under."
    if not url.database and not {"read_default_file", "database", "db"} & set(url.query):
        yield (
            "The URL names no database, so each statement must name it (database.table). Otherwise it fails with error "
            '1046, "No database selected". Add /name behind the host.'
        )
    if url.host == "localhost" and url.port and driver == "mysqldb" and "unix_socket" not in url.query:
        yield (
            "To mysqlclient, localhost means the server's Unix socket, and the port is ignored. Write 127.0.0.1 for "
            "TCP, or unix_socket= for the socket."
        )
    yield from _on_the_host(url)
    if drivers.by_url_name(driver) is None:
        yield (
            f"holdfast does not know the driver {driver}, and leaves its connections as they are. It holds those of "
            f"{', '.join(f'mysql+{name}' for name in driver_names())}."
        )
        return
    if not any(plain(key) in ("plugin", "plugins") for key in url.query):
        yield (
            "plugin=holdfast is not in the URL: without it, and without plugins=['holdfast'] or "
            "sqlalchemy_holdfast.create_engine(), connections are not held. Add ?plugin=holdfast, or "
            "&plugin=holdfast behind another setting. (With sqlalchemy_holdfast.flask.SQLAlchemy they are held all the "
            "same.)"
        )


def _from_an_example(url: URL) -> str:
    """Name the parts of a URL that look like an example's; nothing when they may well be somebody's own."""
    parts = {"user name": url.username, "password": url.password, "host": url.host, "database": url.database}
    given = {name: str(value) for name, value in parts.items() if value}
    sure = [name for name, value in given.items() if _SURELY.fullmatch(value)]
    found = [name for name, value in given.items() if _EXAMPLES[name].fullmatch(value)]
    named = [name for name in parts if name in (*sure, *(found if sure or len(found) > 2 else ()))]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else "".join(named)


def _on_the_host(url: URL) -> Iterator[str]:
    username, database, host = url.username or "", url.database or "", (url.host or "").lower()
    known = providers.by_address(host)
    if known is None:
        if host == "localhost" and username and database.startswith(f"{username}$"):
            yield (
                "A database called username$name is PythonAnywhere's, whose servers are never on localhost: the host "
                f"is {providers.by_name('pythonanywhere').address(username, None)}, or the same with .mysql.eu. for "
                "eu.pythonanywhere.com. For an SSH tunnel write 127.0.0.1 and its port."
            )
        return
    if known.prefixes_databases:
        owner = host[: -len(known.suffix)]
        if owner != username.lower():
            yield (
                f"The host belongs to the account {owner}, but the URL has another user name. On {known.title}, both "
                f"are yours: the host is {known.address(username or 'username', None)}."
            )
        if "$" in database and database.partition("$")[0] != username:
            yield (
                f"The database belongs to {database.partition('$')[0]}, not to the user name in the URL. Upper "
                "and lower case count in both."
            )
    if known.prefixes_usernames and "." not in username:
        yield (
            f"On {known.title} a user name starts with the cluster's prefix and a dot, as in prefix.root. "
            f"({known.sources['prefixes_usernames'].address})"
        )
    if known.port and (url.port or 3306) != known.port:
        yield f"{known.title} listens on port {known.port}. ({known.sources['port'].address})"
    if known.needs_tls and not any(key.startswith("ssl") for key in url.query):
        yield (
            f"{known.title} refuses connections without TLS, and not every driver asks for it by itself: add "
            f"ssl_ca=<path of the CA's certificate> behind the ?. ({known.sources['needs_tls'].address})"
        )
