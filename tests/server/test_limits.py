"""What the server allows: it is asked once, on the first connection, and remembered."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read

Log = Callable[[], list[str]]


def test_they_are_learned_on_the_first_connection(limited_server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(limited_server.url(driver))
    assert holdfast.status(engine).limits is None
    read(engine)
    limits = holdfast.status(engine).limits
    assert limits is not None
    assert (limits.flavour, limits.version[:5]) == ("MariaDB", limited_server.version[:5])
    assert (limits.wait_timeout, limits.idle_limit) == (1000, 1000.0)
    assert (limits.max_connections, limits.max_user_connections, limits.connections) == (44, 0, 44)
    assert (limits.reason, limits.account, limits.read_only) == ("max_connections", "app@%", False)
    assert limits.interactive_timeout == 2000
    assert f":{limited_server.port}/" in limits.server


@pytest.mark.mysql
def test_they_are_learned_from_mysql(mysql_server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(mysql_server.url(driver))
    read(engine)
    limits = holdfast.status(engine).limits
    assert limits is not None
    assert (limits.flavour, limits.version[:3]) == ("MySQL", mysql_server.version[:3])
    assert mysql_server.execute("SELECT @@max_connections") == [(limits.max_connections,)]
    assert limits.account == "app@%"


def test_an_accounts_own_limit_goes_first(unlimited: Server, driver: str, held: EngineFactory) -> None:
    unlimited.execute("ALTER USER app WITH MAX_USER_CONNECTIONS 7")
    engine = held(unlimited.url(driver))
    read(engine)
    limits = holdfast.status(engine).limits
    assert limits is not None
    assert (limits.max_user_connections, limits.connections, limits.reason) == (7, 7, "max_user_connections")


def test_they_cost_one_statement_of_one_connection(limited_server: Server, driver: str, held: EngineFactory) -> None:
    with Proxy.for_server(limited_server) as proxy:
        engine = held(limited_server.url(driver, host=proxy.host, port=proxy.port), poolclass=NullPool)
        for _ in range(3):
            read(engine)
        assert len([statement for statement in proxy.statements if "@@max_user_connections" in statement]) == 1


def test_a_forked_process_knows_what_its_parent_knew(limited_server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(limited_server.url(driver))
    read(engine)
    known = holdfast.status(engine).limits
    child = os.fork()
    if child == 0:
        try:
            statements: list[str] = []
            event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
            read(engine)
            os._exit(0 if holdfast.status(engine).limits is known else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_a_server_that_will_not_say_is_used_all_the_same(
    limited_server: Server, driver: str, held: EngineFactory
) -> None:
    engine = held(limited_server.url(driver))

    @event.listens_for(engine, "connect", insert=True)
    def refuse(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor
        calls: list[int] = []

        class Refusing:
            def execute(self, statement: str) -> None:
                raise engine.dialect.loaded_dbapi.OperationalError(1193, "Unknown system variable")

            def close(self) -> None: ...

        def first_refuses(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return Refusing() if len(calls) <= 2 else cursor(*args, **kwargs)

        dbapi_connection.cursor = first_refuses

    assert read(engine, 5) == 5
    assert holdfast.status(engine).limits is None
    assert "does not say what it is" in holdfast.status(engine).middlebox, "nothing is sent ahead to what is not known"


@pytest.mark.parametrize(
    ("number", "words"), [(1047, "WSREP has not yet prepared node for application use"), (1053, "shutdown in progress")]
)
def test_a_server_that_cannot_say_now_is_asked_on_the_next_connection(
    limited_server: Server, driver: str, held: EngineFactory, number: int, words: str
) -> None:
    engine = held(limited_server.url(driver), poolclass=NullPool)
    refuses = [True]

    @event.listens_for(engine, "connect", insert=True)
    def refuse(dbapi_connection: Any, record: Any) -> None:
        cursor = dbapi_connection.cursor

        class NotNow:
            def execute(self, statement: str) -> None:
                raise dbapi_connection._holdfast_error(number, words)

            def close(self) -> None: ...

        def once(*args: Any, **kwargs: Any) -> Any:
            if refuses and "limits" in sys._getframe(1).f_code.co_filename:
                return NotNow()
            return cursor(*args, **kwargs)

        dbapi_connection.cursor = once

    assert read(engine, 5) == 5
    assert holdfast.status(engine).limits is None
    with engine.connect() as connection:
        assert not connection.connection.driver_connection._holdfast.pipeline, "until it is known"  # type: ignore[union-attr]
    refuses.clear()
    with engine.connect() as connection:
        assert connection.connection.driver_connection._holdfast.pipeline  # type: ignore[union-attr]
    assert holdfast.status(engine).limits is not None
    assert holdfast.status(engine).middlebox == ""
