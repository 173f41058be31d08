"""Trying a URL: who answered, or why nobody did."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import create_engine, make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from sqlalchemy_holdfast.urls.trying import Attempt, attempt


def test_the_server_is_asked_who_it_is(server: Server, driver: str) -> None:
    ((idle,),) = server.execute("SELECT @@GLOBAL.wait_timeout")
    found = attempt(server.url(driver), holdfast.create_engine)
    assert (found.problem, found.hints) == ("", ())
    assert found.server is not None
    assert server.version in found.server.version
    assert found.server.account == "app@%"
    assert found.server.database == "test"
    assert found.server.idle_limit_seconds == idle
    no_database = attempt(server.url(driver, database=""), holdfast.create_engine).server
    assert no_database is not None
    assert no_database.database is None


def test_a_full_account_is_waited_for_a_second_at_most(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER 'one'@'%' IDENTIFIED BY 'one' WITH MAX_USER_CONNECTIONS 1")
    url = server.url(user="one", password="one", database="")
    engine = create_engine(url)
    with engine.connect():
        began = time.monotonic()
        found = attempt(url, holdfast.create_engine)
        assert time.monotonic() - began < 10, "and not for pool_timeout"
    engine.dispose()
    assert "SHOW PROCESSLIST" in " ".join((found.problem, *found.hints))


def test_another_database_answers_without_a_name() -> None:
    assert attempt(make_url("sqlite://"), holdfast.create_engine) == Attempt()


def test_a_refusal_comes_with_what_holdfast_knows_of_it(server: Server) -> None:
    found = attempt(server.url(password="wrong"), holdfast.create_engine)
    assert found.server is None
    assert found.problem.startswith("The connection failed: (1045")
    assert any("refused the account or its password" in hint for hint in found.hints)


@pytest.mark.slow
def test_a_url_that_waits_for_the_server_is_tried_once(server: Server, driver: str) -> None:
    with Proxy.for_server(server) as proxy:
        proxy.refuse()
        url = server.url(driver, host=proxy.host, port=proxy.port, query={"holdfast_wait_for_server": "60"})
        began = time.monotonic()
        found = attempt(url, holdfast.create_engine)
    assert found.problem.startswith("The connection failed: ")
    assert time.monotonic() - began < 30


def test_an_asyncio_driver_is_not_tried() -> None:
    found = attempt(make_url("mysql+aiomysql://me@h/d"), holdfast.create_engine)
    assert "is an asyncio driver" in found.problem
