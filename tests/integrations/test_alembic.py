"""Alembic alone: the engine that its env.py makes from the URL in alembic.ini is held."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Integer, MetaData, String, Table

from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch

METADATA = MetaData()
Table("parcel", METADATA, Column("id", Integer, primary_key=True), Column("place", String(50)))


@pytest.fixture
def config(tmp_path: Path, url: str, server: Server) -> Iterator[Config]:
    """What `alembic init` makes, with the two lines that everybody fills in."""
    config = Config(tmp_path / "alembic.ini", stdout=io.StringIO(), output_buffer=io.StringIO())
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    command.init(config, str(tmp_path / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.attributes["metadata"] = METADATA
    env = tmp_path / "migrations" / "env.py"
    env.write_text(env.read_text().replace("target_metadata = None", "target_metadata = config.attributes['metadata']"))
    yield config
    server.execute("DROP TABLE IF EXISTS parcel, alembic_version", database="test")


@pytest.mark.usefixtures("logging_as_before")
def test_revisions_are_made_and_applied_over_held_connections(config: Config, watch: Watch) -> None:
    command.revision(config, "parcels", autogenerate=True)
    command.upgrade(config, "head")
    command.check(config)
    assert ("parcel",) in watch.server.execute("SHOW TABLES", database="test")
    command.downgrade(config, "base")
    assert ("parcel",) not in watch.server.execute("SHOW TABLES", database="test")
    assert watch.open == []  # its engines have no pool
    watch.assert_held(4)


@pytest.mark.usefixtures("logging_as_before")
def test_offline_mode_writes_sql_without_a_connection(config: Config, watch: Watch) -> None:
    command.revision(config, "parcels", autogenerate=True)
    connected = len(watch.engines)
    command.upgrade(config, "head", sql=True)
    assert isinstance(config.output_buffer, io.StringIO)
    assert "CREATE TABLE parcel" in config.output_buffer.getvalue()
    assert len(watch.engines) == connected
