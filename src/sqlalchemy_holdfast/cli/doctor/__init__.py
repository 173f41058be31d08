"""``holdfast doctor``: says what is wrong, or will be, with a database connection, its server or an application."""

from __future__ import annotations
