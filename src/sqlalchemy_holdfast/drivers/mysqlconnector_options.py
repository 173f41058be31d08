"""The options of mysql-connector-python."""

from __future__ import annotations

from typing import Any

from mysql.connector.connection import MySQLConnection
from mysql.connector.constants import DEFAULT_CONFIGURATION

from .options import Refused

__all__ = ["ANY_TEXT_IS_TRUE", "OPTIONS", "refuses"]

_BEFORE = frozenset(
    {
        *("use_pure", "pool_name", "pool_size", "pool_reset_session", "failover"),
        *("option_files", "option_groups", "read_default_file", "read_default_group"),
    }
)
"""What ``connect()`` takes itself and does not hand on."""
_IN_PAIRS = frozenset({"ssl_cert", "ssl_key"})
"""What ``config()`` takes together and refuses alone."""
_NO_TEXT = frozenset({"dns_srv", "converter_class", "webauthn_callback"})
"""What ``connect()`` refuses as text, and ``config()`` does not."""
OPTIONS = tuple(sorted((set(DEFAULT_CONFIGURATION) | _BEFORE) - {"passwd", "db", "dsn"}))
"""What the driver itself has a default for, and what ``connect()`` takes."""
ANY_TEXT_IS_TRUE = frozenset({"ssl_disabled", "ssl_verify_identity", "converter_str_fallback"})
"""Switches that neither SQLAlchemy nor the driver reads as a word."""


def refuses(name: str, value: Any) -> Refused | None:
    """Ask the driver: a connection object is configured without connecting."""
    if name in _BEFORE | _IN_PAIRS:
        return None
    if name in _NO_TEXT and isinstance(value, str):
        return Refused(False, "it is no text")
    try:
        MySQLConnection().config(**{name: value})
    except AttributeError as error:
        return Refused("Unsupported argument" in str(error), str(error))
    except Exception as error:
        return Refused(False, str(error))
    return None
