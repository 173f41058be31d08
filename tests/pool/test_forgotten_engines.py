"""An engine that nobody has any more is collected, with all that belongs to it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool, StaticPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import fork
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


def test_a_listener_that_leads_back_to_its_engine_keeps_nothing(server: Server) -> None:
    class Site:
        def __init__(self) -> None:
            self.engine = create_engine(server.url("pymysql").update_query_dict({"plugin": "holdfast"}))
            holdfast.status(self.engine).listen(self.note)

        def note(self, event: object) -> None:
            pass

    site = Site()
    known: list[Any] = [weakref.ref(site), weakref.ref(site.engine)]
    del site
    gc.collect()
    assert [ref() for ref in known if ref() is not None] == []


def test_a_connection_keeps_what_is_told_of_a_fork(server: Server) -> None:
    """It may be detached, and outlive its engine."""
    engine = create_engine(server.url("pymysql").update_query_dict({"plugin": "holdfast"}))
    with engine.connect() as connection:
        held: Any = connection.connection.driver_connection
        told = held._holdfast.owner._held
        assert any(one is told for one in fork._watched)
        assert told is holdfast.status(engine)
    engine.dispose()
