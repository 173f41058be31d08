"""What is said when a server refuses an account: on MariaDB and MySQL, with each driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD, EngineFactory
from tests.messages.cases import REFUSED, TLS_ONLY, Case
from tests.messages.conftest import Message, check, prepared


def of(flavour: str, cases: list[Case]) -> list[Any]:
    return [
        pytest.param(case, driver, id=f"{case.name}-{driver}")
        for case in cases
        if flavour in case.servers
        for driver in case.drivers
        if not (case.fresh and (flavour, driver) == ("mysql", "mysqlconnector"))
    ]


@pytest.mark.parametrize(("case", "driver"), of("mariadb", REFUSED))
def test_mariadb_refuses(plain_mariadb: Server, case: Case, driver: str, message: Message) -> None:
    check(case, message(case.url(prepared(plain_mariadb, case), driver)))


@pytest.mark.mysql
@pytest.mark.parametrize(("case", "driver"), of("mysql", REFUSED))
def test_mysql_refuses(plain_mysql: Server, case: Case, driver: str, message: Message) -> None:
    check(case, message(case.url(prepared(plain_mysql, case), driver)))


@pytest.fixture(scope="module")
def strict_mariadb() -> Iterator[Server]:
    with Server(tls=True, options={"require_secure_transport": "ON"}) as server:
        yield server


@pytest.fixture(scope="module")
def strict_mysql() -> Iterator[Server]:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, tls=True, options={"require_secure_transport": "ON"}) as server:
        yield server


@pytest.mark.parametrize(("case", "driver"), of("mariadb", TLS_ONLY))
def test_mariadb_wants_tls(strict_mariadb: Server, case: Case, driver: str, message: Message) -> None:
    check(case, message(case.url(strict_mariadb, driver)))


@pytest.mark.mysql
@pytest.mark.parametrize(("case", "driver"), of("mysql", TLS_ONLY))
def test_mysql_wants_tls(strict_mysql: Server, case: Case, driver: str, message: Message) -> None:
    check(case, message(case.url(strict_mysql, driver)))


def test_a_server_without_tls_is_named_where_the_driver_tells(plain_mariadb: Server, message: Message) -> None:
    said = message(plain_mariadb.url("pymysql", query={"ssl_ca": __file__, "ssl_verify_cert": "false"}))
    assert "the server offers no TLS, and TLS was asked for" in said
    assert page("errors/2026") in said


def test_a_host_that_no_account_may_come_from(driver: str, message: Message) -> None:
    with Server() as server:
        server.execute("DELETE FROM mysql.global_priv WHERE host NOT IN ('localhost')")
        server.execute("FLUSH PRIVILEGES")
        said = message(server.url(driver))
    assert "the server has no account at all for where you come from" in said
    assert "127.0.0.1" in said


def test_a_statement_without_a_database_is_told_where_its_name_belongs(
    server: Server, driver: str, held: EngineFactory
) -> None:
    for database, told in (("", True), ("test", False)):
        engine = held(server.url(driver, database=database))
        with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
            connection.exec_driver_sql("SELECT * FROM nosuch")
        words = str(caught.value)
        assert ("1046" in words) is ("the URL names no database" in words) is told
        assert (page("errors/1045#databases") in words) is told


def test_an_option_that_the_driver_does_not_have_is_named(server: Server, driver: str, held: EngineFactory) -> None:
    engine = held(server.url(driver, query={"foo": "Kx7qZv9w"}))
    with pytest.raises((TypeError, AttributeError)) as caught:  # the driver's own
        engine.connect()
    assert "foo is no option of" in str(caught.value)
    assert page("errors/database-url-error") in str(caught.value)
    assert "Kx7qZv9w" not in str(caught.value)


@pytest.mark.mysql
def test_pymysql_without_cryptography_is_told_what_to_install(
    plain_mysql: Server, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymysql._auth._have_cryptography", False)
    plain_mysql.execute("DROP USER IF EXISTS 'unseen'@'%'")
    plain_mysql.execute("CREATE USER 'unseen'@'%' IDENTIFIED BY 'Kx7qZv9w'")
    engine = held(plain_mysql.url("pymysql", user="unseen", password="Kx7qZv9w"))
    for _ in range(2):
        with pytest.raises(RuntimeError) as caught:
            engine.connect()
        words = str(caught.value)
        assert words.startswith("'cryptography' package is required"), "the driver's own words stay"
        assert words.count("pip install cryptography") == 1
        assert "holdfast_tls=required" in words
        assert "Kx7q" not in words


@pytest.mark.mysql
def test_whatever_mysql_says_to_mysql_connector_without_tls_the_cure_is_named(
    plain_mysql: Server, message: Message
) -> None:
    """For an account that does not exist it chooses a plugin by the name; for some the driver refuses by itself."""
    for number in range(12):
        words = message(plain_mysql.url("mysqlconnector", user=f"nobody{number}", password="Kx7qZv9w"))
        assert "add holdfast_tls=required to the url" in " ".join(words.lower().split())
