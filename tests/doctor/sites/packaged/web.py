"""An application in a package."""

from __future__ import annotations

from . import database

application = database.engine
