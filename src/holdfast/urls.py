"""Database URLs: built from their parts, and refused with a reason when they cannot mean what was meant.

No message here ever repeats a part of the URL that may hold a piece of the password.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from . import drivers, hosts
from .errors import DatabaseURLError
from .settings import PREFIX, Settings

__all__ = ["ESCAPING", "EXAMPLE", "URL_VARIABLES", "VARIABLES", "Finding", "check", "examine", "parse", "url"]

ESCAPING = (
    "In a URL, each of @ : / ? # % in a user name or password must be written as %40 %3A %2F %3F %23 %25: "
    "urllib.parse.quote(password, safe='') does it, and sqlalchemy.URL.create(drivername, username, password, host, "
    "...) takes the password as it is."
)
"""How to write a password in a URL."""

EXAMPLE = "It should look like mysql+mysqldb://user:password@host:3306/database."
"""What a database URL looks like."""

URL_VARIABLES = ("DATABASE_URL", "MYSQL_URL", "JAWSDB_URL", "JAWSDB_MARIA_URL", "CLEARDB_DATABASE_URL")
"""Environment variables that hold a whole URL. The first that is for MySQL or MariaDB counts.

DATABASE_URL is everybody's; MYSQL_URL is Railway's (docs.railway.com, "MySQL"); JAWSDB_URL and JAWSDB_MARIA_URL are
JawsDB's (devcenter.heroku.com, "JawsDB MySQL" and "JawsDB Maria"); CLEARDB_DATABASE_URL is ClearDB's (cleardb.net,
"Connecting to ClearDB from Heroku").
"""

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "username": ("MYSQL_USER", "MARIADB_USER", "MYSQLUSER"),
    "password": ("MYSQL_PASSWORD", "MARIADB_PASSWORD", "MYSQLPASSWORD"),
    "host": ("MYSQL_HOST", "MARIADB_HOST", "MYSQLHOST"),
    "port": ("MYSQL_PORT", "MARIADB_PORT", "MYSQLPORT"),
    "database": ("MYSQL_DATABASE", "MARIADB_DATABASE", "MYSQLDATABASE"),
}
"""Environment variables that hold one part. The first that is set and not empty counts.

MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE and their MARIADB_ twins are those of the Docker images mysql and mariadb,
which need no host and port; the names without an underscore are Railway's (docs.railway.com, "MySQL").
"""

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
_DECODES_DATABASE = make_url("mysql://host/%24").database == "$"  # SQLAlchemy 2.1 does, 2.0 does not


# -- what is wrong with a URL ------------------------------------------------------------------------------------------


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
    problem = _unreadable(text)
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
    problem = next(_impossible(url) if ours else _foreign(url), "")
    if problem:
        raise DatabaseURLError(problem)


def examine(given: str | URL) -> list[Finding]:
    """Say everything that is wrong with a URL or could be better, mistakes first.

    :param given: the URL, as text (which shows more) or as SQLAlchemy parsed it.
    :return: the findings; empty when there is nothing to say. The URL of another database has none but its own
        mistakes.
    """
    if isinstance(given, str):
        problem = _unreadable(given)
        if problem:
            return [Finding(problem)]
    parsed = make_url(given)
    if not _is_ours(parsed):
        return [Finding(problem) for problem in _foreign(parsed)]
    impossible = next(_impossible(parsed), "")  # one at a time: after the first, the others may be its consequences
    if impossible:
        return [Finding(impossible)]
    found = [Finding(problem) for problem in _mistaken(parsed)]
    if isinstance(given, str):
        found += [Finding(advice, wrong=False) for advice in _escaping_advice(given)]
    return found + [Finding(advice, wrong=False) for advice in _advice(parsed)]


def _is_ours(url: URL) -> bool:
    return url.get_backend_name() in ("mysql", "mariadb")


def _unreadable(text: str) -> str:
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
            "The database URL cannot be parsed: in front of :// stands something else than a database and its driver, "
            f"such as mysql+mysqldb, mysql+pymysql or mysql+mysqlconnector. {EXAMPLE}"
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


def _impossible(url: URL) -> Iterator[str]:
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
                "name there. In Python, '…{hostname}…' needs an f in front or .format(); holdfast.url(username, "
                "password, host, database) builds the URL."
            )
        if re.search(r"[\s\"'`\\]", host):
            yield (
                "The host in the URL has white space, a quotation mark or a backslash, which no host name has. Is "
                "something pasted with it?"
            )
        if (url.port or 0) > 65535:
            yield f"The port {url.port} in the URL is none: ports go to 65535, and MySQL's is 3306."
    if database != database.rstrip():
        yield (
            "The database's name in the URL ends with white space, which MySQL does not allow. A line end that was "
            "read from a file? text.strip() removes it."
        )
    known = hosts.by_address(host)
    if known is not None and known.prefixes_databases:
        yield from _no_prefix(known, url.username or "", database)


def _no_prefix(known: hosts.KnownHost, username: str, database: str) -> Iterator[str]:
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
    near = _near_driver(driver) if driver else ""
    right = f"{database}+{near}" if near else database if not driver else ""
    text = f"SQLAlchemy knows no database and driver called {url.drivername}."
    if right:
        text += f" Did you mean {right}://?"
    yield f"{text} The drivers are {', '.join(f'mysql+{name}' for name in _driver_names())}."


def _near_driver(name: str) -> str:
    name = name.lower().replace("-", "_")
    near = difflib.get_close_matches(name, [*_driver_names(), *_DRIVER_ALIASES], n=1, cutoff=0.6)
    return _DRIVER_ALIASES.get(near[0], near[0]) if near else ""


def _driver_names() -> list[str]:
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
            "The user name or password has a character that SQLAlchemy happens to read as it is and other programs do "
            f"not. {ESCAPING}"
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
            f"{url.drivername}:// names no driver and means {url.drivername}+{driver}://. Write it so, and a reader "
            "knows what must be installed."
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
            "The URL names no database, so each statement must (database.table), or it fails with error 1046, "
            '"No database selected". Add /name behind the host.'
        )
    if url.host == "localhost" and url.port and driver == "mysqldb" and "unix_socket" not in url.query:
        yield (
            "To mysqlclient, localhost means the server's Unix socket, and the port is ignored. Write 127.0.0.1 for "
            "TCP, or unix_socket= for the socket."
        )
    yield from _hosts_advice(url)
    plugins = url.query.get("plugin", ())
    if "holdfast" not in ((plugins,) if isinstance(plugins, str) else plugins):
        yield (
            "plugin=holdfast is not in the URL: without it, and without plugins=['holdfast'] or "
            "holdfast.create_engine(), connections are not held. Add ?plugin=holdfast, or &plugin=holdfast behind "
            "another setting."
        )


def _hosts_advice(url: URL) -> Iterator[str]:
    username, database, host = url.username or "", url.database or "", (url.host or "").lower()
    known = hosts.by_address(host)
    if known is None:
        if host == "localhost" and username and database.startswith(f"{username}$"):
            yield (
                "A database called username$name is PythonAnywhere's, whose servers are never on localhost: the host "
                f"is {hosts.by_name('pythonanywhere').address(username, None)}, or the same with .mysql.eu. for "
                "eu.pythonanywhere.com. For an SSH tunnel write 127.0.0.1 and its port."
            )
        return
    if known.prefixes_databases:
        owner = host[: -len(known.suffix)]
        if owner != username.lower():
            yield (
                f"The host is that of the account {owner}, and the user name is another. On {known.title} both are "
                f"yours: the host is {known.address(username or 'username', None)}."
            )
        if "$" in database and database.partition("$")[0] != username:
            yield (
                f"The database belongs to {database.partition('$')[0]}, not to the user name in the URL. Capitals "
                "count in both."
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


# -- building one ------------------------------------------------------------------------------------------------------


@dataclass
class _Parts:
    """What is known so far of a URL that is being built."""

    username: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | str | None = None
    database: str | None = None
    backend: str | None = None
    driver: str | None = None
    query: dict[str, Any] = field(default_factory=dict)

    def fill(self, other: _Parts) -> None:
        """Take from the other what is missing here."""
        if self.host is not None:
            other.port, other.query = None, {k: v for k, v in other.query.items() if k != "unix_socket"}
        for part in fields(self):
            if part.name != "query" and getattr(self, part.name) is None:
                setattr(self, part.name, getattr(other, part.name))
        self.query = {**other.query, **self.query}


def url(
    username: str | None = None,
    password: str | None = None,
    host: str | None = None,
    database: str | None = None,
    *,
    port: int | str | None = None,
    driver: str | None = None,
    at: str | None = None,
    my_cnf: str | os.PathLike[str] | None = None,
    group: str = "client",
    environ: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    **settings: Any,
) -> str:
    """Build a database URL with ``plugin=holdfast`` in it, every part escaped as it must be.

    The result is what ``SQLALCHEMY_DATABASE_URI`` and ``create_engine`` take. It holds the password: do not log it.

    ::

        holdfast.url("me", "p@ss:word", "db.example.org", "shop")
        holdfast.url("me", password, database="shop", at="pythonanywhere")  # the host and me$shop follow
        holdfast.url(my_cnf="~/.my.cnf", database="shop")
        holdfast.url(environ=os.environ)

    A part is taken from the arguments; what they leave out, from ``environ``; what is then missing, from ``my_cnf``.

    :param username: the database account; the only part that must be found somewhere.
    :param password: as it is, not escaped. Left out, the URL has none.
    :param host: a host name, an IPv4 or IPv6 address, any of them with ``:port``, or the path of a Unix socket.
        Default: what ``at`` says, else ``localhost``.
    :param database: its name. With ``at="pythonanywhere"``, ``name`` becomes ``username$name``.
    :param port: default the port that stands beside the host in the same source, else the server's own, 3306.
    :param driver: ``mysqldb``, ``pymysql`` or ``mysqlconnector``. Default: the first of these that is installed, and
        ``mysqldb`` when none is.
    :param at: a provider from :data:`holdfast.hosts.HOSTS`, such as ``pythonanywhere`` or ``pythonanywhere-eu``, whose
        host names, ports and database names are known.
    :param my_cnf: a MySQL option file, such as ``~/.my.cnf``. Read are user, password, host, port, socket, database and
        ssl-ca, quoted and escaped as MySQL's manual says ("Using Option Files"); ``!include`` is refused.
    :param group: the file's group; what it lacks is taken from ``[client]``.
    :param environ: usually ``os.environ``. First one of the variables with a whole URL (:data:`URL_VARIABLES`:
        DATABASE_URL, MYSQL_URL, JAWSDB_URL, JAWSDB_MARIA_URL, CLEARDB_DATABASE_URL), then those with one part
        (:data:`VARIABLES`: MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE, the same with MARIADB_,
        and Railway's MYSQLHOST ...). When the only one there is the URL of another database, as
        ``sqlite:///development.db``, and no host, user name or ``at`` is given, it is returned as it is.
    :param query: more for the URL's query, such as ``{"charset": "utf8mb4"}``.
    :param settings: ``holdfast_*`` settings, put into the query.
    :return: the URL, as text.
    :raises DatabaseURLError: when a part is missing or cannot be what was meant, or a source cannot be read.
    :raises SettingError: for a wrong setting.
    :raises TypeError: for a keyword argument that is neither.
    """
    parts = _Parts(username, password, host, port, database, None, driver, {**(query or {}), **_written(settings)})
    parts.host = None if host is None else _plain_host(parts)
    if environ is not None:
        if host is None and username is None and at is None:
            foreign = _foreign_url(environ)
            if foreign is not None:
                return foreign
        parts.fill(_from_environment(environ))
    if my_cnf is not None:
        parts.fill(_from_option_file(Path(my_cnf).expanduser(), group))
    if parts.username is None:
        raise DatabaseURLError(_no_username(environ is not None, my_cnf, group))
    if at is not None:
        known = hosts.by_name(at)
        if "unix_socket" not in parts.query:
            parts.host = known.address(parts.username, parts.host)
        parts.port = parts.port or known.port
        parts.database = parts.database and known.database(parts.username, parts.database)
    return _rendered(parts)


def _no_username(environ: bool, my_cnf: str | os.PathLike[str] | None, group: str) -> str:
    looked = []
    if environ:
        looked.append(f"the environment has none of {', '.join((*URL_VARIABLES, *VARIABLES['username']))}")
    if my_cnf is not None:
        looked.append(f"[{group}] in {os.fspath(my_cnf)} has no user")
    found = f" ({'; '.join(looked)})" if looked else ""
    return (
        f"A database URL needs a user name, and none was given{found}. Give it as holdfast.url(username=...); a "
        "password, a host and a database go with it."
    )


def _written(settings: Mapping[str, Any]) -> dict[str, str]:
    """Check the settings, and write each as a URL has it."""
    for name in settings:
        if not name.startswith(PREFIX):
            near = {"user": "username", "passwd": "password", "db": "database", "name": "database"}.get(name)
            hint = f"; it is called {near}" if near else f"; a setting's name starts with {PREFIX}"
            raise TypeError(f"holdfast.url() has no argument {name!r}{hint}")
    Settings.take({}, dict(settings))
    return {name: _word(value) for name, value in settings.items()}


def _word(value: object) -> str:
    return {None: "off", True: "true", False: "off"}[value] if value is None or isinstance(value, bool) else str(value)


def _plain_host(parts: _Parts) -> str:
    """Take a port and the brackets of an IPv6 address off what was given as the host."""
    host = (parts.host or "").strip()
    if not host:
        raise DatabaseURLError("The host is empty. Leave it out for localhost, or give the server's name or address.")
    if "://" in host:
        raise DatabaseURLError(
            "The host is a whole URL: give only the server's name or address. (To check a URL: holdfast url --check.)"
        )
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:/]+):(\d+)", host)
    if found:
        host = found[1] or found[3]
        given = found[2] or found[4]
        if given and parts.port is not None and str(parts.port) != given:
            raise DatabaseURLError(f"The host ends with port {given}, and port= is another: keep one of them.")
        parts.port = given or parts.port
    return host


def _rendered(parts: _Parts) -> str:
    """Write the URL, and make sure that SQLAlchemy reads the same parts back."""
    backend, driver = parts.backend or "mysql", parts.driver or _first_driver()
    if parts.driver is not None and parts.backend is None and driver not in _driver_names():
        near = _near_driver(driver)
        hint = f" Did you mean {near}?" if near else ""
        raise DatabaseURLError(f"driver={driver[:40]!r} is none.{hint} The drivers are {', '.join(_driver_names())}.")
    query, host = dict(parts.query), parts.host or "localhost"
    if host.startswith("/"):
        query["unix_socket"], host = host, "localhost"
    if re.search(r"[@/?#\s\"'`{}<>\[\]\\]", host) or not host:
        raise DatabaseURLError(
            "The host has a character that no host name has. Give the server's name or address alone: "
            'host="db.example.org", and the other parts as arguments of their own.'
        )
    port = None if "unix_socket" in query else _number(parts.port)
    plugins = query.pop("plugin", ())
    plugins = [plugins] if isinstance(plugins, str) else list(plugins)
    query["plugin"] = plugins if "holdfast" in plugins else [*plugins, "holdfast"]
    database = parts.database or None
    text = f"{backend}+{driver}://{quote(parts.username or '', safe='')}"
    if parts.password is not None:
        text += f":{quote(parts.password, safe='')}"
    text += f"@[{host}]" if ":" in host else f"@{host}"
    text += f":{port}" if port is not None else ""
    if database is not None:
        text += f"/{quote(database, safe='$') if _DECODES_DATABASE else database}"
    pairs = [(key, item) for key, value in query.items() for item in ([value] if isinstance(value, str) else value)]
    text += "?" + "&".join(f"{quote(key, safe='')}={quote(item, safe='/:')}" for key, item in pairs)
    read = make_url(text)
    wanted = (parts.username, parts.password, host, port, database)
    for name, got, meant in zip(
        ("user name", "password", "host", "port", "database"),
        (read.username, read.password, read.host, read.port, read.database),
        wanted,
        strict=True,
    ):
        if got != meant:
            raise DatabaseURLError(
                f"The {name} has a character that this SQLAlchemy's URLs cannot hold. sqlalchemy.URL.create() takes it "
                "as it is."
            )
    problem = next((finding.text for finding in examine(text) if finding.wrong), "")
    if problem:
        raise DatabaseURLError(problem)
    return text


def _first_driver() -> str:
    return next((driver.url_name for driver in drivers.DRIVERS if drivers.is_installed(driver)), "mysqldb")


def _number(port: int | str | None) -> int | None:
    if port is None or port == "":
        return None
    digits = str(port).strip()
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise DatabaseURLError("The port is not a number from 1 to 65535. MySQL's is 3306; left out, it is that.")
    return int(digits)


# -- the environment ---------------------------------------------------------------------------------------------------

_MYSQL_SCHEME = re.compile(r"(?:jdbc:)?(mysql|mariadb)2?(?=\+|://)", re.IGNORECASE)


def _foreign_url(environ: Mapping[str, str]) -> str | None:
    """Return the URL of another database, when the environment has one and nothing of MySQL's."""
    whole = [environ[name] for name in URL_VARIABLES if environ.get(name)]
    part = any(environ.get(name) for names in VARIABLES.values() for name in names)
    if not whole or part or any(_MYSQL_SCHEME.search(text) for text in whole):
        return None
    parsed = _parsed_variable(next(name for name in URL_VARIABLES if environ.get(name)), whole[0])
    check(parsed, ours=False)
    return whole[0]


def _from_environment(environ: Mapping[str, str]) -> _Parts:
    """Read the first URL that is for MySQL, else the variables that hold one part each."""
    for name in URL_VARIABLES:
        text = environ.get(name, "")
        if _MYSQL_SCHEME.match(text.lstrip("\"' ")):
            # Rails writes mysql2://, and in its URLs that is only the name of a Ruby package.
            return _of_url(_parsed_variable(name, re.sub(r"(?i)^mysql2(?=://)", "mysql", text.strip())))
    values = {
        part: next((environ[name] for name in names if environ.get(name)), None) for part, names in VARIABLES.items()
    }
    # Kubernetes and Docker links set MYSQL_PORT=tcp://10.0.0.1:3306 for a service that is called mysql.
    port = re.sub(r"^tcp://.*:", "", values["port"] or "") or None
    if port is not None and not port.strip().isdigit():
        name = next(name for name in VARIABLES["port"] if environ.get(name))
        raise DatabaseURLError(f"The environment variable {name} is not a port number, such as 3306.")
    parts = _Parts(values["username"], values["password"], values["host"], port, values["database"])
    parts.host = None if parts.host is None else _plain_host(parts)
    return parts


def _parsed_variable(name: str, text: str) -> URL:
    problem = _unreadable(text)
    if not problem:
        parsed = make_url(text)
        if not _is_ours(parsed):
            return parsed
        problem = next(_impossible(parsed), "")
    if problem:
        raise DatabaseURLError(f"The environment variable {name}: {problem}")
    return parsed


def _of_url(parsed: URL) -> _Parts:
    backend, _, driver = parsed.drivername.partition("+")
    return _Parts(
        parsed.username,
        parsed.password,
        parsed.host,
        parsed.port,
        parsed.database or None,
        backend,
        driver or None,
        dict(parsed.query),
    )


# -- option files ------------------------------------------------------------------------------------------------------

_OPTION_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}


def _from_option_file(path: Path, group: str) -> _Parts:
    """Read ``[client]`` and a group above it.

    :raises DatabaseURLError: when the file cannot be read or has no such group. No line of it is ever repeated.
    """
    groups = _option_groups(path)
    if group not in groups:
        there = f"It has {', '.join(f'[{name}]' for name in groups)}." if groups else "It has no groups at all."
        raise DatabaseURLError(f"The option file {path} has no group [{group}]. {there}")
    options = {**groups.get("client", {}), **groups[group]}
    socket, host = options.get("socket"), options.get("host")
    if socket and host in (None, "", "localhost"):
        host = socket
    parts = _Parts(
        options.get("user"), options.get("password"), host, options.get("port"), options.get("database") or None
    )
    parts.host = _plain_host(parts) if parts.host else None
    if options.get("ssl_ca"):
        parts.query["ssl_ca"] = str(options["ssl_ca"])
    return parts


def _option_groups(path: Path) -> dict[str, dict[str, str | None]]:
    """Read an option file as MySQL's manual describes it in "Using Option Files"."""
    reason = ""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    if reason:  # outside of the except clause: a UnicodeDecodeError holds the whole file
        raise DatabaseURLError(f"The option file {path} cannot be read: {reason}.")
    groups: dict[str, dict[str, str | None]] = {}
    current: dict[str, str | None] | None = None
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line[0] in "#;":
            continue
        if line.startswith("!"):
            raise DatabaseURLError(
                f"Line {number} of the option file {path} includes other files, which is not supported: give the file "
                "that has the account as my_cnf, or the parts as arguments."
            )
        if line.startswith("["):
            if "]" not in line:
                raise DatabaseURLError(f"Line {number} of the option file {path} opens a group without closing its ].")
            current = groups.setdefault(line[1 : line.index("]")].strip(), {})
            continue
        if current is None:
            raise DatabaseURLError(
                f"Line {number} of the option file {path} stands before the first group, such as [client]."
            )
        name, equals, value = _without_comment(line).partition("=")
        current[name.strip().removeprefix("loose-").replace("-", "_")] = _option_value(value) if equals else None
    return groups


def _without_comment(line: str) -> str:
    mark, escaped = "", False
    for position, character in enumerate(line):
        if character in "\"'" and not escaped and mark in ("", character):
            mark = "" if mark else character
        if character == "#" and not mark:
            return line[:position]
        escaped = bool(mark) and character == "\\" and not escaped
    return line


def _option_value(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] in "\"'" and text[0] == text[-1]:
        text = text[1:-1]
    return re.sub(r"\\(.)", lambda found: _OPTION_ESCAPES.get(found[1], found[0]), text)
