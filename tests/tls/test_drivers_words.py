"""TLS in the drivers' own words: as the driver does, with a warning when it does less."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read

Log = Callable[[], list[str]]


def said_of_tls(log: Log) -> list[str]:
    return [line for line in log() if "TLS was asked for" in line]


@pytest.mark.parametrize(
    ("driver", "arguments", "words"),
    [
        ("mysqldb", {"ssl_mode": "REQUIRED"}, "ssl_mode"),
        ("mysqldb", {"ssl": True}, "ssl"),
        ("mysqldb", {"ssl": {"ca": "CA"}}, "ssl_ca"),
        ("mysqlconnector", {"ssl_ca": "CA"}, "ssl_ca"),
    ],
    ids=str,
)
def test_a_connection_in_clear_that_was_to_have_tls_is_told_of_once(
    server: Server, secure: Server, held: EngineFactory, log: Log, driver: str, arguments: dict[str, Any], words: str
) -> None:
    engine = held(server.url(driver), connect_args=with_ca(arguments, secure.tls_ca), poolclass=NullPool)
    for number in range(3):
        assert read(engine, number) == number, "it is used, as without holdfast"
    (line,) = said_of_tls(log)
    assert f"TLS was asked for with {words}, and a connection is less: it has no TLS" in line
    assert f"In place of {words} set holdfast_tls=verify-identity" in line


@pytest.mark.parametrize(
    ("driver", "arguments", "words"),
    [("pymysql", {"ssl_ca": "CA"}, "ssl_ca"), ("mysqlconnector", {"ssl_ca": "CA"}, "ssl_ca")],
    ids=str,
)
def test_a_certificate_that_was_to_be_verified_and_was_not_is_told_of_once(
    secure: Server, other_ca: str, held: EngineFactory, log: Log, driver: str, arguments: dict[str, Any], words: str
) -> None:
    engine = held(secure.url(driver), connect_args=with_ca(arguments, other_ca), poolclass=NullPool)
    for number in range(3):
        assert read(engine, number) == number
    (line,) = said_of_tls(log)
    assert (
        f"TLS was asked for with {words}, and a connection is less: the server's certificate was not verified" in line
    )


@pytest.mark.parametrize(
    ("driver", "arguments"),
    [
        ("mysqldb", {}),
        ("mysqldb", {"ssl_mode": "PREFERRED"}),
        ("mysqldb", {"ssl_mode": "REQUIRED"}),
        ("mysqldb", {"ssl": {"ca": "CA"}}),
        ("pymysql", {}),
        ("pymysql", {"ssl_disabled": True}),
        ("pymysql", {"ssl": {"ca": "CA"}}),
        ("mysqlconnector", {}),
        ("mysqlconnector", {"ssl_ca": "CA", "ssl_verify_cert": True}),
    ],
    ids=str,
)
def test_nothing_is_said_of_what_is_as_it_was_asked_for(
    secure: Server, held: EngineFactory, log: Log, driver: str, arguments: dict[str, Any]
) -> None:
    assert read(held(secure.url(driver), connect_args=with_ca(arguments, secure.tls_ca)), 1) == 1
    assert said_of_tls(log) == []


REFUSING: dict[str, dict[str, Any]] = {
    "mysqldb": {"ssl": {"ca": "CA"}, "ssl_mode": "VERIFY_IDENTITY"},
    "pymysql": {"ssl_ca": "CA", "ssl_verify_cert": True},
    "mysqlconnector": {"ssl_ca": "CA", "ssl_verify_cert": True},
}


def test_a_refused_certificate_is_no_server_that_is_away(
    secure: Server, other_ca: str, driver: str, held: EngineFactory, log: Log
) -> None:
    """PyMySQL has 2003 for it and mysql-connector 2055, the numbers of a server that does not answer."""
    engine = held(secure.url(driver), connect_args=with_ca(REFUSING[driver], other_ca))
    began = time.monotonic()
    with pytest.raises(DBAPIError, match="signed by an authority that is not among the trusted ones") as caught:
        engine.connect()
    assert time.monotonic() - began < 8
    assert holdfast.status(engine).counters.unanswered == 0
    assert "ssl_ca" in str(caught.value)
    assert "nothing answers" not in str(caught.value)
    assert not [line for line in log() if "does not answer" in line]


def test_without_a_version_in_common(driver: str, held: EngineFactory) -> None:
    with Server(tls=True, options={"tls_version": "TLSv1.1"}) as old:
        engine = held(old.url(driver), holdfast_tls="required")
        with pytest.raises(DBAPIError, match="no TLS version or cipher in common"):
            engine.connect()
        assert holdfast.status(engine).counters.unanswered == 0


@pytest.mark.mysql
def test_a_server_that_takes_tls_only(driver: str, mysql_tls_server: Server, held: EngineFactory) -> None:
    mysql_tls_server.execute("SET GLOBAL require_secure_transport = 1")
    try:
        engine = held(mysql_tls_server.url(driver), holdfast_tls="off")
        with pytest.raises(DBAPIError, match="3159") as caught:
            engine.connect()
    finally:
        mysql_tls_server.execute("SET GLOBAL require_secure_transport = 0")
    assert "the server takes only connections with TLS (require_secure_transport)" in str(caught.value)
    assert "Set holdfast_tls=verify-identity" in str(caught.value)


def with_ca(arguments: dict[str, Any], ca: str | None) -> dict[str, Any]:
    """Put a file in the place of "CA"."""
    return {
        name: ca if value == "CA" else with_ca(value, ca) if isinstance(value, dict) else value
        for name, value in arguments.items()
    }
