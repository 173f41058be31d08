"""A pytest plugin that puts holdfast on every engine of SQLAlchemy's suite and counts the engines held.

`--dburi mysql://…?plugin=holdfast` would reach one engine only: `engine.url` no longer carries the plugin,
and most tests build their own engines from that URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.engine.url import URL

import sqlalchemy_holdfast as holdfast


class Witness(CreateEnginePlugin):
    """Comes after holdfast on each engine, and looks whether it is held."""

    held = 0
    passed_by = 0

    def update_url(self, url: URL) -> URL:
        """Leave the URL as it is; SQLAlchemy insists on the method."""
        return url

    def engine_created(self, engine: Engine) -> None:
        """Count this engine."""
        if holdfast.status(engine).active:
            Witness.held += 1
        else:
            Witness.passed_by += 1


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make every URL load holdfast, after the plugins it asks for itself.

    `URL._instantiate_plugins` is private to SQLAlchemy; there is no public way to reach engines that a test
    makes. Without it nothing would be held and nothing lost, so its absence ends the run.
    """
    stock = getattr(URL, "_instantiate_plugins", None)
    if stock is None:
        raise pytest.UsageError("SQLAlchemy's URL._instantiate_plugins is gone: find what has replaced it")

    def with_holdfast(url: URL, kwargs: Mapping[str, Any]) -> tuple[URL, list[Any], dict[str, Any]]:
        names = [*kwargs.get("plugins", ())]
        if "holdfast" not in names and "holdfast" not in url.normalized_query.get("plugin", ()):
            names.append("holdfast")
        new_url, loaded, rest = stock(url, {**kwargs, "plugins": names})
        return new_url, [*loaded, Witness(url, {})], rest

    # A plain assignment would be a type error.
    setattr(URL, "_instantiate_plugins", with_holdfast)  # noqa: B010


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many engines were held, for run.py to read."""
    terminalreporter.write_line(f"holdfast held {Witness.held} engines and passed by {Witness.passed_by}")
