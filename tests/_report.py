"""What a test run ran on, for pytest's header: a result means little without it."""

from __future__ import annotations

import importlib
import platform
from importlib import metadata


def report_lines(*servers: str) -> list[str]:
    """Name the servers given (say `"MariaDB 10.11.19"`), the drivers, SQLAlchemy and Python, a line each."""
    return [
        *(f"server: {server}" for server in servers),
        f"drivers: {_mysqlclient()}; {_version('PyMySQL')}; {_connector()}",
        f"python: {platform.python_version()}, {_version('SQLAlchemy')}, {_version('Flask-SQLAlchemy')}",
    ]


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return f"{distribution} not installed"


def _mysqlclient() -> str:
    """Two builds of one mysqlclient differ by the C library below it: Debian's is MariaDB's, Ubuntu's Oracle's."""
    try:
        import MySQLdb
    except ImportError as error:
        return f"mysqlclient cannot be imported ({error})"
    return f"{_version('mysqlclient')} on client library {MySQLdb.get_client_info()}"


def _connector() -> str:
    """The C extension is optional, and without it the driver fails in other words."""
    try:
        import mysql.connector
    except ImportError as error:
        return f"mysql-connector-python cannot be imported ({error})"
    if mysql.connector.HAVE_CEXT:
        kind = "with its C extension"
    else:
        try:
            importlib.import_module("_mysql_connector")
            kind = "pure Python"
        except ImportError as error:
            kind = f"pure Python ({error})"
    return f"{_version('mysql-connector-python')} {kind}"
