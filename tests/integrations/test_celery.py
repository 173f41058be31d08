"""Celery's result backend, as `db+mysql+pymysql://…?plugin=holdfast`. No worker is needed for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery  # type: ignore[import-untyped]

from sqlalchemy_holdfast.lab import Server
from tests.integrations.conftest import Watch


@pytest.fixture
def app(url: str, server: Server) -> Iterator[Celery]:
    app = Celery("site", broker="memory://", backend=f"db+{url}", set_as_current=False)
    app.conf.database_engine_options = {}  # without the pool_pre_ping and pool_recycle that are Celery's defaults
    yield app
    server.execute("DROP TABLE IF EXISTS celery_taskmeta, celery_tasksetmeta", database="test")


def test_results_are_stored_and_read_in_a_worker_whose_connection_is_killed(app: Celery, watch: Watch) -> None:
    app.backend.session_manager.forked = True  # as in a worker process: the engine is kept, and has a pool
    app.backend.store_result("one", {"answer": 42}, "SUCCESS")
    watch.kill_idle()
    assert app.AsyncResult("one").get(timeout=60) == {"answer": 42}
    watch.kill_idle()
    app.backend.store_result("two", 7, "SUCCESS")
    watch.kill_idle()
    assert app.AsyncResult("two").state == "SUCCESS"
    assert len(watch.server.execute("SELECT * FROM celery_taskmeta", database="test")) == 2
    watch.assert_held(2)  # one without a pool made the tables
    assert watch.replaced() == {"closed by the server": 3}


def test_the_process_that_asks_has_a_held_engine_for_each_question(app: Celery, watch: Watch) -> None:
    app.backend.store_result("one", 1, "SUCCESS")
    assert app.AsyncResult("one").get(timeout=60) == 1
    assert watch.open == []
    watch.assert_held(len(watch.engines))
    assert len(watch.engines) >= 2
