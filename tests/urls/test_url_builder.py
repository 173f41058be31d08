"""holdfast.url: any part survives, sources are read as their programs read them, each mistake gets its sentence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, make_url, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, SettingError, urls
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.urls import option_files
from tests.urls.test_urls import AWKWARD, assert_kept_secret, said

SECRET = "Kx7qZv9w"
LATER_THAN_20 = make_url("mysql://host/%24").database == "$"


def refused(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(DatabaseURLError) as caught:
        holdfast.url(*arguments, **keywords)
    assert_kept_secret(SECRET, *said(caught.value))
    return str(caught.value)


def wrong(url: str) -> list[str]:
    return [finding.text for finding in urls.examine(url) if finding.wrong]


def advice(url: str) -> list[str]:
    return [finding.text for finding in urls.examine(url) if not finding.wrong]


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
        ({"username": "me", "query": {"pool_recycle": "280"}}, "is an option of create_engine"),
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


# -- the environment ---------------------------------------------------------------------------------------------------


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
        ({"DATABASE_URL": f"mysql://me:{SECRET}@h/d?ssl-mode=REQUIRED"}, "Write ssl_ca="),
        ({"MYSQL_USER": "me", "MYSQL_PORT": SECRET}, "MYSQL_PORT is not a port number"),
        ({"DATABASE_URL": f"{SECRET}"}, "DATABASE_URL: The database URL cannot be parsed: it has no ://"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_named(environ: dict[str, str], sentence: str) -> None:
    assert sentence in refused(environ=environ)


# -- option files ------------------------------------------------------------------------------------------------------

VALUES = [
    "plain",
    "  spaced  ",
    '"  kept  "',
    "'single'",
    r'"with \"quotes\""',
    r"'it\'s'",
    r"tab\tnew\nspace\sback\\slash",
    r"unknown\qescape",
    '"has # inside"',
    "before # comment",
    "before#comment",
    '"unclosed',
    r'"escaped\"# quote"',
    r"plain\"# quote",
    "a=b=c",
    "",
    r"C:\\Users",
    r"'#' # and '#'",
    "semi;colon",
    "p@s:s/w%41rd",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_read_as_mariadb_reads_it(server: Server, tmp_path: Path, value: str) -> None:
    """The server's own parser prints what it read, with a blank behind it."""
    file = option_file(tmp_path, f"[mysqld]\nuser = {value}\n")
    executable = server._executable
    done = subprocess.run(
        [str(executable.path), f"--defaults-file={file}", "--print-defaults"],
        env=executable.environment(),
        capture_output=True,
        timeout=60,
    )
    _, mark, theirs = done.stdout.decode().partition("\n--user=")
    assert mark, done
    assert option_files._option_groups(file)["mysqld"]["user"] == theirs.removesuffix("\n").removesuffix(" ")


def option_file(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "my.cnf"
    file.write_text(content, encoding="utf-8")
    return file


def test_an_option_file_with_groups(tmp_path: Path) -> None:
    file = option_file(
        tmp_path,
        '\ufeff# mine\n; and this\n[client]\nuser = me\npassword = "p#1 \\"x\\""\nhost=db.example.org\n'
        "loose-port=3307\nssl-ca=/ca.pem\nskip-ssl\n\n[shop]\ndatabase=shop\nuser=shopper\n",
    )
    client, shop = make_url(holdfast.url(my_cnf=file)), make_url(holdfast.url(my_cnf=str(file), group="shop"))
    assert (client.username, client.password, client.host, client.port) == ("me", 'p#1 "x"', "db.example.org", 3307)
    assert client.query["ssl_ca"] == "/ca.pem"
    assert client.database is None
    assert (shop.username, shop.password, shop.database) == ("shopper", 'p#1 "x"', "shop")


@pytest.mark.parametrize(("host", "socket"), [("", "/s"), ("host=localhost\n", "/s"), ("host=db\n", None)])
def test_a_socket_counts_where_the_client_would_use_it(tmp_path: Path, host: str, socket: str | None) -> None:
    file = option_file(tmp_path, f"[client]\nuser=me\n{host}socket=/s\n")
    assert make_url(holdfast.url(my_cnf=file)).query.get("unix_socket") == socket


def test_the_home_directory_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    option_file(tmp_path, "[client]\nuser=me\n")
    assert make_url(holdfast.url(my_cnf="~/my.cnf")).username == "me"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (f"[client]\npassword={SECRET}\n", "[client] in {file} has no user"),
        (f"[mysql]\npassword={SECRET}\n[dump]\n", "{file} has no group [client]. It has [mysql], [dump]."),
        ("", "has no group [client]. It has no groups at all."),
        (f"[client]\npassword={SECRET}\n!includedir /etc/mysql/conf.d\n", "Line 3 of the option file {file} includes"),
        (f"password={SECRET}\n", "Line 1 of the option file {file} stands before the first group"),
        (f"[client\npassword={SECRET}\n", "Line 1 of the option file {file} opens a group"),
        (f"[client]\nuser=me\nport={SECRET}\n", "The port is not a number"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    file = option_file(tmp_path, content)
    assert sentence.format(file=file) in refused(my_cnf=file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: no such file or directory" in refused(my_cnf=tmp_path / "none")
    assert "cannot be read: is a directory" in refused(my_cnf=tmp_path)
    (tmp_path / "latin").write_bytes(f"[client]\npassword={SECRET}\xfc".encode("latin-1"))
    assert "cannot be read: it is not UTF-8" in refused(my_cnf=tmp_path / "latin")


# -- checking ----------------------------------------------------------------------------------------------------------

PA = "me.mysql.pythonanywhere-services.com"

WRONG = [
    ("mysql+mysqldb://{username}:{password}@{hostname}/{databasename}", "still a placeholder"),
    (f"mysql+mysqldb://<username>:{SECRET}@<host>/<db>", "still a placeholder"),
    (f"mysql+mysqldb://<me>:{SECRET}@h/db", "The user name in the URL is in braces or angle brackets"),
    ("mysql+mysqldb://me:<Kx7qZv9w>@h/db", "The password in the URL is in braces or angle brackets"),
    (f"mysql+mysqldb://me:{SECRET}@h/{{db}}", "The database in the URL is in braces or angle brackets"),
    (f"mysql+mysqldb://me:{SECRET}@ h/db", "The host in the URL has white space"),
    (f"mysql+mysqldb://me:{SECRET}@h/db\n", "ends with white space"),
    (f" mysql+mysqldb://me:{SECRET}@h/db", "starts with white space"),
    (f"'mysql+mysqldb://me:{SECRET}@h/db'", "starts with a quotation mark"),
    (f"DATABASE_URL=mysql+mysqldb://me:{SECRET}@h/db", "a variable's name and a = in front of it"),
    (f"jdbc:mysql://me:{SECRET}@h/db", "jdbc:"),
    (f"mysql-pymysql://me:{SECRET}@h/db", "what stands before :// is not a database"),
    (f"mysql+mysqlclient://me:{SECRET}@h/db", "Did you mean mysql+mysqldb://?"),
    (f"mysql+pymsql://me:{SECRET}@h/db", "Did you mean mysql+pymysql://?"),
    (f"mysql+PyMySQL://me:{SECRET}@h/db", "Did you mean mysql+pymysql://?"),
    (f"mysql+mysql_connector://me:{SECRET}@h/db", "Did you mean mysql+mysqlconnector://?"),
    (f"mysq+pymysql://me:{SECRET}@h/db", "Did you mean mysql+pymysql://?"),
    (f"mysqli://me:{SECRET}@h/db", "Did you mean mysql://?"),
    (f"mysql+mysqldb://me:{SECRET}@h:33o6/db", "the port, between the : behind the host and the next /"),
    (f"mysql+mysqldb://me:{SECRET}@h:70000/db", "The port 70000 in the URL is not possible"),
    (f"mysql+mysqldb://me:{SECRET}@1@h/db", "must be written as %40"),
    (f"mysql+mysqldb://me:{SECRET}@a:b@h/db", "it has more than one @"),
    (f"mysql+mysqldb://me:{SECRET}@a?b@h/db", "an @ behind its ?"),
    (f"mysql+mysqldb://me:{SECRET}@{PA}/shop", "write me$shop in place of shop"),
    (f"mysql+mysqldb://me:{SECRET}@me.mysql.eu.pythonanywhere-services.com/shop", "write me$shop in place of shop"),
    (f"mysql+mysqldb://me:{SECRET}@h/db?pool_recycle=280", "pool_recycle in the URL is an option of create_engine"),
    (f"mysql+pymysql://me:{SECRET}@h/db?ssl-mode=REQUIRED", "Write ssl_ca="),
    (f"mysql+pymysql://me:{SECRET}@h/db?holdfast_pipelne=1", "Did you mean holdfast_pipeline"),
    (f"sqlite:///{SECRET}?holdfast_pipeline=1", "can have no effect"),
    ("", "is empty"),
    (SECRET, "it has no ://"),
]


@pytest.mark.parametrize(("url", "sentence"), WRONG)
def test_each_mistake_gets_its_sentence(url: str, sentence: str) -> None:
    found = wrong(url)
    assert any(sentence in text for text in found), found
    assert_kept_secret(SECRET, *(text for text in found if "Did you mean holdfast_pipeline" not in text))


ADVICE = [
    (f"mysql://me:{SECRET}@h/db", "means mysql+mysqldb://"),
    (f"mysql+mysqldb://me:{SECRET}@h", "names no database"),
    ("mysql+mysqldb://h/db", "has no user name"),
    ("mysql+mysqldb://me:***@h/db", "copied from a log"),
    (f"mysql+mysqldb://me:{SECRET}#@h/db", "reads it all the same"),
    (f"mysql+mysqldb://me:{SECRET}100%@h/db", "reads it all the same"),
    (f"mysql+mysqldb://me:{SECRET}%41@h/db", "which nobody escapes"),
    (f"mysql+mysqldb://me:{SECRET}@h/db", "plugin=holdfast is not in the URL"),
    (f"mysql+mysqldb://me:{SECRET}@localhost:3307/db", "localhost means the server's Unix socket"),
    (f"mysql+mysqldb://me:{SECRET}@localhost/me$shop", f"the host is {PA}"),
    (f"mysql+mysqldb://you:{SECRET}@{PA}/you$shop", "The host belongs to the account me"),
    (f"mysql+mysqldb://me:{SECRET}@{PA}/Me$shop", "The database belongs to Me"),
    (f"mysql+pymysql://root:{SECRET}@g.prod.aws.tidbcloud.com/d", "listens on port 4000"),
    (f"mysql+pymysql://root:{SECRET}@g.prod.aws.tidbcloud.com/d", "starts with the cluster's prefix"),
    (f"mysql+pymysql://me:{SECRET}@x.mysql.database.azure.com/d", "refuses connections without TLS"),
]


@pytest.mark.parametrize(("url", "sentence"), ADVICE)
def test_what_may_be_meant_is_only_advice(url: str, sentence: str) -> None:
    assert wrong(url) == []
    found = advice(url)
    assert any(sentence in text for text in found), found
    assert_kept_secret(SECRET, *found)
    sqlalchemy.create_engine(url, plugins=["holdfast"])  # and not refused


@pytest.mark.parametrize(
    "url",
    [
        f"mysql+mysqldb://me:{SECRET}@{PA}/me$shop?plugin=holdfast",
        f"mysql+pymysql://me:{SECRET}%40%3A@127.0.0.1:3307/me$shop?plugin=holdfast",
        f"mysql+pymysql://me:{SECRET}@[::1]/db?plugin=other&plugin=holdfast&ssl_ca=/x",
        f"mysql+mysqldb://me:{SECRET}@{PA}/information_schema?plugin=holdfast",
        "sqlite:///here.db",
        "postgresql://u:p@h/d",
    ],
)
def test_a_good_url_is_left_in_peace(url: str) -> None:
    assert urls.examine(url) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql+pymysql://{username}:{password}@{hostname}/{databasename}", "still a placeholder"),
        (f"mysql+pymysql://me:{SECRET}@{PA}/shop", r"write me\$shop in place of shop"),
        (f"mysql+pymsql://me:{SECRET}@h/shop", r"Did you mean mysql\+pymysql"),
        (f"mysqll+pymysql://me:{SECRET}@h/shop", r"Did you mean mysql\+pymysql"),
    ],
)
def test_the_plugin_names_the_mistake_too(url: str, sentence: str) -> None:
    with pytest.raises(DatabaseURLError, match=sentence) as caught:
        sqlalchemy.create_engine(url, plugins=["holdfast"])
    assert_kept_secret(SECRET, *said(caught.value))


def test_the_plugin_lets_through_what_only_looks_wrong() -> None:
    for url in (
        f"mysql+pymysql://me:<{SECRET}>@h/db",
        f"mysql+pymysql://me:{SECRET}@{{h}}/db?unix_socket=/s",
        f"mysql+pymysql://me:{SECRET}@{PA}/you$shop",
        f"mysql+pymysql://me:{SECRET}@{PA}",
        f"mysql+pymysql://me:{SECRET}@h/db?pool_recycle=280",
    ):
        sqlalchemy.create_engine(url, plugins=["holdfast"])


def test_an_escaped_dollar_works_or_is_explained() -> None:
    found = wrong(f"mysql+pymysql://me:{SECRET}@{PA}/me%24shop?plugin=holdfast")
    assert len(found) == (0 if LATER_THAN_20 else 1)
    assert all("write the $ itself" in text for text in found)


@given(st.text("aB3@:/?#%[]&=+ ${}<>'\"\\mysql", max_size=40))
@settings(deadline=None)
def test_no_text_is_too_strange_to_be_examined(rest: str) -> None:
    for text_ in (rest, f"mysql+pymysql://{rest}", f"mysql+pymysql://me:{SECRET}{rest}@h/d"):
        found = urls.examine(text_)
        for finding in found:
            assert finding.text.strip().endswith((".", ")", "?"))
            assert SECRET not in finding.text
        if not any(finding.wrong for finding in found):
            assert isinstance(make_url(text_), URL)


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
