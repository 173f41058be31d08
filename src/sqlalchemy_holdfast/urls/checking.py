"""What is wrong with a database URL, in a sentence each.

No message here ever repeats a part of the URL that may hold a piece of the password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from .. import drivers
from ..errors import DatabaseURLError
from ..settings import PREFIX, Settings
from . import providers

__all__ = ["ESCAPING", "EXAMPLE", "Finding", "check", "examine", "is_ours", "parse"]

ESCAPING = (
    "In a URL, each of @ : / ? # % in a user name or password must be written as %40 %3A %2F %3F %23 %25: "
    "urllib.parse.quote(password, safe='') does it. sqlalchemy.URL.create(), sqlalchemy_holdfast.url() and the "
    "command holdfast url take the password as it is, and build the URL."
)
"""How to write a password in a URL, and what does it for you."""

EXAMPLE = "It should look like mysql+mysqldb://user:password@host:3306/database."
"""What a database URL looks like."""

_DRIVER_ALIASES = {
    "mysqlclient": "mysqldb",
    "mysql_connector": "mysqlconnector",
    "connector": "mysqlconnector",
    "mysqlconnectorpython": "mysqlconnector",
}
_NOT_THE_DRIVERS: Mapping[str, str] = {
    **dict.fromkeys(
        ("pool_recycle", "pool_pre_ping", "pool_timeout", "max_overflow", "echo"),
        "is an option of create_engine, not of the driver, which refuses it. Give it to create_engine "
        "(Flask-SQLAlchemy: SQLALCHEMY_ENGINE_OPTIONS)",
    ),
    **dict.fromkeys(
        ("ssl-mode", "sslmode", "sslaccept", "useSSL"),
        "belongs to other programs, and Python's drivers refuse it. Write ssl_ca=<path of the CA's certificate> in its "
        "place",
    ),
}
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
        raise DatabaseURLError(problem)
    return make_url(text)


def check(url: URL, *, ours: bool) -> None:
    """Refuse a parsed URL that cannot mean what was meant. What might work is let through.

    :param url: the URL as SQLAlchemy parsed it.
    :param ours: whether it is for MySQL or MariaDB.
    :raises DatabaseURLError: when the password was not escaped; when the host is no host name; when SQLAlchemy has no
        such driver; when a PythonAnywhere database lacks its ``username$``; or when ``holdfast_*`` settings stand in
        the URL of another database, where they can have no effect.
    """
    problem = next(impossible(url) if ours else _foreign(url), "")
    if problem:
        raise DatabaseURLError(problem)


def examine(given: str | URL) -> list[Finding]:
    """Say everything that is wrong with a URL or could be better, mistakes first.

    :param given: the URL, as text (which shows more) or as SQLAlchemy parsed it.
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
    if isinstance(given, str):
        found += [Finding(advice, wrong=False) for advice in _escaping_advice(given)]
    return found + [Finding(advice, wrong=False) for advice in _advice(parsed)]


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
    if text[0].isspace():
        return f"The database URL starts with white space: remove it. {EXAMPLE}"
    if text[0] in "\"'`":
        return f"The database URL starts with a quotation mark, which is not part of it: remove it. {EXAMPLE}"
    if separator and "=" in scheme:
        return f"The database URL has a variable's name and a = in front of it: give what is behind the =. {EXAMPLE}"
    if scheme.lower().startswith("jdbc:"):
        return f"The database URL starts with jdbc:, which is Java's way to write it. {EXAMPLE} {ESCAPING}"
    if not separator:
        return f"The database URL cannot be parsed: it has no ://. {EXAMPLE} {ESCAPING}"
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
    if difflib.get_close_matches(backend, ("mysql", "mariadb"), cutoff=0.7):
        yield from _no_such_driver(url)
    mine = [key for key in url.query if key.startswith(PREFIX)]
    if mine:
        yield (
            f"{', '.join(mine)} in the URL of a {backend} database can have no effect: holdfast "
            "holds MySQL and MariaDB connections. Remove it from the URL; given to create_engine as a keyword "
            "argument it is ignored for other databases."
        )


def _unknown(url: URL) -> Iterator[str]:
    """A database that SQLAlchemy has no dialect for. Its own error says so when an engine is made."""
    try:
        url.get_dialect()
    except NoSuchModuleError:
        yield (
            f"SQLAlchemy knows no database called {url.drivername}. Is the package that has its dialect installed? A "
            "MySQL or MariaDB URL starts with mysql or mariadb, and the driver: mysql+mysqldb://."
        )
    except ImportError:  # the dialect is there and needs something that is not
        pass


def impossible(url: URL) -> Iterator[str]:
    """What cannot work, whatever else is given to create_engine."""
    host, database = url.host or "", url.database or ""
    # A database may have an @ in its name; with a / as well it is the rest of a password, and a host.
    if "@" in host or ("@" in database and "/" in database) or re.search(r"[@/?:]", "".join(url.query)):
        yield (
            "The host or database part of the URL has a character that belongs to the user name or password. "
            + ESCAPING
        )
    yield from _no_such_driver(url)
    if "unix_socket" not in url.query:
        if re.search(r"[{}<>]", host):
            yield (
                "The host in the URL is still a placeholder: it has braces or angle brackets. Put the server's own "
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
    if right:
        text += f" Did you mean {right}://?"
    yield f"{text} The drivers are {', '.join(f'mysql+{name}' for name in driver_names())}."


def near_driver(name: str) -> str:
    """Return the driver whose name in a URL is nearest to a misspelt one, or an empty text when none is near."""
    name = name.lower().replace("-", "_")
    near = difflib.get_close_matches(name, [*driver_names(), *_DRIVER_ALIASES], n=1, cutoff=0.6)
    return _DRIVER_ALIASES.get(near[0], near[0]) if near else ""


def driver_names() -> list[str]:
    """Return the names that the drivers have in a URL, each once."""
    return list(dict.fromkeys(driver.url_name for driver in drivers.DRIVERS))


def _mistaken(url: URL) -> Iterator[str]:
    """What is almost certainly a mistake, and might yet be meant."""
    for name, value in (("user name", url.username), ("password", url.password), ("database", url.database)):
        if value and re.fullmatch(r"\{.*\}|<.*>", str(value)):
            yield (
                f"The {name} in the URL is in braces or angle brackets, like a placeholder on a page: put your own "
                "there, without them."
            )
    for key in url.query:
        if key in _NOT_THE_DRIVERS and drivers.by_url_name(url.get_driver_name()) is not None:
            yield f"{key} in the URL {_NOT_THE_DRIVERS[key]}."
    try:
        Settings.take(url.query, {})
    except ArgumentError as error:
        yield str(error)


def _escaping_advice(text: str) -> Iterator[str]:
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


def _advice(url: URL) -> Iterator[str]:
    """What may well be meant, and often is not."""
    driver = url.get_driver_name()
    if "+" not in url.drivername:
        yield (
            f"{url.drivername}:// names no driver and means {url.drivername}+{driver}://. Write that, so that a "
            "reader knows what must be installed."
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
    yield from _hosts_advice(url)
    if drivers.by_url_name(driver) is None:
        yield (
            f"holdfast does not know the driver {driver}, and leaves its connections as they are. It holds those of "
            f"{', '.join(f'mysql+{name}' for name in driver_names())}."
        )
        return
    plugins = url.query.get("plugin", ())
    if "holdfast" not in ((plugins,) if isinstance(plugins, str) else plugins):
        yield (
            "plugin=holdfast is not in the URL: without it, and without plugins=['holdfast'] or "
            "sqlalchemy_holdfast.create_engine(), connections are not held. Add ?plugin=holdfast, or "
            "&plugin=holdfast behind another setting."
        )


def _hosts_advice(url: URL) -> Iterator[str]:
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
