"""The ways in which a first connection fails, on real servers, and what is then said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Server

SECRET = "Kx7qZv9w"
"""Every password in the cases; no message may show it."""
OFF: dict[str, dict[str, str]] = {
    "mysqldb": {"ssl_mode": "DISABLED"},
    "pymysql": {"ssl_disabled": "true"},
    "mysqlconnector": {"ssl_disabled": "true"},
}
"""How each driver is told not to use TLS."""


@dataclass(frozen=True)
class Case:
    """One way to be refused."""

    name: str
    numbers: tuple[int, ...]
    """The errno, or those of the drivers."""
    sentences: tuple[str, ...]
    """What the message has."""
    page: str
    """The page whose address it ends with."""
    sql: tuple[str, ...] = ()
    """What the administrator runs before."""
    url: Callable[[Server, str], URL] = lambda server, driver: server.url(driver, password=SECRET)
    servers: tuple[str, ...] = ("mariadb", "mysql")
    drivers: tuple[str, ...] = ("mysqldb", "pymysql", "mysqlconnector")
    never: tuple[str, ...] = ()
    """What the message must not have."""
    fresh: bool = False
    """The account was just made, or is not there. On MySQL without TLS, mysql-connector-python then gets no further
    than 1045, or says itself that it needs TLS, as the server's choice of a plugin falls."""


def account(user: str, **options: Any) -> Callable[[Server, str], URL]:
    return lambda server, driver: server.url(driver, **{"user": user, "password": SECRET, **options})


def without(*parts: str, database: str = "test") -> Callable[[Server, str], URL]:
    """The URL of the server without some of its parts."""

    def make(server: Server, driver: str) -> URL:
        url = server.url(driver, database=database)
        given: dict[str, Any] = {"username": url.username, "password": url.password}
        given.update(dict.fromkeys(parts))
        return URL.create(url.drivername, host=url.host, port=url.port, database=url.database, **given)

    return make


def created(user: str, host: str = "%", more: str = "") -> tuple[str, ...]:
    return (
        f"DROP USER IF EXISTS '{user}'@'{host}'",
        f"CREATE USER '{user}'@'{host}' IDENTIFIED BY '{SECRET}' {more}",
    )


THREE = ("1. The password.", "2. The host:", "3. ")

REFUSED = [
    Case(
        "a wrong password",
        (1045,),
        (*THREE, "'app'@'127.0.0.1'", "holdfast_tls=required", "WHERE user = 'app'"),
        "errors/1045",
        never=("%40",),
    ),
    Case(
        "a wrong password that needs escaping",
        (1045,),
        (*THREE, "If it stands in a URL unescaped", "%40 %3A %2F %3F %23 %25", "If it is escaped there"),
        "errors/1045",
        url=account("app", password=f"{SECRET}@#"),
    ),
    Case(
        "no such account",
        (1045,),
        (*THREE, "'nobody'@'127.0.0.1'"),
        "errors/1045",
        url=account("nobody"),
        fresh=True,
    ),
    Case(
        "an account of another host",
        (1045,),
        (*THREE, "this one may not exist for 127.0.0.1"),
        "errors/1045",
        created("elsewhere", "192.0.2.7"),
        account("elsewhere"),
        fresh=True,
    ),
    Case(
        "an account that needs TLS",
        (1045,),
        (*THREE, "REQUIRE SSL", "add holdfast_tls=required to the URL"),
        "errors/1045",
        created("secure", more="REQUIRE SSL"),
        account("secure"),
        fresh=True,
    ),
    Case(
        "an account whose password was never checked before",
        (1045,),
        (*THREE, "this driver cannot log in to MySQL's caching_sha2_password without it", "holdfast_tls=required"),
        "errors/1045",
        created("fresh"),
        account("fresh"),
        servers=("mysql",),
        drivers=("mysqlconnector",),
    ),
    Case(
        "no password",
        (1045,),
        ("no password was sent for 'app'@'127.0.0.1'", "user:password@host", "environment variable"),
        "errors/1045",
        url=without("password"),
        never=("1. ",),
    ),
    Case(
        "no user name",
        (1045,),
        ("the URL has no user name, so", "user:password@host"),
        "errors/1045",
        url=without("username", "password"),
        fresh=True,
    ),
    Case(
        "a database of somebody else's",
        (1044,),
        ("may not use the database test", "GRANT ALL ON `test`.* TO 'narrow'@'%'", "SHOW GRANTS"),
        "errors/1045#databases",
        created("narrow"),
        account("narrow"),
        fresh=True,
    ),
    Case(
        "no such database",
        (1049,),
        ("there is no database nodb on this server", "SHOW DATABASES", "CREATE DATABASE `nodb`"),
        "errors/1045#databases",
        url=without(database="nodb"),
        never=("username$name",),
    ),
    Case(
        "a database's name with options in it",
        (1049,),
        ("there is no database test;charset=utf8", "options stand behind that: /name?charset=utf8mb4"),
        "errors/1045#databases",
        url=without(database="test;charset=utf8"),
    ),
    Case(
        "a character set that nobody knows",
        (2019, 1115, 2059),
        ("the charset or the collation in the URL", "charset=utf8mb4 works with all of them"),
        "errors/database-url-error",
        url=lambda server, driver: server.url(driver, query={"charset": "utf9"}),
        drivers=("mysqldb",),
    ),
    Case(
        "a collation that nobody knows",
        (1273,),
        ("the charset or the collation in the URL", "SHOW COLLATION"),
        "errors/database-url-error",
        url=lambda server, driver: server.url(driver, query={"charset": "utf8mb4", "collation": "nope"}),
        drivers=("pymysql",),
    ),
    Case(
        "a first statement that is refused",
        (1064,),
        ("a statement that is sent when connecting: the init_command",),
        "errors/database-url-error",
        url=lambda server, driver: server.url(driver, query={"init_command": "SET nonsense"}),
        drivers=("pymysql",),
    ),
    Case(
        "a locked account",
        (3118, 4151),
        ("the account is locked", "ACCOUNT UNLOCK"),
        "errors/account-state",
        created("locked", more="ACCOUNT LOCK"),
        account("locked"),
        fresh=True,
    ),
    Case(
        "an expired password",
        (1862, 1820),
        ("it has expired", "ALTER USER USER() IDENTIFIED BY", "PASSWORD EXPIRE NEVER"),
        "errors/account-state",
        created("expired", more="PASSWORD EXPIRE"),
        account("expired", database=""),
        fresh=True,
    ),
    Case(
        "an account without a password",
        (1698,),
        ("by the name of the operating system's user", "CREATE USER 'shop'@'localhost' IDENTIFIED BY"),
        "errors/1045#plugins",
        ("DROP USER IF EXISTS 'bysocket'@'%'", "CREATE USER 'bysocket'@'%' IDENTIFIED VIA unix_socket"),
        account("bysocket"),
        servers=("mariadb",),
    ),
    Case(
        "a plugin that the server does not have",
        (1524,),
        ("which this server does not have", "nosuchplugin", "ALTER USER"),
        "errors/1045#plugins",
        (
            "REPLACE INTO mysql.global_priv VALUES "
            '(\'%\', \'plugless\', \'{"plugin": "nosuchplugin", "authentication_string": "x"}\')',
            "FLUSH PRIVILEGES",
        ),
        account("plugless"),
        servers=("mariadb",),
    ),
    Case(
        "a plugin that MySQL 9 has no more",
        (1524,),
        ("mysql_native_password", "MySQL 9 has no mysql_native_password any more", "caching_sha2_password BY"),
        "errors/1045#plugins",
        (
            *created("native"),
            "UPDATE mysql.user SET plugin = 'mysql_native_password' WHERE user = 'native'",
            "FLUSH PRIVILEGES",
        ),
        account("native"),
        servers=("mysql",),
    ),
]
"""On a server without TLS."""

TLS_ONLY = [
    Case(
        "a server that lets nobody in without TLS",
        (3159,),
        ("takes only connections with TLS", "holdfast_tls=verify-identity", "holdfast_tls=required"),
        "errors/3159",
        url=lambda server, driver: server.url(driver, query=OFF[driver]),
        servers=("mysql",),
    ),
    Case(
        "a server that lets nobody in without TLS, and does not say so",
        (1045,),
        (*THREE, "require_secure_transport", "add holdfast_tls=required to the URL"),
        "errors/1045",
        url=lambda server, driver: server.url(driver, query=OFF[driver]),
        servers=("mariadb",),
        drivers=("mysqldb",),  # the URL of the others has a word about TLS
    ),
]
"""On a server with require_secure_transport."""
