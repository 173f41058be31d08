"""A Flask application on the tests' server, and a site whose views lose their connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, text

from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import wait_until_ended
from tests.transactions.conftest import names, with_schema

Names = Callable[[], list[str]]

NUMBER = text("SELECT CONNECTION_ID()")


def uri(server: Server, driver: str, **query: str) -> str:
    if driver == "mysqlconnector":
        query["use_pure"] = "1"
    return server.url(driver, query=query).render_as_string(hide_password=False)


def the_engine(db: SQLAlchemy, app: Flask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def app(server: Server, driver: str) -> Flask:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
    return app


@pytest.fixture(scope="session")
def _schema(server: Server) -> Server:
    return with_schema(server)


@pytest.fixture
def entries(_schema: Server) -> Names:
    """The names in the table `entry`, which is empty at first."""
    _schema.execute("DELETE FROM entry", database="test")
    return lambda: names(_schema)


class Site:
    """A site behind the proxy, and how its views lose their connection."""

    def __init__(self, server: Server, proxy: Proxy, driver: str, **config: Any) -> None:
        self.server = server
        query = {"use_pure": "1"} if driver == "mysqlconnector" else {}
        self.app = Flask("site")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = server.url(
            driver, host=proxy.host, port=proxy.port, query=query
        ).render_as_string(hide_password=False)
        self.app.config.update(config)
        self.db = SQLAlchemy(self.app)
        self.calls = 0

    def lose_first(self, session: Any) -> None:
        """Count a call; in the first one, lose the session's connection."""
        self.calls += 1
        if self.calls == 1:
            connection = session.connection()
            number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            self.server.kill_connection(number)
            wait_until_ended(connection.connection.dbapi_connection)

    def close(self) -> None:
        with self.app.app_context():
            self.db.engine.dispose()


@pytest.fixture
def make_site(server: Server, proxy: Proxy) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(driver: str = "pymysql", **config: Any) -> Site:
        sites.append(Site(server, proxy, driver, **config))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def eager(make_site: Callable[..., Site]) -> Site:
    """A site that runs safe requests once more."""
    return make_site(HOLDFAST_RETRY_SAFE_REQUESTS=True)
