"""A pytest plugin that moves the in-memory SQLite databases of Flask-SQLAlchemy-Lite's suite to a MariaDB server.

HOLDFAST_PEERS_URL names the server, an account that may create databases, and what else is to stand in each
URL. Each engine for `sqlite://` gets a new, empty database there, as it would have had in memory. SQLite
files and engines for asyncio stay where they are. A test that looks at the URL or wants SQLite fails for it,
in stock as held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import flask_sqlalchemy_lite
import pytest
from sqlalchemy import Engine, String, create_engine, event, make_url, text
from sqlalchemy.engine.url import URL
from sqlalchemy.ext.compiler import compiles

SERVER = make_url(os.environ["HOLDFAST_PEERS_URL"])

# Stock, to make and drop the databases.
_admin = create_engine(SERVER.difference_update_query(["plugin"]), isolation_level="AUTOCOMMIT")
_numbers = count()
_databases: list[str] = []


def moved(given: Any) -> URL:
    """Return the URL of a new database on the server for SQLite in memory, and any other as it is."""
    url = URL.create(**given) if isinstance(given, dict) else make_url(given)
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.database not in (None, "", ":memory:"):
        return url
    _databases.append(f"peers_{next(_numbers)}")
    with _admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {_databases[-1]}"))
    return SERVER.set(database=_databases[-1])


_stock = flask_sqlalchemy_lite._make._prepare_engine_options


def _moved_options(app: Any, name: str, base: dict[str, Any], config: Any) -> dict[str, Any]:
    options = dict(config) if isinstance(config, dict) else {"url": config}
    if "url" in options:
        options["url"] = moved(options["url"])
    return _stock(app, name, base, options)


# A plain assignment would be a type error.
setattr(flask_sqlalchemy_lite._make, "_prepare_engine_options", _moved_options)  # noqa: B010


@compiles(String, "mysql", "mariadb")
def _with_a_length(type_: String, compiler: Any, **options: Any) -> str:
    """Give VARCHAR the length that MariaDB insists on and SQLite does not know."""
    return str(compiler.visit_string(type_ if type_.length else String(200), **options))


@pytest.fixture(autouse=True)
def _own_databases() -> Iterator[None]:
    """Close a test's connections and drop its databases at its very end."""
    used: set[Engine] = set()

    def note(connection: Any) -> None:
        used.add(connection.engine)

    event.listen(Engine, "engine_connect", note)
    yield
    event.remove(Engine, "engine_connect", note)
    for engine in used:
        if engine.dialect.name in ("mysql", "mariadb"):
            engine.dispose()
    with _admin.connect() as connection:
        while _databases:
            connection.execute(text(f"DROP DATABASE {_databases.pop()}"))


def pytest_unconfigure() -> None:
    """Close the connection that made the databases."""
    _admin.dispose()
