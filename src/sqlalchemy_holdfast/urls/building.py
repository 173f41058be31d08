"""Building a database URL from its parts."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import make_url

from .. import drivers
from ..errors import DatabaseURLError, SettingError
from ..settings import PREFIX, Settings
from . import providers
from .checking import examine, near_driver
from .environment import URL_VARIABLES, VARIABLES, foreign_url, from_environment
from .option_files import from_option_file
from .parts import Parts, plain_host
from .words import driver_names

__all__ = ["url"]

_DECODES_DATABASE = make_url("mysql://host/%24").database == "$"  # SQLAlchemy 2.1 does, 2.0 does not


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

        sqlalchemy_holdfast.url("me", "p@ss:word", "db.example.org", "shop")
        sqlalchemy_holdfast.url("me", password, database="shop", at="pythonanywhere")  # the host and me$shop follow
        sqlalchemy_holdfast.url(my_cnf="~/.my.cnf", database="shop")
        sqlalchemy_holdfast.url(environ=os.environ)

    A part is taken from the arguments; what they leave out, from ``environ``; what is then missing, from ``my_cnf``.

    :param username: the database account; the only part that must be found somewhere.
    :param password: as it is, not escaped. Left out, the URL has none.
    :param host: a host name, an IPv4 or IPv6 address, any of them with ``:port``, or the path of a Unix socket.
        Default: what ``at`` says, else ``localhost``.
    :param database: its name. With ``at="pythonanywhere"``, ``name`` becomes ``username$name``.
    :param port: default the port that stands beside the host in the same source, else the server's own, 3306.
    :param driver: ``mysqldb``, ``pymysql`` or ``mysqlconnector``. Default: the first of these that is installed, and
        ``mysqldb`` when none is.
    :param at: a provider, such as ``pythonanywhere`` or ``pythonanywhere-eu`` (all: ``providers.PROVIDERS``), whose
        host names, ports and database names are known.
    :param my_cnf: a MySQL option file, such as ``~/.my.cnf``. Read are user, password, host, port, socket, database and
        ssl-ca, quoted and escaped as MySQL's manual says ("Using Option Files"); ``!include`` is refused.
    :param group: the file's group; what it lacks is taken from ``[client]``.
    :param environ: usually ``os.environ``. First one of the variables with a whole URL, those in
        ``urls.URL_VARIABLES`` (DATABASE_URL, MYSQL_URL, JAWSDB_URL, JAWSDB_MARIA_URL, CLEARDB_DATABASE_URL),
        then those with one part, in ``urls.VARIABLES`` (MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD,
        MYSQL_DATABASE, the same beginning with MARIADB, and Railway's MYSQLHOST ...). When the only one there is the
        URL of another database, as ``sqlite:///development.db``, and no host, user name or ``at`` is given, it is
        returned as it is.
    :param query: more for the URL's query, such as ``{"charset": "utf8mb4"}``.
    :param settings: ``holdfast_*`` settings, put into the query.
    :return: the URL, as text.
    :raises DatabaseURLError: when a part is missing or cannot be what was meant, or a source cannot be read.
    :raises SettingError: for a wrong setting.
    :raises TypeError: for a keyword argument that is neither.
    """
    parts = Parts(username, password, host, port, database, None, driver, {**(query or {}), **_written(settings)})
    parts.host = None if host is None else plain_host(parts)
    if environ is not None:
        if host is None and username is None and at is None:
            foreign = foreign_url(environ)
            if foreign is not None:
                return foreign
        parts.fill(from_environment(environ))
    if my_cnf is not None:
        parts.fill(from_option_file(Path(my_cnf).expanduser(), group))
    if parts.username is None:
        raise DatabaseURLError(_no_username(environ is not None, my_cnf, group))
    if at is not None:
        known = providers.by_name(at)
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
        f"A database URL needs a user name, and none was given{found}. Give it as "
        "sqlalchemy_holdfast.url(username=...), on the command line "
        "as --username; a password, a host and a database go with it."
    )


def _written(settings: Mapping[str, Any]) -> dict[str, str]:
    """Check the settings, and write each as a URL has it."""
    for name in settings:
        if not name.startswith(PREFIX):
            near = {"user": "username", "passwd": "password", "db": "database", "name": "database"}.get(name)
            hint = f"; it is called {near}" if near else f"; a setting's name starts with {PREFIX}"
            raise TypeError(f"sqlalchemy_holdfast.url() has no argument {name!r}{hint}")
    Settings.take({}, dict(settings))
    function = next((name for name, value in settings.items() if callable(value)), None)
    if function is not None:
        raise SettingError(
            f"{function} is a function, and a URL is text: give it to create_engine as a keyword argument."
        )
    return {name: _word(value) for name, value in settings.items()}


def _word(value: object) -> str:
    if isinstance(value, (list, tuple)):  # a command's parts
        return shlex.join(value)
    return {None: "off", True: "true", False: "off"}[value] if value is None or isinstance(value, bool) else str(value)


def _rendered(parts: Parts) -> str:
    """Write the URL, and make sure that SQLAlchemy reads the same parts back."""
    backend, driver = parts.backend or "mysql", parts.driver or _first_driver()
    if parts.driver is not None and parts.backend is None and driver not in driver_names():
        near = near_driver(driver)
        hint = f" Did you mean {near}?" if near else ""
        raise DatabaseURLError(
            f"driver={driver[:40]!r} is not a driver.{hint} The drivers are {', '.join(driver_names())}."
        )
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
    problem = next((finding.text for finding in examine(text, here=False) if finding.wrong), "")
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
