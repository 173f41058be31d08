"""An isolation level that was set for one checkout is put back, wherever an exception from outside comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, event

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, connection_id

ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}


def interrupted(function: str, do: Callable[[], object]) -> None:
    """Do something that is interrupted when the first function of this name returns."""

    def profile(frame: FrameType, what: str, value: object) -> None:
        if what == "return" and frame.f_code.co_name == function:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        with pytest.raises(KeyboardInterrupt):
            do()
    finally:
        sys.setprofile(None)


def autocommit(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")


@pytest.mark.parametrize("reset", ["off", "changed"])
@pytest.mark.parametrize("function", ["set_isolation_level", "set_and_note"], ids=["while", "behind"])
def test_autocommit_does_not_stay_for_the_next_user(
    server: Server, driver: str, held: EngineFactory, function: str, reset: str
) -> None:
    server.execute("CREATE OR REPLACE TABLE test.level (id INT)")
    engine = held(server.url(driver), holdfast_reset=reset, **ONE)
    first = connection_id(engine)
    interrupted(function, lambda: autocommit(engine))
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO level VALUES (1)")
        connection.rollback()
    assert server.execute("SELECT COUNT(*) FROM test.level") == [(0,)]
    assert connection_id(engine) == first


def test_a_level_that_was_put_back_costs_nothing_more(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver), **ONE)
    sent: list[int] = []
    event.listen(engine, "checkout", lambda connection, *rest: sent.append(connection._holdfast.sent))
    for _ in range(3):
        autocommit(engine)
    assert sent == [0, 0, 0], "nothing, when it is handed out"


def test_a_level_that_the_applications_listener_sets_is_left_to_it(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory
) -> None:
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), **ONE)

    @event.listens_for(engine, "checkout")
    def set_level(dbapi_connection: Any, *rest: Any) -> None:
        engine.dialect.set_isolation_level(dbapi_connection, "READ COMMITTED")

    for _ in range(2):
        engine.connect().close()
    proxy.reset_counts()
    engine.connect().close()
    assert sum("ISOLATION LEVEL" in statement for statement in proxy.statements) == 1, proxy.statements
