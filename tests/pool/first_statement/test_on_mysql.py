"""The short set on Oracle's MySQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import wait_until_ended
from tests.pool.first_statement.conftest import Cut, Scene, outcome

pytestmark = pytest.mark.mysql


@pytest.fixture
def on_mysql(mysql_server: Server, driver: str) -> Iterator[Scene]:
    mysql_server.execute("CREATE TABLE IF NOT EXISTS replayed (n INT)", database="test")
    mysql_server.execute("TRUNCATE replayed", database="test")
    with Proxy.for_server(mysql_server) as proxy:
        scene = Scene(mysql_server, proxy, driver)
        yield scene
        for engine in scene.engines:
            engine.dispose()


@pytest.mark.parametrize("cut", [Scene.cut_before_reply, Scene.cut_in_reply], ids=lambda cut: cut.__name__)
def test_a_read_is_repeated_and_a_write_raises(on_mysql: Scene, cut: Cut) -> None:
    engine = on_mysql.shared_engine()
    with engine.connect() as connection:
        cut(on_mysql, connection)
        assert outcome(connection, "SELECT COUNT(*) FROM replayed") == "succeeded"
    with engine.connect() as connection:
        cut(on_mysql, connection)
        assert outcome(connection, "INSERT INTO replayed VALUES (1)") == "raised"
    assert on_mysql.changes()["repeated"] == 1
    assert on_mysql.rows("replayed") == 0


def test_a_connection_killed_before_its_first_statement_is_replaced(on_mysql: Scene) -> None:
    engine = on_mysql.shared_engine()
    with engine.connect() as connection:
        lost = connection.connection.dbapi_connection
        on_mysql.server.kill_connections("app")
        wait_until_ended(lost)
        assert outcome(connection, "INSERT INTO replayed VALUES (1)") == "succeeded"
    assert on_mysql.changes() == {Cause.CLOSED: 1}
    assert on_mysql.rows("replayed") == 1
