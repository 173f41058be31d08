"""A pytest plugin for every run of a suite, stock or held.

It refuses to test anything but the installed, compiled SQLAlchemy, and with HOLDFAST_PEERS_ONLY (a file, one
test a line, named as in a junit report) it runs nothing but those tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import util


def junit_name(nodeid: str) -> str:
    """Name a test as pytest's junit report does: dotted class, two colons, function and parameters."""
    path, bracket, parameters = nodeid.partition("[")
    file, *inside = path.split("::")
    module = file.removesuffix(".py").replace("/", ".")
    return ".".join([module, *inside[:-1]]) + "::" + inside[-1] + bracket + parameters


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop when this is not the SQLAlchemy that a user would have installed."""
    if "site-packages" not in Path(sqlalchemy.__file__).parts:
        raise pytest.UsageError(f"this would test {sqlalchemy.__file__}, not the installed SQLAlchemy")
    if not util.has_compiled_ext():  # type: ignore[no-untyped-call]
        raise pytest.UsageError("the installed SQLAlchemy has no compiled parts: its pool and rows differ")


# After SQLAlchemy's own hook, which replaces each backend test by one class per database.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the tests asked for, and complain when one is not there."""
    listed = os.environ.get("HOLDFAST_PEERS_ONLY")
    if listed is None:
        return
    wanted = set(Path(listed).read_text().splitlines())
    kept = [item for item in items if junit_name(item.nodeid) in wanted]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
    missing = wanted - {junit_name(item.nodeid) for item in kept}
    if missing:
        raise pytest.UsageError(f"not in the suite: {sorted(missing)}")
