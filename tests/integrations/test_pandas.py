"""pandas, with an engine and with a URL string."""

from __future__ import annotations

import pandas  # type: ignore[import-untyped]
import pytest
from sqlalchemy import create_engine

from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch

FRAME = pandas.DataFrame({"city": ["Zürich", "Łódź", "東京"], "people": [1, 2, 3]})


@pytest.fixture
def name(server: Server) -> str:
    server.execute("DROP TABLE IF EXISTS cities", database="test")
    return "cities"


def test_reading_and_writing_with_an_engine_survives_a_kill(url: str, name: str, watch: Watch) -> None:
    engine = create_engine(url)
    FRAME.to_sql(name, engine, index=False)
    watch.kill_idle()
    assert pandas.read_sql(f"SELECT * FROM {name}", engine).equals(FRAME)
    watch.kill_idle()
    FRAME.to_sql(name, engine, index=False, if_exists="append", method="multi", chunksize=2)
    watch.kill_idle()
    assert [len(part) for part in pandas.read_sql_table(name, engine, chunksize=4)] == [4, 2]
    assert watch.server.execute(f"SELECT COUNT(*) FROM {name}", database="test") == [(6,)]
    watch.assert_held(1)
    assert watch.replaced() == {"closed by the server": 3}


def test_a_url_string_makes_held_engines(url: str, name: str, watch: Watch) -> None:
    FRAME.to_sql(name, url, index=False)
    assert pandas.read_sql(f"SELECT * FROM {name}", url).equals(FRAME)
    watch.assert_held(2)
    assert watch.replaced() == {}
