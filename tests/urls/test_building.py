"""holdfast.url: any part survives, what cannot be meant is refused, and what it built connects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, SettingError, urls
from sqlalchemy_holdfast.lab import Server
from tests.urls.helpers import AWKWARD, LATER_THAN_20, SECRET, option_file, refused

# -- parts -------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=20), st.none() | st.text(max_size=30))
@example("me", AWKWARD)
@example("a:b/c@d", "")
@settings(deadline=None)
def test_any_username_and_password_survive(username: str, password: str | None) -> None:
    assume(not any(value and value[0] + value[-1] in ("{}", "<>") for value in (username, password)))
    read = make_url(holdfast.url(username, password, "db.example.org", "shop"))
    assert (read.username, read.password, read.host, read.database) == (username, password, "db.example.org", "shop")
    assert read.query["plugin"] == "holdfast"
    urls.check(read, ours=True)


def test_every_character_that_means_something_is_escaped() -> None:
    """Also those that SQLAlchemy would read as they are: the URL may be given to another program."""
    built = holdfast.url("a@b", "p@s:w/o?r#d%4 1+", "h", "me$shop", driver="pymysql")
    assert built == "mysql+pymysql://a%40b:p%40s%3Aw%2Fo%3Fr%23d%254%201%2B@h/me$shop?plugin=holdfast"


@given(st.text(min_size=1, max_size=20))
@example("me$shop")
@example("100%")
@example("what?")
@settings(deadline=None)
def test_any_database_survives_or_is_refused(database: str) -> None:
    odd = {"@", "/", "?", "{", "<"} & set(database) or database != database.rstrip()
    try:
        built = holdfast.url("me", "p", "db.example.org", database)
    except DatabaseURLError:
        if not odd:
            raise
    else:
        assert make_url(built).database == database


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("db.example.org", "db.example.org", None),
        ("db.example.org:3307", "db.example.org", 3307),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:3307", "::1", 3307),
        ("2001:db8::10", "2001:db8::10", None),
        ("my_container", "my_container", None),
        (None, "localhost", None),
    ],
)
def test_hosts(given: str | None, host: str, port: int | None) -> None:
    read = make_url(holdfast.url("me", "p", given, "shop"))
    assert (read.host, read.port) == (host, port)


def test_a_path_is_a_socket() -> None:
    read = make_url(holdfast.url("me", "p", "/run/my sql/d.sock", "shop", port=3307))
    assert (read.host, read.port, read.query["unix_socket"]) == ("localhost", None, "/run/my sql/d.sock")


@pytest.mark.parametrize("port", [3307, "3307"])
def test_a_port_is_a_number_or_its_digits(port: int | str) -> None:
    assert make_url(holdfast.url("me", port=port)).port == 3307


def test_the_driver_is_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert holdfast.url("me").startswith("mysql+mysqldb://me@localhost?")
    for there, first in (({"pymysql", "mysqlconnector"}, "pymysql"), ({"mysqlconnector"}, "mysqlconnector")):
        monkeypatch.setattr(
            "sqlalchemy_holdfast.drivers.is_installed", lambda driver, there=there: driver.url_name in there
        )
        assert holdfast.url("me").startswith(f"mysql+{first}://")
    monkeypatch.setattr("sqlalchemy_holdfast.drivers.is_installed", lambda driver: False)
    assert holdfast.url("me").startswith("mysql+mysqldb://")
    assert holdfast.url("me", driver="pymysql").startswith("mysql+pymysql://")


def test_settings_and_more_for_the_query() -> None:
    built = holdfast.url(
        "me", query={"charset": "utf8mb4", "plugin": "other"}, holdfast_probe_after_idle=None, holdfast_pipeline=False
    )
    assert make_url(built).query == {
        "charset": "utf8mb4",
        "plugin": ("other", "holdfast"),
        "holdfast_probe_after_idle": "off",
        "holdfast_pipeline": "off",
    }
    with pytest.raises(SettingError, match="holdfast_probe_timeout=soon is not accepted"):
        holdfast.url("me", holdfast_probe_timeout="soon")
    with pytest.raises(SettingError, match="Did you mean holdfast_pipeline"):
        holdfast.url("me", holdfast_pipelne=True)


@pytest.mark.parametrize(
    ("argument", "name"), [("user", "username"), ("db", "database"), ("pool_recycle", "holdfast_")]
)
def test_an_unknown_argument_is_a_type_error_with_the_right_name(argument: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"no argument '{argument}'.*{name}"):
        holdfast.url(**dict[str, Any]({argument: "me"}))


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({}, "needs a user name, and none was given"),
        ({"environ": {}}, "the environment has none of DATABASE_URL"),
        ({"username": "me", "driver": "mysqlclient"}, "Did you mean mysqldb?"),
        ({"username": "me", "driver": "psycopg"}, "The drivers are mysqldb, pymysql, mysqlconnector."),
        ({"username": "me", "port": "33o6"}, "not a number from 1 to 65535"),
        ({"username": "me", "port": 70000}, "not a number from 1 to 65535"),
        ({"username": "me", "host": ""}, "The host is empty"),
        ({"username": "me", "host": f"mysql://me:{SECRET}@h/d"}, "The host is a whole URL"),
        ({"username": "me", "host": f"{SECRET}@h"}, "a character that no host name has"),
        ({"username": "me", "host": "{hostname}"}, "a character that no host name has"),
        ({"username": "me", "host": "h:1", "port": 2}, "keep one of them"),
        ({"username": "{username}"}, "in braces or angle brackets"),
        ({"username": "me", "query": {"pool_recycle": "280"}}, "is an argument of create_engine"),
        ({"username": "me", "database": "a@b/c"}, "belongs to the user name or password"),
    ],
)
def test_a_part_that_cannot_be_meant_is_refused(keywords: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(**{"password": SECRET, **keywords})


def test_a_database_that_sqlalchemy_20_cannot_write_is_refused_there() -> None:
    if LATER_THAN_20:
        assert make_url(holdfast.url("me", database="what?")).database == "what?"
    else:
        assert "cannot hold" in refused("me", SECRET, database="what?")


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dollars(server: Server) -> str:
    """An account that has only databases called account$name, as PythonAnywhere's have, and an awkward password."""
    server.create_account("dollar", AWKWARD, databases=["dollar$%"])
    server.execute("CREATE DATABASE `dollar$shop`")
    return "dollar"


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_username_dollar_name_database_connects(server: Server, driver: str, dollars: str, transport: str) -> None:
    host = f"127.0.0.1:{server.port}" if transport == "tcp" else server.socket
    query = {"use_pure": "1"} if driver == "mysqlconnector" else None
    built = holdfast.url(dollars, AWKWARD, host, "shop", at="pythonanywhere", driver=driver, query=query)
    engine = sqlalchemy.create_engine(built)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DATABASE()")).scalar_one() == "dollar$shop"
        assert connection.execute(text("SELECT CURRENT_USER()")).scalar_one() == "dollar@%"
    assert holdfast.status(engine).active
    engine.dispose()


def test_the_fixtures_account_connects_from_each_source(server: Server, tmp_path: Path) -> None:
    file = option_file(
        tmp_path, f"[client]\nuser=app\npassword='app'\nhost=127.0.0.1\nport={server.port}\ndatabase=test\n"
    )
    environ = {"DATABASE_URL": f"mysql://app:app@127.0.0.1:{server.port}/test"}
    for built in (holdfast.url(my_cnf=file), holdfast.url(environ={**os.environ, **environ})):
        engine = sqlalchemy.create_engine(built)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT DATABASE()")).scalar_one() == "test"
        engine.dispose()
