"""What stands behind the ? of a URL: what a driver does not take is refused with the right word, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, drivers, urls
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.drivers.options import option_names, refuses
from sqlalchemy_holdfast.lab import Server
from tests.conftest import DRIVERS, EngineFactory, read
from tests.urls.helpers import SECRET, assert_kept_secret, said

ALL = DRIVERS
TWO = ("mysqldb", "pymysql")
REQUIRED = "Write holdfast_tls=required in its place"
IDENTITY = "Write holdfast_tls=verify-identity&holdfast_tls_ca=system in its place"

REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    # the plugin's own name
    ("plugin=holdfst", ALL, "Did you mean plugin=holdfast?"),
    ("plugin=Holdfast", ALL, "Did you mean plugin=holdfast?"),
    ("plugin=HOLDFAST", ALL, "Did you mean plugin=holdfast?"),
    ("plugin=sqlalchemy_holdfast", ALL, "Did you mean plugin=holdfast?"),
    ("plugins=holdfast", ALL, "ignored by SQLAlchemy, without a word; in a URL the word is plugin"),
    ("Plugin=holdfast", ALL, "Write plugin=holdfast in its place"),
    ("plugin=holdfast?charset=utf8mb4", ALL, "is separated by &"),
    ("plugin=holdfast charset=utf8mb4", ALL, "is separated by &"),
    ("charset=utf8mb4?plugin=holdfast", ALL, "has a second ? or a ; in it"),
    # TLS
    ("sslmode=require", ALL, REQUIRED),
    ("sslmode=verify-full", ALL, IDENTITY),
    ("sslmode=verify-ca", ALL, "Write holdfast_tls=verify-ca&holdfast_tls_ca=<path"),
    ("sslmode=prefer", ALL, "Write holdfast_tls=preferred in its place"),
    ("sslmode=disable", ALL, "Write holdfast_tls=off in its place"),
    ("ssl-mode=REQUIRED", ALL, REQUIRED),
    ("ssl-mode=VERIFY_IDENTITY", ALL, IDENTITY),
    ("ssl_mode=REQUIRED", ("pymysql", "mysqlconnector"), REQUIRED),
    ("sslaccept=strict", ALL, IDENTITY),
    ("useSSL=true", ALL, REQUIRED),
    ("useSSL=false", ALL, "Write holdfast_tls=off"),
    ("tls=true", ALL, REQUIRED),
    ("ssl=true", ("pymysql", "mysqlconnector"), REQUIRED),
    ('ssl={"rejectUnauthorized":true}', ("pymysql", "mysqlconnector"), IDENTITY),
    ("ssl_disabled=false", ("pymysql", "mysqlconnector"), "switches ssl_disabled on"),
    ("ssl_disabled=false", ("mysqldb",), REQUIRED),
    ("ssl-ca=/x", ALL, "Write ssl_ca=... in its place"),
    ("sslrootcert=/x", ALL, "Write ssl_ca=<path> in its place"),
    ("ssl_ca=/no/such/file.pem", ALL, "is the path of a file that is not there"),
    ("ssl_ca=~/ca.pem", ALL, "~ is not the home directory here"),
    ("ssl_ca=ca.pem", ALL, "in the directory that the program runs in"),
    # create_engine's
    ("pool_recycle=280", ALL, "create_engine(url, pool_recycle=...)"),
    ("pool_pre_ping=true", ALL, "holdfast makes it unnecessary: it checks each connection before use"),
    ("pool_size=5", TWO, "SQLALCHEMY_ENGINE_OPTIONS = {'pool_size': ...}"),
    ("isolation_level=AUTOCOMMIT", ALL, "create_engine(url, isolation_level=...)"),
    ("echo=1", ALL, "is an argument of create_engine"),
    # values
    ("charset=utf-8", ALL, "Write charset=utf8mb4."),
    ("charset=iso-8859-1", ALL, "Write charset=latin1."),
    ("charset=utf8mb4_unicode_ci", ALL, "Write charset=utf8mb4&collation=utf8mb4_unicode_ci."),
    ("charset=utf8mb44", ("pymysql",), "a character set that the driver knows"),
    ("autocommit=false", TWO, "autocommit=false in the URL switches autocommit on"),
    ("autocommit=0", TWO, "Leave it out: it is off by default."),
    ("connect_timeout=abc", ALL, "takes a whole number of seconds"),
    ("connect_timeout=1.5", ALL, "takes a whole number of seconds"),
    ("read_timeout=0", ("pymysql",), "takes a whole number of seconds, 1 or more"),
    ("read_timeout=5", ("mysqlconnector",), "connect_args={'read_timeout': ...}"),
    ("compress=perhaps", ALL, "takes true or false"),
    ("port=3306", TWO, "write it behind the host, host:3306"),
    ("charset=utf8mb4&charset=utf8", ALL, "charset is in the URL 2 times"),
    ("conv=x", TWO, "connect_args={'conv': ...}"),
    # other languages
    ("reconnect=true", ALL, "holdfast replaces a connection that was lost"),
    ("autoReconnect=true", ALL, "Leave it out"),
    ("parseTime=true", ALL, "return dates and times as datetime objects anyway"),
    ("loc=Local", ALL, "It is not needed"),
    ("serverTimezone=UTC", TWO, "write init_command=SET time_zone='%2B00:00'"),
    ("serverTimezone=UTC", ("mysqlconnector",), "write time_zone=%2B00:00"),
    ("useUnicode=true", ALL, "return text as str anyway"),
    ("characterEncoding=utf8", ALL, "Write charset=utf8mb4 in its place"),
    ("encoding=utf8", ALL, "Write charset=utf8mb4 in its place"),
    ("allowPublicKeyRetrieval=true", ("pymysql",), "pip install cryptography"),
    ("allowPublicKeyRetrieval=true", ("mysqlconnector",), "use TLS (holdfast_tls=required)"),
    ("pool=5", ALL, "create_engine(url, pool_size=...)"),
    ("connectionLimit=5", ALL, "create_engine(url, pool_size=...)"),
    ("socketPath=/x", ALL, "Write unix_socket=<path> in its place"),
    ("socket=/x", ALL, "Write unix_socket=<path> in its place"),
    ("timeout=5s", ALL, "Write connect_timeout=<seconds> in its place"),
    ("connectTimeout=5", ALL, "Write connect_timeout=... in its place"),
    ("connection_timeout=5", TWO, "Write connect_timeout=<seconds> in its place"),
    # misspelt
    ("chrset=utf8mb4", ALL, "Did you mean charset?"),
    ("unix_sock=/x", ALL, "Did you mean unix_socket?"),
    ("holdfast_pipelne=1", ALL, "Did you mean holdfast_pipeline?"),
    ("local_infile=1", ("mysqlconnector",), "Did you mean allow_local_infile?"),
]


def of(driver: str, query: str) -> str:
    plugin = "" if "lugin" in query else "&plugin=holdfast"
    return f"mysql+{driver}://me:{SECRET}@h/shop?{query}{plugin}"


@pytest.mark.parametrize(
    ("query", "driver", "sentence"),
    [(query, driver, sentence) for query, own, sentence in REFUSED for driver in own],
    ids=lambda value: value[:40],
)
def test_what_cannot_work_is_refused_when_the_engine_is_made(query: str, driver: str, sentence: str) -> None:
    url = of(driver, query)
    with pytest.raises((DatabaseURLError, holdfast.SettingError)) as caught:
        holdfast.create_engine(url)
    assert sentence in str(caught.value)
    assert_kept_secret(SECRET, *said(caught.value))
    assert any(finding.wrong and sentence in finding.text for finding in urls.examine(url)), "--check knows it, too"
    if "lugin" not in query:
        with pytest.raises((DatabaseURLError, holdfast.SettingError)):
            sqlalchemy.create_engine(url)
    if isinstance(caught.value, DatabaseURLError):
        assert page("errors/database-url-error") in str(caught.value)


GOOD: list[tuple[str, tuple[str, ...]]] = [
    ("charset=utf8mb4", ALL),
    ("charset=UTF8MB4", ("pymysql", "mysqldb")),
    ("charset=utf8mb4&collation=utf8mb4_bin", ALL),
    ("charset=latin1", ALL),
    ("autocommit=true", ALL),
    ("autocommit=false", ("mysqlconnector",)),
    ("connect_timeout=5", ALL),
    ("read_timeout=5&write_timeout=5", TWO),
    ("connection_timeout=5", ("mysqlconnector",)),
    ("init_command=SET @x %3D 1", ALL),
    ("sql_mode=ANSI", ALL),
    ("use_unicode=1", ALL),
    ("local_infile=1", TWO),
    ("allow_local_infile=1", ("mysqlconnector",)),
    ("client_flag=2", TWO),
    ("compress=false", ("pymysql",)),
    ("compress=true", ("mysqldb", "mysqlconnector")),
    ("ssl_mode=PREFERRED", ("mysqldb",)),
    ("ssl_disabled=true", ("pymysql", "mysqlconnector")),
    ("ssl_verify_cert=false&ssl_ca=" + __file__, ("pymysql", "mysqlconnector")),
    ("ssl_check_hostname=false&ssl_ca=" + __file__, TWO),
    ("unix_socket=/run/x.sock", ALL),
    (f"ssl_cert={__file__}&ssl_key={__file__}", ALL),
    ("program_name=shop", ("pymysql",)),
    ("binary_prefix=true", TWO),
    ("use_pure=1", ("mysqlconnector",)),
    ("port=3306", ("mysqlconnector",)),
    ("time_zone=%2B00:00", ("mysqlconnector",)),
    ("raise_on_warnings=true&get_warnings=true", ("mysqlconnector",)),
    ("auth_plugin=mysql_native_password", ("mysqldb", "mysqlconnector")),
    ("read_default_file=/etc/my.cnf", TWO),
    ("pool_size=5", ("mysqlconnector",)),
]


@pytest.mark.parametrize(
    ("query", "driver"), [(query, driver) for query, own in GOOD for driver in own], ids=lambda value: value[:40]
)
@pytest.mark.filterwarnings("error")
def test_what_a_driver_takes_is_never_refused(query: str, driver: str) -> None:
    assert [finding.text for finding in urls.examine(of(driver, query)) if finding.wrong] == []
    engine = holdfast.create_engine(of(driver, query), poolclass=NullPool)
    assert holdfast.status(engine).active


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_name_that_is_suggested_is_one_that_the_driver_has(driver: str) -> None:
    known = drivers.by_url_name(driver)
    assert known is not None
    names = option_names(known)
    assert len(names) > 20
    strange = [name for name in names if (found := refuses(known, name, object())) is not None and found.unknown]
    allowed = {"local_infile_dir", "server_public_key_path"}  # not with every client library
    assert set(strange) <= allowed
    assert refuses(known, "colour", "red") is not None


def test_autocommit_false_really_switches_it_on(server: Server, stock: EngineFactory) -> None:
    """With two drivers: why it is refused."""
    for driver in DRIVERS:
        engine = stock(server.url(driver, query={"autocommit": "false"}))
        with engine.connect() as connection:
            on = connection.exec_driver_sql("SELECT @@autocommit").scalar()
        assert bool(on) is (driver != "mysqlconnector"), driver


def test_what_mysqlclient_takes_and_makes_nothing_of_is_told_and_not_refused(
    server: Server, held: EngineFactory, log: Callable[[], list[str]]
) -> None:
    """A site with ``ssl=true`` in its URL runs today, without TLS. It goes on to run, and is told."""
    url = server.url("mysqldb", query={"ssl": "true"})
    (finding,) = [finding.text for finding in urls.examine(url) if finding.wrong]
    assert REQUIRED in finding
    assert read(held(url)) == 1
    assert [line for line in log() if "TLS was asked for with ssl, and a connection is less" in line]


def test_a_word_that_nobody_knows_is_wrong_and_may_yet_be_taken(server: Server, held: EngineFactory) -> None:
    """By a listener to do_connect."""
    url = server.url(query={"tenant_region": "red"})
    assert any("tenant_region in the URL is no option of PyMySQL" in each.text for each in urls.examine(url))
    engine = held(url)

    @event.listens_for(engine, "do_connect")
    def take(dialect: object, record: object, positional: object, arguments: dict[str, object]) -> None:
        arguments.pop("tenant_region")

    assert read(engine, 3) == 3


def test_another_plugin_may_take_words_out_of_the_query() -> None:
    from sqlalchemy.dialects import plugins
    from sqlalchemy.engine import URL, CreateEnginePlugin

    class Takes(CreateEnginePlugin):
        def update_url(self, url: URL) -> URL:
            return url.difference_update_query(["chrset"])

    plugins.register("takes", __name__, "nothing")
    plugins.impls["takes"] = lambda: Takes
    try:
        sqlalchemy.create_engine(f"mysql+pymysql://me:{SECRET}@h/d?plugin=takes&plugin=holdfast&chrset=x")
    finally:
        del plugins.impls["takes"]


def test_where_something_else_connects_the_query_is_its_own() -> None:
    engine = sqlalchemy.create_engine(of("pymysql", "sslmode=require"), creator=lambda: None)
    assert holdfast.status(engine).active


@pytest.mark.parametrize("host", ["{host}", "$HOST", "my host"])
def test_where_something_else_connects_the_host_is_its_own(server: Server, driver: str, host: str) -> None:
    made = sqlalchemy.create_engine(server.url(driver))
    arguments = made.dialect.create_connect_args(server.url(driver))[1]
    engine = holdfast.create_engine(
        f"mysql+{driver}://me@{host}/shop", creator=lambda: made.dialect.connect(**arguments), poolclass=NullPool
    )
    assert read(engine) == 1


def test_no_arguments_of_the_drivers_are_as_good_as_none(server: Server, driver: str, held: EngineFactory) -> None:
    try:
        sqlalchemy.create_engine(server.url(driver), connect_args=None)
    except TypeError:
        pytest.skip("this SQLAlchemy takes no None")
    assert read(held(server.url(driver), connect_args=None)) == 1


def test_no_piece_of_an_unescaped_password_is_repeated_as_a_word_of_the_query() -> None:
    for driver, password in itertools.product(DRIVERS, ("Kx7q@a?Zv9w=1&b", "Kx7q@a?b=1&Zv9w=2")):
        found = urls.examine(f"mysql+{driver}://me:{password}@h/d")
        assert any(finding.wrong for finding in found)
        assert_kept_secret(SECRET, *(finding.text for finding in found))


PLACEHOLDERS = [
    ("mysql+pymysql://user:password@localhost/dbname?plugin=holdfast", "The user name, password and database"),
    ("mysql+pymysql://username:password@hostname/databasename?plugin=holdfast", "The user name, password, host and"),
    ("mysql+pymysql://me:your_password@h/d?plugin=holdfast&charset=utf8", "The password in the URL looks like"),
    ("mysql+pymysql://root:changeme@h/d?plugin=holdfast", "The password in the URL looks like"),
    (f"mysql+pymysql://me:{SECRET}@db.example.com/d?plugin=holdfast", "The host in the URL looks like"),
]


@pytest.mark.parametrize(("url", "sentence"), PLACEHOLDERS)
def test_what_looks_like_an_example_is_noted_and_not_refused(url: str, sentence: str) -> None:
    notes = [finding.text for finding in urls.examine(url) if not finding.wrong]
    assert any(sentence in text for text in notes), notes
    holdfast.create_engine(url)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql+pymysql://shop:{SECRET}@localhost/mydb?plugin=holdfast",
        f"mysql+pymysql://root:{SECRET}@db/database?plugin=holdfast",
        "mysql+pymysql://root:root@127.0.0.1/shop?plugin=holdfast",
        "mysql+pymysql://dbuser:password@db/shop?plugin=holdfast",
    ],
)
def test_what_may_well_be_meant_is_not_even_noted(url: str) -> None:
    assert urls.examine(url) == []
