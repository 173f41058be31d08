"""The sentences about errors while connecting: what happened, why, and what to do.

Nothing here ever shows a password, or says more of one than whether there is one and whether it has a character that a
URL needs escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["WHO_HAS_THEM", "Place"]

WHO_HAS_THEM = (
    "On the server, SHOW PROCESSLIST shows who has the connections. Close that program, or use fewer processes or "
    "threads."
)
"""What to do when no connection is left."""


@dataclass(frozen=True)
class Place:
    """What is known of the URL that was connected with. Empty where something else makes the connections."""

    driver: str = ""
    """The driver, as pip calls it."""
    host: str = ""
    port: int = 3306
    socket: str = ""
    """The path of the server's Unix socket, where the URL has one."""
    is_localhost: bool = False
    """The URL names localhost, or no host."""
    one_attempt: str = "30 s, or as long as the driver's connect_timeout says"
    """How long one attempt waits for a server's greeting, in words."""
    tries_for: float = 0.0
    """For how many seconds it is tried again (``holdfast_wait_for_server``)."""
    database: str = ""
    has_user: bool = True
    has_password: bool = True
    needs_escaping: bool = False
    """The password has a character that is to be escaped in a URL. Whether it was cannot be told any more."""
    asks_for_tls: bool = False
    who_answers: Callable[[], str] = str
    """Asks, once more, what is at this host and port: says what it is, behind "it", or nothing."""


def _account(said: str) -> tuple[str, str, str]:
    """Return the account that a server's text names: as it is written there, its user and its host."""
    found = re.search(r"'([^']*)'@'([^']*)'", said)
    return (found[0], found[1], found[2]) if found else ("the account", "", "")


def _to_accounts(user: str) -> str:
    return f"SELECT user, host FROM mysql.user WHERE user = '{user}'" if user else "SELECT user, host FROM mysql.user"


# -- the account -----------------------------------------------------------------------------------------------------

_ESCAPE = (
    " If it stands in a URL unescaped, the server may have got another one: in a URL, each @ : / ? # % of it is "
    "written as %40 %3A %2F %3F %23 %25 (sqlalchemy_holdfast.url() and the command holdfast url do it). If it is "
    "escaped there, or does not come from a URL, it is another reason."
)


def access_denied(place: Place, said: str) -> str:
    """1045: three causes, in the order in which they are likely."""
    account, user, host = _account(said)
    escape = _ESCAPE if place.needs_escaping else ""
    taken = "" if place.has_user else f" The URL has no user name, so the driver took {user or 'none'}."
    third = (
        "The account asks for a client certificate (REQUIRE X509)."
        if place.asks_for_tls
        else "The server or the account lets nobody in without TLS (require_secure_transport, REQUIRE SSL"
        f"{_sha2(place)}): add holdfast_tls=required to the URL."
    )
    return (
        f"the server refused the account or its password: {account}, which is the user name and where the server sees "
        f"you come from.{taken} It does not say which of three things is wrong:\n1. The password.{escape}\n2. The "
        f"host: an account is a user name and a host, and this one may not exist for {host or 'your host'}. On the "
        f"server: {_to_accounts(user)}.\n3. {third}\n"
    )


def _sha2(place: Place) -> str:
    if place.driver != "mysql-connector-python":
        return ""
    return "; this driver cannot log in to MySQL's caching_sha2_password without it"


def no_password_sent(place: Place, said: str) -> str:
    """1045 without a password."""
    account, user, _ = _account(said)
    if not place.has_user:
        took = f"the driver took {user} for the name" if user else "no name was sent"
        return f"the URL has no user name, so {took}, and no password. Write both: user:password@host."
    return (
        f"no password was sent for {account}, and the server wants one. "
        + ("The program has taken it away: look for a listener to do_connect. " if place.has_password else "")
        + "Write it behind the user name: user:password@host. Is it read from an environment variable that is not set?"
    )


def no_password_account(place: Place, said: str) -> str:
    """1698: an account that is let in by the name of the operating system's user."""
    account, _, _ = _account(said)
    return (
        f"the server lets {account} in without a password, by the name of the operating system's user (unix_socket or "
        "auth_socket), as it does root on Debian and Ubuntu. A program needs an account with a password: CREATE USER "
        "'shop'@'localhost' IDENTIFIED BY '...'; GRANT ALL ON shop.* TO 'shop'@'localhost';"
    )


def database_denied(place: Place, said: str) -> str:
    """1044: the account may not use the database."""
    account, user, host = _account(said)
    name = _last_name(said) or place.database or "this database"
    also = f" {_PREFIX}" if _prefixed(place) else ""
    return (
        f"the password is right, and the account {account} may not use the database {name}. (A server says this of a "
        f"database that does not exist, too.) Is its name spelt right? If so, on the server: GRANT ALL ON "
        f"`{name}`.* TO '{user}'@'{host}'; and what the account may do now: SHOW GRANTS FOR '{user}'@'{host}'.{also}"
    )


def unknown_database(place: Place, said: str) -> str:
    """1049: there is no such database."""
    name = _last_name(said) or place.database
    also = f" {_PREFIX}" if _prefixed(place) else ""
    if re.search(r"/$|[;?&]", name):
        also = (
            " But the URL may be meant otherwise: the name ends before the ?, and options stand behind that: "
            "/name?charset=utf8mb4."
        )
    return (
        f"the account and its password are right, and there is no database {name} on this server. SHOW DATABASES "
        "lists those that the account may use; upper and lower case count on Linux. If it is to be made: CREATE "
        f"DATABASE `{name}` CHARACTER SET utf8mb4;{also}"
    )


_PREFIX = "On this provider its full name is username$name."


def _prefixed(place: Place) -> bool:
    return "pythonanywhere" in place.host and "$" not in place.database


def _last_name(said: str) -> str:
    """Return the last name in quotation marks: the database's."""
    found = re.findall(r"'([^'@]*)'", said)
    return found[-1] if found else ""


def host_not_allowed(place: Place, said: str) -> str:
    """1130: no account may come from this host."""
    found = re.search(r"host '([^']*)'", said, re.IGNORECASE)
    host = found[1] if found else "your host"
    return (
        f"the server has no account at all for where you come from, which it sees as {host}. An account is a user "
        "name and a host: on the server, CREATE USER 'shop'@'" + (host if found else "%") + "' IDENTIFIED BY '...'; or "
        "let the provider's page allow this address."
    )


HOST_BLOCKED = (
    "the server has blocked your host, because too many connections from it were broken off (max_connect_errors). "
    "Something there connects and does not log in: a health check, a port scan, or a program that speaks another "
    "protocol. Stop it, then, on the server: FLUSH HOSTS (MySQL 9: TRUNCATE TABLE performance_schema.host_cache)."
)
LOCKED = (
    "the account and its password may be right, and the account is locked. Who locked it may unlock it, on the server: "
    "ALTER USER 'name'@'host' ACCOUNT UNLOCK;"
)
EXPIRED = (
    "the password is right, and it has expired. A program cannot change it by itself. With the command mysql (or "
    "mariadb), logged in as that account: ALTER USER USER() IDENTIFIED BY '...'; then put the new one into the URL. So "
    "that it does not expire again: ALTER USER 'name'@'host' PASSWORD EXPIRE NEVER;"
)


def plugin_not_loaded(place: Place, said: str) -> str:
    """1524: the account's authentication plugin is not there."""
    name = _last_name(said)
    more = " MySQL 9 has no mysql_native_password any more." if name == "mysql_native_password" else ""
    return (
        f"the account is to be let in by the authentication plugin {name}, which this server does not have.{more} "
        "Whoever administers it can give the account another: ALTER USER 'name'@'host' IDENTIFIED WITH "
        "caching_sha2_password BY '...'; (MariaDB: IDENTIFIED BY '...')."
    )


NEEDS_CRYPTOGRAPHY = (
    "the server checks this account's password with caching_sha2_password, as MySQL 8 and later do. Without TLS, "
    "PyMySQL needs the package cryptography for that: pip install cryptography. Or add holdfast_tls=required to the "
    "URL: over TLS it needs nothing."
)
UNKNOWN_PLUGIN = (
    "the server wants to let the account in by a way that this driver does not know (its authentication plugin). "
    "Update the driver, or give the account a common one, on the server: ALTER USER 'name'@'host' IDENTIFIED WITH "
    "caching_sha2_password BY '...'; (MariaDB: IDENTIFIED BY '...')."
)

# -- TLS -------------------------------------------------------------------------------------------------------------

TLS_ONLY = (
    "the server takes only connections with TLS (require_secure_transport), and this one has none. Set "
    "holdfast_tls=verify-identity, with holdfast_tls_ca=<path of the CA's certificate> where the authority is not a "
    "public one; or holdfast_tls=required, which verifies no certificate."
)
NEEDS_TLS = (
    "this driver checks the account's password (caching_sha2_password, sha256_password) over TLS alone, and this "
    "connection has none. Add holdfast_tls=required to the URL. (MySQL asks the same for an account that does not "
    "exist: is the user name right?)"
)
TLS_FAILED = (
    "no TLS connection could be made. Do holdfast_tls_ca and the ssl_ options name the right files, may this program "
    "read them, and does the server offer TLS (SHOW VARIABLES LIKE '%ssl%')?"
)

# -- what is sent while connecting -----------------------------------------------------------------------------------

CHARACTER_SET = (
    "the charset or the collation in the URL is none that this driver or server knows. charset=utf8mb4 works with all "
    "of them; the names of collations: SHOW COLLATION on the server, or leave it out."
)
FIRST_STATEMENT = (
    "the server refused a statement that is sent when connecting: the init_command or the sql_mode in the URL or in "
    "connect_args. Try the same statement with the command mysql."
)


def unknown_option(place: Place, said: str) -> str:
    """A word behind the ? of the URL that the driver does not take."""
    name = _last_name(said) or "a word"
    return (
        f"{name} is no option of {place.driver or 'the driver'}. It stands behind the ? of the URL, or in "
        "connect_args: remove it there."
    )


NO_DATABASE = (
    "the URL names no database, so every statement would have to name it (database.table). Write /name behind the "
    "host and the port: ...@host:3306/name."
)

# -- no connection left ----------------------------------------------------------------------------------------------

_SERVERS_OWN = "Or, if the server is yours, raise max_connections."
SERVER_FULL = (
    "the server has as many connections as it accepts from everybody together (max_connections), and none became free "
    f"in time. {WHO_HAS_THEM} {_SERVERS_OWN}"
)
ACCOUNT_FULL = (
    "the account has as many connections as it may have (max_user_connections), and none became free in time. The "
    "processes of this machine share them out among themselves (holdfast_budget), so others may have them: another "
    f"machine, a console, a program without holdfast. {WHO_HAS_THEM}"
)
HOUR_USED_UP = (
    "the account has used up what it may do within an hour. On the server, SHOW CREATE USER shows its limits. It can "
    "be used again when the hour is over."
)

# -- nobody answered -------------------------------------------------------------------------------------------------


def _address(place: Place) -> str:
    return f"{place.host or 'this address'}:{place.port}" if place.host else "this address"


def name_away(place: Place, said: str) -> str:
    """The name server did not answer."""
    return (
        f"the host name {place.host} could not be looked up at the moment: the name server (DNS) does not answer. "
        "holdfast has tried again for as long as holdfast_wait_for_server says. Is the network there? In a container, "
        "is it in the same network as the database? The host's address in place of its name would work without."
    )


def no_such_name(place: Place, said: str) -> str:
    """The host's name is in no name server."""
    return (
        f"there is no host called {place.host or 'so'}: this host name cannot be resolved. Is it spelt right? In "
        "containers it is the service's name, and both must be in one network; from the machine itself that name is "
        "not known."
    )


def socket_missing(place: Place, said: str) -> str:
    """The socket's file is not there."""
    file = f" (no file {place.socket}: unix_socket in the URL)" if place.socket else ""
    local = " To mysqlclient, localhost means the socket." if place.driver == "mysqlclient" else ""
    right = "Then write the host's name" + " and leave unix_socket out" * bool(place.socket)
    if place.is_localhost:
        right = f"{local} Then write 127.0.0.1, or the host's name, in place of localhost".lstrip()
        right += ", and leave unix_socket out" * bool(place.socket)
    return (
        f"nothing answers there: the server's socket file is not there{file}. Is the server running? Is it on another "
        f"machine, or in a container? {right}. Where the socket is, the server says: SHOW VARIABLES LIKE 'socket'; "
        "write it as unix_socket=<path>."
    )


def socket_forbidden(place: Place, said: str) -> str:
    """The socket's file is not for this user."""
    return (
        "the server's socket file is there, and this program may not use it. Does the user that the program runs as "
        "have the right to the folder that it is in?"
    )


def refused(place: Place, said: str) -> str:
    """No server listens at the port."""
    docker = (
        " In a container, localhost and 127.0.0.1 are the container itself: the host is the database service's name."
        if place.host in ("localhost", "127.0.0.1", "::1")
        else " The server may listen for its own machine alone (bind_address), or a firewall may refuse you."
    )
    if re.match(r"\d+/", place.database):
        docker = " In the URL the port stands behind the host and a colon, not behind a /: host:3306/name."
    return (
        f"nothing answers there: the machine is reached, and no server listens at {_address(place)}. Is the server "
        f"running, and are host and port right?{docker}"
    )


def unreachable(place: Place, said: str) -> str:
    """There is no way to the host."""
    return (
        f"there is no way from here to {place.host or 'this host'}: the network says that it cannot be reached. Is the "
        "host right, is a VPN or an SSH tunnel missing, or has this machine no network?"
    )


def connect_timed_out(place: Place, said: str) -> str:
    """Nothing has answered, not even with a refusal."""
    return (
        f"nothing answered at {_address(place)}, not even with a refusal. Usually a firewall swallows the packets (on "
        "cloud servers: the security group or the list of allowed addresses), or the address is wrong. The driver's "
        "connect_timeout says how long one attempt may take."
    )


# -- something answered ----------------------------------------------------------------------------------------------

_PORTS = {
    22: "SSH",
    25: "mail (SMTP)",
    80: "a web server",
    443: "a web server",
    5000: "a web application",
    8000: "a web application",
    8080: "a web application",
    5432: "PostgreSQL",
    6379: "Redis",
    11211: "memcached",
    27017: "MongoDB",
    33060: "MySQL's X protocol",
    33062: "MySQL's administration",
}
"""Whose a port usually is."""


def _whose(place: Place) -> str:
    known = _PORTS.get(place.port)
    return f" Port {place.port} is usually {known}'s; MySQL's and MariaDB's is 3306." if known else ""


def not_mysql(place: Place, said: str) -> str:
    """Something else than a MySQL server has answered."""
    return (
        f"something answers at {_address(place)}, and this is not a MySQL server{_its_words(place)}.{_whose(place)} Is "
        "the port right? It stands behind the host in the URL: host:3306."
    )


def silent(place: Place, said: str) -> str:
    """Something accepts connections and says nothing."""
    words = place.who_answers()
    if words:
        return not_mysql(place, said)
    return (
        f"something accepts connections at {_address(place)}, and then says nothing. A MySQL server greets first, so "
        f"either this is not a MySQL server (a web server, Redis, PostgreSQL and a TLS port all wait like that)."
        f"{_whose(place)} Or it is one that is stopped or badly overloaded, or something in between swallows packets. "
        f"Is the port right? One attempt waits for {place.one_attempt}{_again(place)}."
    )


def _again(place: Place) -> str:
    return (
        f"; holdfast begins another one until {place.tries_for:g} s are over (holdfast_wait_for_server)"
        if place.tries_for
        else ""
    )


def hung_up(place: Place, said: str) -> str:
    """Something accepts connections and hangs up."""
    words = place.who_answers()
    if words:
        return not_mysql(place, said)
    return (
        f"something accepts connections at {_address(place)}, and hangs up before it lets anybody in. Is the server "
        f"starting or stopping, or is this not a MySQL server?{_whose(place)} A proxy (HAProxy, ProxySQL, an SSH "
        "tunnel) whose server is away does the same. The server's own log says more."
    )


def _its_words(place: Place) -> str:
    words = place.who_answers()
    return f" (it {words})" if words else ""
