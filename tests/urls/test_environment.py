"""holdfast.url reads each family of environment variables as its host means it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import urls
from tests.urls.helpers import AWKWARD, SECRET, refused


@pytest.mark.parametrize("name", urls.URL_VARIABLES)
@pytest.mark.parametrize("scheme", ["mysql", "mysql2", "mysql+mysqldb"])
def test_a_whole_url_is_upgraded(name: str, scheme: str) -> None:
    built = holdfast.url(environ={name: f"{scheme}://me:p%40ss@db.example.org:3307/shop?charset=utf8mb4"})
    assert built == "mysql+mysqldb://me:p%40ss@db.example.org:3307/shop?charset=utf8mb4&plugin=holdfast"


def test_a_driver_and_mariadb_in_the_variable_stay() -> None:
    built = holdfast.url(environ={"DATABASE_URL": "mariadb+pymysql://me:p@h/shop?plugin=holdfast"})
    assert built == "mariadb+pymysql://me:p@h/shop?plugin=holdfast"


def test_the_first_url_that_is_for_mysql_counts() -> None:
    environ = {"DATABASE_URL": "postgresql://u:p@h/d", "MYSQL_URL": "mysql://me:p@h/shop"}
    assert make_url(holdfast.url(environ=environ)).username == "me"


@pytest.mark.parametrize("foreign", ["sqlite:///development.db", "postgresql+psycopg://u:p@h/d"])
def test_another_databases_url_is_returned_as_it_is(foreign: str) -> None:
    assert holdfast.url(environ={"DATABASE_URL": foreign}) == foreign
    assert make_url(holdfast.url("me", environ={"DATABASE_URL": foreign})).username == "me"


@pytest.mark.parametrize("family", [0, 1, 2], ids=["MYSQL_", "MARIADB_", "MYSQL"])
def test_each_family_of_variables(family: int) -> None:
    values = {"username": "me", "password": AWKWARD, "host": "db", "port": "3307", "database": "shop"}
    environ = {variables[family]: values[part] for part, variables in urls.VARIABLES.items()}
    read = make_url(holdfast.url(environ=environ))
    assert (read.username, read.password, read.host, read.port, read.database) == ("me", AWKWARD, "db", 3307, "shop")


def test_kubernetes_port_variable_is_understood() -> None:
    environ = {"MYSQL_USER": "me", "MYSQL_HOST": "mysql", "MYSQL_PORT": "tcp://10.0.0.1:3307"}
    assert make_url(holdfast.url(environ=environ)).port == 3307


def test_an_argument_comes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\nuser=file\npassword=file\ndatabase=file\nport=1\n")
    environ = {"MYSQL_USER": "environ", "MYSQL_DATABASE": "environ"}
    read = make_url(holdfast.url("argument", environ=environ, my_cnf=file))
    assert (read.username, read.database, read.password, read.port) == ("argument", "environ", "file", 1)


def test_a_port_stays_with_its_host() -> None:
    environ = {"DATABASE_URL": "mysql://me:p@db:3307/shop?unix_socket=/s"}
    read = make_url(holdfast.url(host="127.0.0.1", environ=environ))
    assert (read.host, read.port, "unix_socket" in read.query) == ("127.0.0.1", None, False)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DATABASE_URL": f"mysql://me:{SECRET}@1@h/shop"}, "DATABASE_URL: The host or database part"),
        ({"MYSQL_URL": f"mysql://me:{SECRET}@a:b@h/shop"}, "MYSQL_URL: The database URL cannot be parsed"),
        ({"DATABASE_URL": f'"mysql://me:{SECRET}@h/shop"'}, "DATABASE_URL: The database URL starts with a quotation"),
        ({"DATABASE_URL": f"jdbc:mysql://me:{SECRET}@h/d"}, "starts with jdbc:"),
        ({"DATABASE_URL": f"mysql://me:{SECRET}@h/d?ssl-mode=REQUIRED"}, "Write holdfast_tls=required"),
        ({"MYSQL_USER": "me", "MYSQL_PORT": SECRET}, "MYSQL_PORT is not a port number"),
        ({"DATABASE_URL": f"{SECRET}"}, "DATABASE_URL: The database URL cannot be parsed: it has no ://"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_named(environ: dict[str, str], sentence: str) -> None:
    assert sentence in refused(environ=environ)
