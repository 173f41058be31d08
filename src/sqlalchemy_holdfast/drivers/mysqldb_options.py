"""The options of mysqlclient."""

from __future__ import annotations

from typing import Any

import MySQLdb
from MySQLdb import connections

from .options import Refused

__all__ = ["ANY_TEXT_IS_TRUE", "OPTIONS", "refuses"]

OPTIONS = (
    *("host", "user", "password", "database", "port", "unix_socket", "connect_timeout", "read_timeout"),
    *("write_timeout", "compress", "init_command", "read_default_file", "read_default_group", "client_flag"),
    *("charset", "collation", "use_unicode", "sql_mode", "autocommit", "binary_prefix", "multi_statements"),
    *("ssl_mode", "local_infile", "local_infile_dir", "auth_plugin", "server_public_key_path"),
)
"""As its documentation has them; the C function tells nobody its own list. Only to guess from."""
ANY_TEXT_IS_TRUE = frozenset({"autocommit", "binary_prefix", "multi_statements"})
"""Switches that neither SQLAlchemy nor the driver reads as a word."""
_NO_MODE = "holdfast only asks"


def refuses(name: str, value: Any) -> Refused | None:
    """Ask the driver.

    It looks at all names and types of values before it looks at ``ssl_mode``; that has a value here which it refuses
    before it connects.
    """
    if name == "ssl_mode":
        return None
    try:
        connections.Connection(**{"ssl_mode": _NO_MODE, name: value})
    except TypeError as error:
        return Refused("invalid keyword argument" in str(error), str(error))
    except MySQLdb.NotSupportedError as error:  # of the ssl_mode, or of what this client library cannot do
        return Refused(True, str(error)) if f"{name} is not" in str(error) else None
    except Exception as error:
        return Refused(False, str(error))
    return None
