"""What holdfast touches of SQLAlchemy without its being documented: a release that changes it fails here."""

from __future__ import annotations

from collections import deque

from sqlalchemy import Engine, event

from holdfast.hold import _will_run_sql


def test_a_pool_record_knows_what_will_be_put_back(engine: Engine) -> None:
    """hold._will_run_sql: SQLAlchemy runs these on return, after the pool's reset event."""
    connection = engine.connect()
    record = connection.connection._connection_record
    assert isinstance(record.finalize_callback, deque)
    assert not _will_run_sql(record)
    connection.execution_options(isolation_level="SERIALIZABLE")
    assert _will_run_sql(record)
    connection.close()
    assert not _will_run_sql(record)


def test_the_listeners_of_a_dialect_can_be_listed(engine: Engine) -> None:
    """hold._on_connect and drivers.pymysql: somebody else's do_connect listener leaves them less to assume."""
    before = len(list(engine.dialect.dispatch.do_connect))
    event.listen(engine, "do_connect", lambda *arguments: None)
    assert len(list(engine.dialect.dispatch.do_connect)) == before + 1
