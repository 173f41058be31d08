"""A database URL works, or the error says what is wrong with it; and no piece of a password is ever repeated."""

from __future__ import annotations

import gc
import logging
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, DriverNotInstalled, SettingError, urls
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read
from tests.promises.bare import run_bare
from tests.urls.helpers import AWKWARD, assert_kept_secret, said

Create = Callable[..., Engine]


def by_plugin(url: str, **options: Any) -> Engine:
    """SQLAlchemy's own function, with the plugin named in the URL."""
    first = "?" not in url.rpartition("/")[2]
    return sqlalchemy.create_engine(f"{url}{'?' if first else '&'}plugin=holdfast", **options)


both_ways = pytest.mark.parametrize("create", [by_plugin, holdfast.create_engine])


def shown_by(engine: Engine) -> tuple[str, ...]:
    hold = holdfast.status(engine)
    return repr(engine), str(engine.url), repr(engine.url), repr(hold), hold.where, hold.reason


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What anybody logged, at any level."""
    for name in (None, "holdfast", "sqlalchemy", "mysql.connector"):
        caplog.set_level(logging.DEBUG, name)
    return lambda: [caplog.text, *(repr(record.__dict__) for record in caplog.records)]


@pytest.fixture(scope="module")
def awkward(server: Server) -> str:
    server.create_account("awkward", AWKWARD)
    return "awkward"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nothing answers, and nobody else can take in the meantime."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# -- the scheme --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
@both_ways
def test_a_url_without_a_driver_means_mysqlclient_and_works(server: Server, create: Create, scheme: str) -> None:
    engine = create(f"{scheme}://app:app@127.0.0.1:{server.port}/test")
    assert read(engine, 5) == 5
    assert engine.dialect.driver == "mysqldb"
    assert holdfast.status(engine).active
    engine.dispose()


def test_mariadb_as_the_name_of_the_database_is_held_too(server: Server, driver: str, held: EngineFactory) -> None:
    url = server.url(driver)
    engine = held(url.set(drivername=url.drivername.replace("mysql+", "mariadb+")))
    assert read(engine, 5) == 5
    assert holdfast.status(engine).counters.connects == 1


def test_a_misspelt_plugin_is_sqlalchemys_error() -> None:
    with pytest.raises(NoSuchModuleError, match=r"Can't load plugin: sqlalchemy\.plugins:holdfst"):
        sqlalchemy.create_engine("mysql+pymysql://u:p@127.0.0.1/db?plugin=holdfst")


@both_ways
def test_a_misspelt_setting_is_refused_at_once(create: Create) -> None:
    with pytest.raises(SettingError, match="Did you mean holdfast_pipeline"):
        create("mysql+pymysql://u:p@127.0.0.1/db?holdfast_pipelne=true")


@pytest.mark.parametrize("wrong", ["", "mysql", "mysql:/u:p@h/db", "://", "127.0.0.1/db", "mysql+pymysql:u@h"])
def test_what_is_no_url_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(DatabaseURLError, match=r"mysql\+mysqldb://user:password@host:3306/database"):
        holdfast.create_engine(wrong)


# -- the driver --------------------------------------------------------------------------------------------------------

MISSING = [
    ("mysql", "mysqlclient", "MySQLdb"),
    ("mariadb", "mysqlclient", "MySQLdb"),
    ("mysql+mysqldb", "mysqlclient", "MySQLdb"),
    ("mysql+pymysql", "PyMySQL", "pymysql"),
    ("mysql+mysqlconnector", "mysql-connector-python", "mysql.connector"),
]


def missing(scheme: str, *installed: str, function: str = "sqlalchemy_holdfast.create_engine") -> str:
    """What is said, in a Python without the driver, about a URL that needs it."""
    code = f"""
import sqlalchemy, sqlalchemy_holdfast
try:
    {function}("{scheme}://user:Kx7qZv9w@127.0.0.1/db?plugin=holdfast")
except ImportError as error:
    print(type(error).__name__, error.name, error, sep="|")
"""
    return run_bare(code, *installed)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "distribution", "module"), MISSING)
def test_a_missing_driver_is_named_with_what_to_install(scheme: str, distribution: str, module: str) -> None:
    for function in ("sqlalchemy_holdfast.create_engine", "sqlalchemy.create_engine"):
        kind, name, message = missing(scheme, function=function).split("|")
        assert (kind, name) == (DriverNotInstalled.__name__, module)
        assert f"{distribution} ({module})" in message
        assert f"pip install {distribution}." in message
        assert ("means mysql+mysqldb://" in message) is (scheme == "mysql")
        assert ("means mariadb+mysqldb://" in message) is (scheme == "mariadb")
        assert "Installed are" not in message
        assert_kept_secret("Kx7qZv9w", message)


@pytest.mark.slow
def test_a_missing_driver_is_named_with_those_that_are_there() -> None:
    assert "Installed are the drivers for mysql+pymysql://." in missing("mysql", "pymysql")


# -- the server --------------------------------------------------------------------------------------------------------


def failure(engine: Engine) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    return caught.value


@pytest.mark.filterwarnings(r"ignore:Exception ignored .*<socket\.:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ("no server", "nothing answers there: the machine is reached, and no server listens"),
        ("no socket", "nothing answers there: the server's socket file is not there"),
        ("wrong password", "the server refused the account or its password"),
        ("no account", "the server refused the account or its password"),
        ("no database", "and there is no database nodb on this server"),
        ("another's database", "'narrow'@'%' may not use the database test"),
    ],
)
def test_what_cannot_be_connected_to_raises_the_drivers_error_with_a_hint_and_no_password(
    server: Server,
    driver: str,
    held: EngineFactory,
    stock: EngineFactory,
    closed_port: int,
    what: str,
    hint: str,
    everything_logged: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "Kx7qZv9w"
    server.execute("CREATE OR REPLACE USER 'narrow'@'%%' IDENTIFIED BY %s", (secret,))
    urls_by_name = {
        "no server": server.url(driver, password=secret, port=closed_port),
        "no socket": server.url(driver, password=secret, transport="unix", query={"unix_socket": "/nowhere.sock"}),
        "wrong password": server.url(driver, password=secret),
        "no account": server.url(driver, user="nobody", password=secret),
        "no database": server.url(driver, database="nodb"),
        "another's database": server.url(driver, user="narrow", password=secret),
    }
    url = urls_by_name[what]
    ours, theirs = failure(held(url, holdfast_wait_for_server=None)), failure(stock(url))
    assert type(ours) is type(theirs)
    assert type(ours.orig) is type(theirs.orig)
    assert ours.orig is not None
    assert theirs.orig is not None
    assert ours.orig.args == theirs.orig.args
    assert str(theirs).splitlines()[0] in str(ours), "the driver's own words stay"
    assert hint in str(ours)
    assert hint not in str(theirs)
    assert url.render_as_string().partition("@")[2].partition("?")[0] in str(ours), "and where it was"
    assert not ours.connection_invalidated
    engine = held(url, holdfast_wait_for_server=None)
    failure(engine)
    assert_kept_secret(secret, *said(ours), *everything_logged(), *shown_by(engine))
    assert holdfast.status(engine).counters.replaced == {}
    del ours, theirs
    for handler in logging.getLogger().handlers:  # pytest has two; the pool's records in them have the errors
        if isinstance(handler, type(caplog.handler)):
            handler.clear()
    gc.collect()  # PyMySQL does not close a unix socket that it could not connect


def test_a_host_that_cannot_be_resolved(driver: str, held: EngineFactory, stock: EngineFactory) -> None:
    url = URL.create(f"mysql+{driver}", "app", "Kx7qZv9w", "no.such.host.invalid", 3306, "test")
    ours, theirs = failure(held(url, holdfast_wait_for_server=None)), failure(stock(url))
    assert type(ours.orig) is type(theirs.orig)
    assert "no.such.host.invalid" in str(ours)
    assert "holdfast, connecting to" in str(ours)
    assert_kept_secret("Kx7qZv9w", *said(ours))


# -- the password ------------------------------------------------------------------------------------------------------


@both_ways
def test_an_awkward_password_works_when_it_is_escaped(
    server: Server, driver: str, create: Create, awkward: str, everything_logged: Callable[[], list[str]]
) -> None:
    password = urllib.parse.quote_plus(AWKWARD)
    query = "?use_pure=1" if driver == "mysqlconnector" else ""
    engine = create(f"mysql+{driver}://{awkward}:{password}@127.0.0.1:{server.port}/test{query}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT USER()")).scalar_one().startswith("awkward@")
    assert_kept_secret(AWKWARD, *shown_by(engine), *everything_logged())
    engine.dispose()


def test_an_awkward_password_works_as_it_is_in_a_url_object(
    server: Server, driver: str, held: EngineFactory, awkward: str
) -> None:
    engine = held(server.url(driver, user=awkward, password=AWKWARD))
    assert read(engine, 4) == 4
    assert_kept_secret(AWKWARD, *shown_by(engine))


def test_an_awkward_password_that_is_wrong_is_1045_with_the_hint(
    server: Server, driver: str, held: EngineFactory, everything_logged: Callable[[], list[str]]
) -> None:
    engine = held(server.url(driver, password=AWKWARD))
    error = failure(engine)
    assert "1045" in str(error.orig)
    assert "is written as %40 %3A %2F %3F %23 %25" in " ".join(str(error).split())
    assert_kept_secret(AWKWARD, *said(error), *everything_logged(), *shown_by(engine))


UNESCAPED = [
    *(f"Kx7q{character}Zv9w" for character in "@:/?#% +&="),
    *(f"Kx7q{first}Zv9w{second}Gh3t" for first in "@:/?#%" for second in "@:/?#%" if first != second),
    "Kx7q%41Zv9w",
    "@Kx7qZv9w",
    "Kx7qZv9w@",
    "Kx7q[Zv9w]",
    "Kx7q@[Zv9w",
    "Kx7q@Zv9w?Gh3t@plugin=holdfast",
]
HIDES_THE_PLUGIN = re.compile(r"@[^/]*\?")
"""An @ with a ? behind it: SQLAlchemy takes the rest, ?plugin=holdfast with it, for one key of the query."""
NO_PORT = re.compile(r"@[^/?]*:")
"""An @ with a : behind it: SQLAlchemy looks there for a port, and shows what it found."""


@pytest.mark.parametrize("create", [by_plugin, holdfast.create_engine])
@pytest.mark.parametrize("password", UNESCAPED)
def test_an_unescaped_password_works_or_is_an_error_that_says_how_to_write_it(
    server: Server,
    create: Create,
    password: str,
    everything_logged: Callable[[], list[str]],
    request: pytest.FixtureRequest,
) -> None:
    if create is by_plugin and (HIDES_THE_PLUGIN.search(password) or NO_PORT.search(password)):
        stock_first(server, password)
        return
    server.execute("CREATE OR REPLACE USER 'plain'@'%%' IDENTIFIED BY %s", (password,))
    server.execute("GRANT ALL ON test.* TO 'plain'@'%'")
    error: Exception | None = None
    try:
        engine = create(f"mysql+pymysql://plain:{password}@127.0.0.1:{server.port}/test")
    except DatabaseURLError as refused:
        error = refused
    else:
        assert_kept_secret(password, *shown_by(engine))
        try:
            assert read(engine, 6) == 6
        except DBAPIError as denied:
            error = denied
        engine.dispose()
    if error is not None:
        assert_kept_secret(password, *said(error))
        assert isinstance(error, DatabaseURLError) or "1045" in str(error)
        if "%41" in password and "1045" in str(error):
            return  # nobody can tell: the password that was read has no such character
        assert "must be written as %40 %3A %2F %3F %23 %25" in " ".join(str(error).split())
    assert_kept_secret(password, *everything_logged())


def stock_first(server: Server, password: str) -> None:
    """What SQLAlchemy does with such a URL before any plugin is asked: holdfast can change nothing about it."""
    url = f"mysql+pymysql://plain:{password}@127.0.0.1:{server.port}/test?plugin=holdfast"
    if NO_PORT.search(password) and not HIDES_THE_PLUGIN.match(password[password.index("@") :]):
        with pytest.raises(ValueError, match="invalid literal for int"):
            make_url(url)
    else:
        assert "plugin" not in make_url(url).query


@pytest.mark.parametrize("password", ["Kx7q:Zv9w", "Kx7q/Zv9w", "Kx7q?Zv9w", "Kx7q#Zv9w"])
def test_what_sqlalchemy_reads_rightly_unescaped_is_not_refused(password: str) -> None:
    for create in (by_plugin, holdfast.create_engine):
        assert create(f"mysql+pymysql://u:{password}@127.0.0.1/db").url.password == password


@given(st.text("aB3@:/?#%[]&=+ $!~'\"\\", min_size=1, max_size=12))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_unescaped_password_is_parsed_or_a_database_url_error(password: str) -> None:
    url = f"mysql+pymysql://u:{password}@127.0.0.1/db"
    try:
        parsed = urls.parse(url)
        urls.check(parsed, ours=True)
    except DatabaseURLError as error:
        assert_kept_secret(f"u:{password}@", str(error), repr(error))
        return
    if parsed.password == password:
        assert parsed.host == "127.0.0.1"


@given(st.text(max_size=30))
@example(AWKWARD)
def test_quote_plus_as_most_people_write_it_round_trips_but_for_spaces(password: str) -> None:
    """SQLAlchemy reads a + in a password as a +."""
    parsed = urls.parse(f"mysql+pymysql://u:{urllib.parse.quote_plus(password)}@127.0.0.1/db")
    urls.check(parsed, ours=True)
    assert parsed.password == password.replace(" ", "+")


def advised(password: str) -> str:
    """The password, escaped by the expression that the message gives."""
    found = re.search(r"urllib\.parse\.\w+\(password[^)]*\)", urls.ESCAPING)
    assert found, "it names a function"
    return str(eval(found[0], {"urllib": urllib, "password": password}))


TWO_WORDS = "two words"


@pytest.mark.parametrize("password", [AWKWARD, "a+b", "100%", "\u00fc\u20ac", "", TWO_WORDS])
def test_the_escaping_that_the_message_advises_round_trips(password: str) -> None:
    parsed = urls.parse(f"mysql+pymysql://u:{advised(password)}@127.0.0.1/db")
    urls.check(parsed, ours=True)
    assert parsed.password == password


@pytest.mark.slow
@given(st.text(st.characters(min_codepoint=32, codec="ascii"), min_size=1, max_size=24))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_escaped_password_reaches_the_server_as_it_was_meant(server: Server, password: str) -> None:
    server.execute("CREATE OR REPLACE USER 'random'@'%%' IDENTIFIED BY %s", (password,))
    server.execute("GRANT ALL ON test.* TO 'random'@'%'")
    escaped = urllib.parse.quote(password, safe="")
    engine = holdfast.create_engine(f"mysql+pymysql://random:{escaped}@127.0.0.1:{server.port}/test")
    assert read(engine, 8) == 8
    engine.dispose()


# -- other databases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql://u:Kx7qZv9w@h/db", "sqlite:///:memory:", "oracle://u:Kx7qZv9w@h/db"])
@both_ways
def test_a_setting_in_another_databases_url_is_refused(create: Create, url: str) -> None:
    with pytest.raises(DatabaseURLError, match=r"holdfast_probe_timeout.*can have no effect") as caught:
        create(f"{url}?holdfast_probe_timeout=3")
    assert make_url(url).get_backend_name() in str(caught.value)
    assert_kept_secret("Kx7qZv9w", *said(caught.value))


def test_a_setting_as_a_keyword_argument_is_ignored_for_another_database() -> None:
    engine = sqlalchemy.create_engine("sqlite://?plugin=holdfast", holdfast_probe_timeout=3)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 2")).scalar() == 2
    engine.dispose()
    with pytest.raises(SettingError):
        sqlalchemy.create_engine("sqlite://?plugin=holdfast", holdfast_probe_timeout="soon")


def test_urls_that_stock_accepts_are_accepted(server: Server, held: EngineFactory) -> None:
    server.execute("CREATE DATABASE IF NOT EXISTS `db@prod`")
    server.create_account("odd", "100%")
    engine = holdfast.create_engine(f"mysql+pymysql://odd:100%@{server.host}:{server.port}/db@prod")
    assert read(engine, 3) == 3
    engine.dispose()
