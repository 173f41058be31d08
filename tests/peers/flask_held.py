"""A pytest plugin that puts `sqlalchemy_holdfast.flask.SQLAlchemy` in the place of Flask-SQLAlchemy's class.

It counts the engines that our class makes. It acts while it is imported: the suite's conftest takes the class
before pytest_configure.
"""

from __future__ import annotations

from typing import Any

import flask_sqlalchemy
import flask_sqlalchemy.extension
import pytest
from sqlalchemy import Engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy

_made = {True: 0, False: 0}
_stock = SQLAlchemy._make_engine


def _counted(self: SQLAlchemy, bind_key: str | None, options: dict[str, Any], app: Any) -> Engine:
    engine = _stock(self, bind_key, options, app)
    # A test may put a mock in create_engine's place.
    _made[isinstance(engine, Engine) and holdfast.status(engine).active] += 1
    return engine


# Plain assignments would be type errors.
setattr(SQLAlchemy, "_make_engine", _counted)  # noqa: B010
for module in (flask_sqlalchemy, flask_sqlalchemy.extension):
    setattr(module, "SQLAlchemy", SQLAlchemy)  # noqa: B010


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many engines our class made, for run.py to read."""
    terminalreporter.write_line(f"holdfast held {_made[True]} engines and passed by {_made[False]}")
