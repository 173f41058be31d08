"""What holdfast touches of SQLAlchemy without its being documented: a release that changes it fails here."""

from __future__ import annotations

from sqlalchemy import Engine, event

import holdfast


def test_the_listeners_of_a_dialect_can_be_listed(engine: Engine) -> None:
    """hold._on_connect and drivers.pymysql: somebody else's do_connect listener leaves them less to assume."""
    before = len(list(engine.dialect.dispatch.do_connect))
    event.listen(engine, "do_connect", lambda *arguments: None)
    assert len(list(engine.dialect.dispatch.do_connect)) == before + 1


def test_the_listeners_of_a_pool_can_be_listed_in_order(engine: Engine) -> None:
    """hold._is_first: a connect listener before holdfast's may have sent a SET NAMES of its own."""
    listener = lambda *arguments: None  # noqa: E731
    assert next(iter(engine.pool.dispatch.connect)) == holdfast.of(engine)._on_connect
    event.listen(engine, "connect", listener, insert=True)
    assert next(iter(engine.pool.dispatch.connect)) == listener
