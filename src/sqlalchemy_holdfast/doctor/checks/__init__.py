"""The checks, one module for each group: they look at what was gathered, and ask nobody."""

from __future__ import annotations

from ..check import Check, registered
from . import application, connection, leftovers, limits, middlebox, prefork, server, session, tls

__all__ = ["CHECKS"]

_MODULES = (connection, tls, limits, prefork, session, server, middlebox, application, leftovers)

CHECKS: tuple[Check, ...] = registered()
"""All checks, ordered by id."""
