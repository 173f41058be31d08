"""The options of PyMySQL."""

from __future__ import annotations

import inspect
from typing import Any

from pymysql import connections

from .options import Refused

__all__ = ["ANY_TEXT_IS_TRUE", "OPTIONS", "refuses"]

_NOT_FOR_USE = ("passwd", "db", "compress", "named_pipe")
"""Two deprecated names, and two that are refused."""
OPTIONS = tuple(name for name in inspect.signature(connections.Connection).parameters if name not in _NOT_FOR_USE)
"""What the class takes."""
ANY_TEXT_IS_TRUE = frozenset({"autocommit", "binary_prefix", "defer_connect", "ssl_disabled", "ssl_verify_identity"})
"""Switches that neither SQLAlchemy nor the driver reads as a word."""
_NOT_ASKED = frozenset({"passwd", "db", "read_default_file", "read_default_group", "defer_connect"})
"""What warns or reads a file."""


def refuses(name: str, value: Any) -> Refused | None:
    """Ask the driver, which does not connect when it is told ``defer_connect``."""
    if name in _NOT_ASKED or isinstance(value, dict):
        return None
    tls = {} if name == "ssl" else {"ssl_disabled": True}  # to load certificates takes longer than all the rest
    try:
        connections.Connection(**{"defer_connect": True, **tls, name: value})
    except TypeError as error:
        return Refused("unexpected keyword argument" in str(error), str(error))
    except NotImplementedError as error:
        return Refused(True, str(error))
    except Exception as error:
        return Refused(False, str(error))
    return None
