"""SQLModel, with its own create_engine and Session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import MetaData
from sqlmodel import Field, Session, SQLModel, create_engine, select

from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch


class Hero(SQLModel, table=True):
    __tablename__ = "hero"
    metadata = MetaData()
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=50)


@pytest.fixture(autouse=True)
def _table(server: Server) -> Iterator[None]:
    yield
    server.execute("DROP TABLE IF EXISTS hero", database="test")


def test_a_session_survives_a_kill_between_two_uses(url: str, watch: Watch) -> None:
    engine = create_engine(url)
    Hero.metadata.create_all(engine)
    watch.kill_idle()
    with Session(engine) as session:
        session.add(Hero(name="Deadpond"))
        session.commit()
    watch.kill_idle()
    with Session(engine) as session:
        assert [hero.name for hero in session.exec(select(Hero))] == ["Deadpond"]
    assert watch.server.execute("SELECT name FROM hero", database="test") == [("Deadpond",)]
    watch.assert_held(1)
    assert watch.replaced() == {"closed by the server": 2}
