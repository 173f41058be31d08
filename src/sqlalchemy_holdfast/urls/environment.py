"""Where the parts of a URL may come from besides arguments: the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy.engine import URL, make_url

from ..errors import DatabaseURLError
from .checking import check, impossible, is_ours, unreadable
from .parts import Parts, plain_host

__all__ = ["URL_VARIABLES", "VARIABLES", "foreign_url", "from_environment"]

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


_MYSQL_SCHEME = re.compile(r"(?:jdbc:)?(mysql|mariadb)2?(?=\+|://)", re.IGNORECASE)


def foreign_url(environ: Mapping[str, str]) -> str | None:
    """Return the URL of another database, when the environment has one and nothing of MySQL's."""
    whole = [environ[name] for name in URL_VARIABLES if environ.get(name)]
    part = any(environ.get(name) for names in VARIABLES.values() for name in names)
    if not whole or part or any(_MYSQL_SCHEME.search(text) for text in whole):
        return None
    parsed = _parsed_variable(next(name for name in URL_VARIABLES if environ.get(name)), whole[0])
    check(parsed, ours=False)
    return whole[0]


def from_environment(environ: Mapping[str, str]) -> Parts:
    """Read the first URL that is for MySQL, else the variables that hold one part each."""
    for name in URL_VARIABLES:
        text = environ.get(name, "")
        if _MYSQL_SCHEME.match(text.lstrip("\"' ")):
            # Rails writes mysql2://, and in its URLs that is only the name of a Ruby package.
            return of_url(_parsed_variable(name, re.sub(r"(?i)^mysql2(?=://)", "mysql", text.strip())))
    values = {
        part: next((environ[name] for name in names if environ.get(name)), None) for part, names in VARIABLES.items()
    }
    # Kubernetes and Docker links set MYSQL_PORT=tcp://10.0.0.1:3306 for a service that is called mysql.
    port = re.sub(r"^tcp://.*:", "", values["port"] or "") or None
    if port is not None and not port.strip().isdigit():
        name = next(name for name in VARIABLES["port"] if environ.get(name))
        raise DatabaseURLError(f"The environment variable {name} is not a port number, such as 3306.")
    parts = Parts(values["username"], values["password"], values["host"], port, values["database"])
    parts.host = None if parts.host is None else plain_host(parts)
    return parts


def _parsed_variable(name: str, text: str) -> URL:
    problem = unreadable(text)
    if not problem:
        parsed = make_url(text)
        if not is_ours(parsed):
            return parsed
        problem = next(impossible(parsed), "")
    if problem:
        raise DatabaseURLError(f"The environment variable {name}: {problem}")
    return parsed


def of_url(parsed: URL) -> Parts:
    """Return what a whole URL says, in its parts."""
    backend, _, driver = parsed.drivername.partition("+")
    return Parts(
        parsed.username,
        parsed.password,
        parsed.host,
        parsed.port,
        parsed.database or None,
        backend,
        driver or None,
        dict(parsed.query),
    )
