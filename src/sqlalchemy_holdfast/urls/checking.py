"""What is wrong with a database URL, in a sentence each.

No message here ever repeats a part of the URL that may hold a piece of the password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from .._pages import page
from ..errors import DatabaseURLError
from ..settings import PREFIX, Settings
from . import notes, providers, query
from .words import ESCAPING, EXAMPLE, driver_names

__all__ = ["Finding", "check", "check_dialect", "check_plugins", "examine", "is_ours", "parse"]

_DRIVER_ALIASES = {
    "mysqlclient": "mysqldb",
    "mysql_connector": "mysqlconnector",
    "connector": "mysqlconnector",
    "mysqlconnectorpython": "mysqlconnector",
}
_NO_DATABASES = {
    "postgres": "It calls that database postgresql: write postgresql://.",
    **dict.fromkeys(("http", "https"), "That is how the address of a web page starts."),
}
"""What stands in front of :// and is no database to SQLAlchemy."""
_PAGE = page("errors/database-url-error")
_SYSTEM_DATABASES = frozenset({"information_schema", "performance_schema", "mysql", "sys"})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a URL, or could be better."""

    text: str
    """What it is and what to do, in a sentence or two; never a piece of the password."""
    wrong: bool = True
    """Whether it is a mistake; else it is advice, and the URL may well work."""


def parse(text: str) -> URL:
    """Parse a database URL given as text.

    :raises DatabaseURLError: when it cannot be parsed, or when what follows its ``?`` shows that the password was not
        escaped.
    """
    problem = unreadable(text)
    if problem:
        raise DatabaseURLError(f"{problem} {_PAGE}".rstrip())
    return make_url(text)


def check(url: URL, *, ours: bool, own_connect: bool = True) -> None:
    """Refuse a parsed URL that cannot mean what was meant. What might work is let through.

    :param url: the URL as SQLAlchemy parsed it.
    :param ours: whether it is for MySQL or MariaDB.
    :param own_connect: whether the URL's host and query go to the driver, and not a ``creator`` or a ``pool`` connects.
    :raises DatabaseURLError: when the password was not escaped; when the host is no host name; when SQLAlchemy has no
        such driver; when a PythonAnywhere database lacks its ``username$``; when a word behind the ``?`` or its value
        is none that the driver takes, or a file that it names is not there; or when ``holdfast_*`` settings stand in
        the URL of another database, where they can have no effect.
    """
    problem = next(impossible(url, own_connect=own_connect) if ours else _foreign(url), "")
    if not problem and ours:
        found = query.problems(url) if own_connect else query.misspelt_plugins(url)
        problem = next((problem.text for problem in found if problem.certain), "")
    if problem:
        raise DatabaseURLError(f"{problem} {_PAGE}".rstrip())


def check_plugins(url: URL) -> None:
    """Refuse a URL in which ``plugin=holdfast`` is misspelt. (SQLAlchemy itself asks no plugin about such a one.)

    :raises DatabaseURLError: with the right spelling.
    """
    problem = next((problem.text for problem in query.misspelt_plugins(url) if problem.certain), "")
    if problem:
        raise DatabaseURLError(f"{problem} {_PAGE}".rstrip())


def check_dialect(url: URL) -> None:
    """Refuse a URL of a database, or of a driver, that SQLAlchemy has no dialect for. (That of another database; for
    MySQL's and MariaDB's own, :func:`check` does so.)

    :raises DatabaseURLError: with what to write in its place, or what may be missing.
    """
    problem = "" if is_ours(url) else next(_nearly_ours(url), "") or next(_unknown(url), "")
    if problem:
        raise DatabaseURLError(f"{problem} {_PAGE}".rstrip())


def examine(given: str | URL, *, here: bool = True) -> list[Finding]:
    """Say everything that is wrong with a URL or could be better, mistakes first.

    :param given: the URL, as text (which shows more) or as SQLAlchemy parsed it.
    :param here: whether what it names, such as the file of ``ssl_ca``, must be on this machine.
    :return: the findings; empty when there is nothing to say. The URL of another database has none but its own
        mistakes.
    """
    if isinstance(given, str):
        problem = unreadable(given)
        if problem:
            return [Finding(problem)]
    parsed = make_url(given)
    if not is_ours(parsed):
        return [Finding(problem) for problem in list(_foreign(parsed)) or _unknown(parsed)]
    problem = next(impossible(parsed), "")  # one at a time: after the first, the others may be its consequences
    if problem:
        return [Finding(problem)]
    found = [Finding(problem) for problem in _mistaken(parsed)]
    found += [Finding(problem.text) for problem in query.problems(parsed, here=here)]
    if isinstance(given, str):
        found += [Finding(advice, wrong=False) for advice in notes.notes_on_text(given)]
    return found + [Finding(advice, wrong=False) for advice in notes.notes(parsed)]


def is_ours(url: URL) -> bool:
    """Tell whether a URL is for MySQL or MariaDB."""
    return url.get_backend_name() in ("mysql", "mariadb")


def unreadable(text: str) -> str:
    """Say why a text cannot be parsed, or nothing."""
    query = text.partition("://")[2].partition("@")[2].partition("?")[2]
    if re.search(r"(^|&)[^=&]*@", query):  # SQLAlchemy drops a key without a value: nothing would be left to see
        return f"The database URL has an @ behind its ?, as an unescaped password has. {ESCAPING}"
    try:
        make_url(text)
    except (ArgumentError, ValueError):
        pass
    else:
        return ""
    # Outside of the except clause: that error's text may repeat the URL, and __context__ would keep it.
    scheme, separator, rest = text.partition("://")
    if not text.strip():
        return f"The database URL is empty. {EXAMPLE}"
    if text.strip() == "None":
        return (
            "The database URL is the word None: the variable that it was read from is not set, and str() or an "
            f"f-string made a text of that. {EXAMPLE}"
        )
    if text[0].isspace():
        return f"The database URL starts with white space: remove it. {EXAMPLE}"
    if text[0] in "\"'`":
        return f"The database URL starts with a quotation mark, which is not part of it: remove it. {EXAMPLE}"
    if separator and "=" in scheme:
        return f"The database URL has a variable's name and a = in front of it: give what is behind the =. {EXAMPLE}"
    if scheme.lower().startswith("jdbc:"):
        return f"The database URL starts with jdbc:, which is Java's way to write it. {EXAMPLE}"
    if re.search(r"@(tcp|unix)\(", text):
        return (
            "The database URL has the host in brackets, behind tcp or unix, which is Go's way to write it. Write the "
            f"host and the port alone. {EXAMPLE}"
        )
    if re.search(r"@\w+://", text):
        return f"The host in the database URL has :// in it: give the server's name or address alone. {EXAMPLE}"
    if re.search(r"@[^@:/]*:\d+:\d+", text):
        return f"The database URL has two ports behind the host: keep one. {EXAMPLE}"
    if not separator:
        return f"The database URL cannot be parsed: it has no ://. {EXAMPLE}"
    if not re.fullmatch(r"[\w+]+", scheme):
        return (
            "The database URL cannot be parsed: what stands before :// is not a database and its driver, such as "
            f"mysql+mysqldb, mysql+pymysql or mysql+mysqlconnector. {EXAMPLE}"
        )
    if rest.partition("?")[0].count("@") <= 1:
        return (
            "The database URL cannot be parsed: the port, between the : behind the host and the next /, is not a "
            f"number. {EXAMPLE} Is the @ between password and host missing? {ESCAPING}"
        )
    return (
        "The database URL cannot be parsed: it has more than one @, so one of them belongs to the user name or "
        f"password. {EXAMPLE} {ESCAPING}"
    )


def _foreign(url: URL) -> Iterator[str]:
    """What is wrong with a URL that is not for MySQL."""
    backend = url.get_backend_name()
    yield from _nearly_ours(url)
    mine = [key for key in url.query if key.startswith(PREFIX)]
    if mine:
        yield (
            f"{', '.join(mine)} in the URL of a {backend} database can have no effect: holdfast "
            "holds MySQL and MariaDB connections. Remove it from the URL; given to create_engine as a keyword "
            "argument it is ignored for other databases."
        )


def _nearly_ours(url: URL) -> Iterator[str]:
    """A URL that is meant for MySQL or MariaDB, as its misspelt name says."""
    if difflib.get_close_matches(url.get_backend_name().lower(), ("mysql", "mariadb"), cutoff=0.7):
        yield from _no_such_driver(url)


def _unknown(url: URL) -> Iterator[str]:
    """A database that SQLAlchemy has no dialect for."""
    try:
        url.get_dialect()
    except NoSuchModuleError:
        backend = url.get_backend_name()
        more = _NO_DATABASES.get(backend.lower()) or (
            f"Write it in small letters: {url.drivername.lower()}://."
            if url.drivername != url.drivername.lower()
            else "Is the package that has its dialect installed?"
        )
        yield (
            f"SQLAlchemy knows no database called {url.drivername}. {more} A MySQL or MariaDB URL starts with mysql or "
            "mariadb, and the driver: mysql+mysqldb://."
        )
    except ImportError:  # the dialect is there and needs something that is not
        pass


def impossible(url: URL, *, own_connect: bool = True) -> Iterator[str]:
    """What cannot work, whatever else is given to create_engine.

    :param own_connect: as :func:`check` takes it: where something else connects, the URL may name any host.
    """
    host, database = url.host or "", url.database or ""
    # A database may have an @ in its name; with a / as well it is the rest of a password, and a host.
    if "@" in host or ("@" in database and "/" in database) or re.search(r"[@/?:]", "".join(url.query)):
        yield (
            "The host or database part of the URL has a character that belongs to the user name or password. "
            + ESCAPING
        )
    yield from _no_such_driver(url)
    if not own_connect:
        return
    if "unix_socket" not in url.query:
        if re.search(r"[{}<>$()]", host):
            yield (
                "The host in the URL is still a placeholder: it has a brace, a bracket or a $. Put the server's own "
                "name there. In Python, '…{hostname}…' needs an f in front or .format(); "
                "sqlalchemy_holdfast.url(username, password, host, database) builds the URL."
            )
        if re.search(r"[\s\"'`\\]", host):
            yield (
                "The host in the URL has white space, a quotation mark or a backslash, which no host name has. Is "
                "something pasted with it?"
            )
        if (url.port or 0) > 65535:
            yield f"The port {url.port} in the URL is not possible: ports go up to 65535, and MySQL's is 3306."
    if database != database.rstrip():
        yield (
            "The database's name in the URL ends with white space, which MySQL does not allow. A line end that was "
            "read from a file? text.strip() removes it."
        )
    known = providers.by_address(host)
    if known is not None and known.prefixes_databases:
        yield from _no_prefix(known, url.username or "", database)


def _no_prefix(known: providers.Provider, username: str, database: str) -> Iterator[str]:
    source = known.sources["prefixes_databases"].address
    if not database or database.lower() in _SYSTEM_DATABASES or "$" in database:
        return
    username = username or "username"
    if "%24" in database:
        yield (
            f"The database's name has %24 for its $, and this SQLAlchemy does not decode it: write the $ itself, as in "
            f"{known.database(username, 'name')}."
        )
        return
    yield (
        f"On {known.title} the full name of a database starts with your username and a $: write "
        f"{known.database(username, database)} in place of {database}. ({source})"
    )


def _no_such_driver(url: URL) -> Iterator[str]:
    try:
        url.get_dialect()
        return
    except NoSuchModuleError:
        pass
    except ImportError:  # somebody's dialect is there and needs something that is not
        return
    backend, _, driver = url.drivername.partition("+")
    database = (difflib.get_close_matches(backend.lower(), ("mysql", "mariadb"), n=1) or ["mysql"])[0]
    near = near_driver(driver) if driver else ""
    right = f"{database}+{near}" if near else database if not driver else ""
    text = f"SQLAlchemy knows no database and driver called {url.drivername}."
    if right == url.drivername.lower():
        text += f" Write it in small letters: {right}://."
    elif right:
        text += f" Did you mean {right}://?"
    yield f"{text} The drivers are {', '.join(f'mysql+{name}' for name in driver_names())}."


def near_driver(name: str) -> str:
    """Return the driver whose name in a URL is nearest to a misspelt one, or an empty text when none is near."""
    name = name.lower().replace("-", "_")
    near = difflib.get_close_matches(name, [*driver_names(), *_DRIVER_ALIASES], n=1, cutoff=0.6)
    return _DRIVER_ALIASES.get(near[0], near[0]) if near else ""


def _mistaken(url: URL) -> Iterator[str]:
    """What is almost certainly a mistake, and might yet be meant."""
    for name, value in (("user name", url.username), ("password", url.password), ("database", url.database)):
        if value and re.fullmatch(r"\{.*\}|<.*>", str(value)):
            yield (
                f"The {name} in the URL is in braces or angle brackets, like a placeholder on a page: put your own "
                "there, without them."
            )
    if url.database and re.search(r"/$|[;?&]\w+=", url.database):
        yield (
            "The database's name in the URL ends with a / or has a ; or a & in it. It ends before the ?, and options "
            "stand behind that: /name?charset=utf8mb4."
        )
    if url.database and re.match(r"\d+/", url.database):
        yield (
            "The database's name in the URL begins with a number and a /. Is that the port? It stands behind the host "
            "and a colon: host:3306/name."
        )
    try:
        Settings.take(url.query, {})
    except ArgumentError as error:
        yield str(error)
