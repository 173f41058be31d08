"""An engine that nobody has any more is collected, with all that belongs to it."""

from __future__ import annotations

import gc
import weakref

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server


@pytest.mark.parametrize("poolclass", [None, NullPool, StaticPool])
def test_nothing_keeps_an_engine_that_was_dropped(server: Server, driver: str, poolclass: object) -> None:
    options = {} if poolclass is None else {"poolclass": poolclass}
    engine = create_engine(server.url(driver).update_query_dict({"plugin": "holdfast"}), **options)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    engine.dispose()
    known = [weakref.ref(one) for one in (engine, engine.dialect, engine.pool, holdfast.status(engine))]
    del engine, connection
    gc.collect()
    assert [ref() for ref in known if ref() is not None] == []
