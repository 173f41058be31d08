"""sqlalchemy-utils' database functions, with a URL and with engine.url: they make engines of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy_utils import create_database, database_exists, drop_database  # type: ignore[import-untyped]

from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch

NAME = "you$shop"


@pytest.fixture(autouse=True)
def _no_database(server: Server) -> Iterator[None]:
    yield
    server.execute(f"DROP DATABASE IF EXISTS `{NAME}`")


@pytest.mark.parametrize("given", [str, make_url, lambda url: create_engine(url).url], ids=["str", "URL", "engine.url"])
def test_databases_are_made_over_held_connections(url: str, given: Any, watch: Watch) -> None:
    there, not_there = given(url), given(url.replace("/test?", f"/{NAME}?"))
    assert database_exists(there)
    assert not database_exists(not_there)
    create_database(not_there, encoding="utf8mb4")
    assert database_exists(not_there)
    watch.assert_held(4)

    engine = create_engine(not_there)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DATABASE()")).scalar() == NAME
    watch.kill_idle()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DATABASE()")).scalar() == NAME
    engine.dispose()
    drop_database(not_there)
    assert not database_exists(not_there)
    watch.assert_held(7)
    assert watch.replaced() == {"closed by the server": 1}
