"""Words of other languages' drivers for what Python's drivers call otherwise.

A URL is often copied: from Java (JDBC), Node.js, Go, Ruby, PHP, Prisma, or from a URL for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["advice", "plain", "pool_advice"]

_CREATE_ENGINE = frozenset(
    {
        *("pool_recycle", "pool_pre_ping", "pool_timeout", "pool_size", "max_overflow", "pool_use_lifo", "poolclass"),
        *("pool_reset_on_return", "pool_logging_name", "pool_events", "echo", "echo_pool", "isolation_level"),
        *("connect_args", "execution_options", "hide_parameters", "future", "logging_name", "query_cache_size"),
    }
)
"""Arguments of create_engine that are written into URLs."""
_NOT_NEEDED = {
    "pool_recycle": "; holdfast makes it unnecessary: it replaces a connection that the server has closed",
    "pool_pre_ping": "; holdfast makes it unnecessary: it checks each connection before use",
}


def plain(word: str) -> str:
    """Return a word without what other languages write otherwise: case, - and _."""
    return word.lower().replace("-", "").replace("_", "")


def pool_advice(key: str) -> str:
    """Say what to do with an argument of create_engine in a URL; nothing for anything else."""
    name = next((name for name in _CREATE_ENGINE if plain(name) == plain(key)), "")
    if not name:
        return ""
    return (
        f"is an argument of create_engine, not of the driver. Take it out of the URL and give it to create_engine: "
        f"create_engine(url, {name}=...) (Flask-SQLAlchemy: SQLALCHEMY_ENGINE_OPTIONS = {{'{name}': ...}})"
        f"{_NOT_NEEDED.get(name, '')}."
    )


def advice(key: str, value: str, driver: str) -> str:
    """Say whose word it is, and what to write in its place; nothing when the word is not known.

    :param driver: the driver's name in a URL.
    """
    name = plain(key)
    if name in _TLS:
        return f"a word of {_TLS[name]}. {_tls(name, value)}"
    if name in _SAME:
        whose, option = _SAME[name]
        return f"{whose} word. Write {_option(option, driver)} in its place."
    if name in _OTHER:
        whose, what = _OTHER[name]
        return f"{whose} word. {what if isinstance(what, str) else what(driver)}"
    return ""


# -- TLS -----------------------------------------------------------------------------------------------------------

_TLS = {
    "sslmode": "PostgreSQL, .NET and the command mysql",
    "ssldisabled": "PyMySQL and mysql-connector-python",
    "sslverifycert": "PyMySQL and mysql-connector-python",
    "sslverifyidentity": "PyMySQL and mysql-connector-python",
    "sslaccept": "Prisma",
    "usessl": "Java",
    "requiressl": "Java",
    "verifyservercertificate": "Java",
    "trustservercertificate": "Java",
    "tls": "Go",
    "ssl": "Node.js and PlanetScale",
    "sslrejectunauthorized": "Node.js",
    "rejectunauthorized": "Node.js",
    "sslverify": "Ruby and PHP",
    "sslverifyserver": "PHP",
    "usetls": "other drivers",
    "secure": "other drivers",
    "encrypt": "other drivers",
}
_VERIFIES = frozenset(
    {"verifyidentity", "verifyfull", "strict", "trueandverify", "rejectunauthorized", '{"rejectunauthorized":true}'}
)
_CHECKS = {"sslverifycert": "verifyca", "sslverifyidentity": "verifyidentity"}
_OFF = frozenset({"disable", "disabled", "false", "0", "no", "off", "none", "allow"})


def _tls(name: str, value: str) -> str:
    word = plain(value).replace(" ", "")
    if name == "ssldisabled":
        word = "required" if word in _OFF else "off"
    elif word not in _OFF and name in _CHECKS:
        word = _CHECKS[name]
    verify = "holdfast_tls=verify-identity&holdfast_tls_ca=system"
    if word in _OFF:
        return "Write holdfast_tls=off in its place, or leave it out."
    if word in ("prefer", "preferred"):
        return "Write holdfast_tls=preferred in its place."
    if word == "verifyca":
        return "Write holdfast_tls=verify-ca&holdfast_tls_ca=<path of the CA's certificate> in its place."
    if word in _VERIFIES or word.startswith("{"):
        return f"Write {verify} in its place (or the path of the CA's certificate for system)."
    return (
        f"Write holdfast_tls=required in its place: TLS, with any certificate. {verify} checks the server's "
        "certificate as well."
    )


# -- the same option by another name -------------------------------------------------------------------------------

_SAME: dict[str, tuple[str, str]] = {
    "characterencoding": ("Java's", "charset=utf8mb4"),
    "encoding": ("Ruby's and Django's", "charset=utf8mb4"),
    "connectioncollation": ("Java's", "collation=..."),
    "sockettimeout": ("Java's", "read_timeout=<seconds>"),
    "timeout": ("Go's and Node.js's", "connect_timeout=<seconds>"),
    "acquiretimeout": ("Node.js's", "connect_timeout=<seconds>"),
    "connectiontimeout": ("another driver's", "connect_timeout=<seconds>"),
    "logintimeout": ("Java's", "connect_timeout=<seconds>"),
    "socketpath": ("Node.js's", "unix_socket=<path>"),
    "socket": ("the command mysql's and Ruby's", "unix_socket=<path>"),
    "sslca": ("another driver's", "ssl_ca=<path>"),
    "sslrootcert": ("PostgreSQL's", "ssl_ca=<path>"),
    "sslcacert": ("another driver's", "ssl_ca=<path>"),
    "usecompression": ("Java's", "compress=true"),
    "sessionvariables": ("Java's", "init_command=SET ..."),
    "allowloadlocalinfile": ("Java's", "local_infile=true"),
    "databasename": ("Java's", "the database's name behind the host: /name"),
    "dbname": ("PostgreSQL's and PHP's", "the database's name behind the host: /name"),
    "dbdatabase": ("Laravel's", "the database's name behind the host: /name"),
    "username": ("another driver's", "the user name in front of the host: user:password@host"),
    "pwd": ("another driver's", "the password in front of the host: user:password@host"),
    "hostname": ("another driver's", "the host behind the @"),
    "server": ("another driver's", "the host behind the @"),
}
_OPTION_OF = {
    ("mysqlconnector", "local_infile=true"): "allow_local_infile=true",
}


def _option(option: str, driver: str) -> str:
    return _OPTION_OF.get((driver, option), option)


# -- what has no such option in Python -----------------------------------------------------------------------------


def _time_zone(driver: str) -> str:
    own = "time_zone=%2B00:00" if driver == "mysqlconnector" else "init_command=SET time_zone='%2B00:00'"
    return (
        "It is not needed: Python's drivers return the time as the server has it, without a zone. To set the "
        f"connection's zone, write {own}."
    )


def _public_key(driver: str) -> str:
    if driver == "mysqlconnector":
        return (
            "This driver does not ask a server for its key: use TLS (holdfast_tls=required), over which a "
            "caching_sha2_password account is let in."
        )
    also = " PyMySQL needs the package cryptography for that: pip install cryptography." if driver == "pymysql" else ""
    return f"Leave it out: this driver asks the server for its key by itself.{also}"


_RECONNECT = (
    "Leave it out: holdfast replaces a connection that was lost, before it is used. (The driver's own reconnecting "
    "would lose the transaction without a word.)"
)
_POOL = (
    "Leave it out: SQLAlchemy has the pool. Its size is an argument of create_engine: create_engine(url, "
    "pool_size=...) (Flask-SQLAlchemy: SQLALCHEMY_ENGINE_OPTIONS = {'pool_size': ...})."
)
_DATES = "Leave it out: Python's drivers return dates and times as datetime objects anyway."
_LEAVE = "Leave it out: Python's drivers have no such option and need none."
_UNICODE = "Leave it out: Python's drivers return text as str anyway. The character set is charset=utf8mb4."
_MULTI = (
    "Leave it out: SQLAlchemy sends one statement at a time. To run a script of many statements, split it, or use the "
    "command mysql."
)

_OTHER: dict[str, tuple[str, str | Callable[[str], str]]] = {
    **dict.fromkeys(("servertimezone", "connectiontimezone", "uselegacydatetimecode"), ("Java's", _time_zone)),
    **dict.fromkeys(("timezone", "timezoneid"), ("another driver's", _time_zone)),
    "loc": ("Go's", _time_zone),
    "parsetime": ("Go's", _DATES),
    "datestrings": ("Node.js's", _DATES),
    "zerodatetimebehavior": ("Java's", _DATES),
    "useunicode": ("Java's", _UNICODE),
    "allowpublickeyretrieval": ("Java's", _public_key),
    "allownativepasswords": ("Go's", _LEAVE),
    "allowcleartextpasswords": ("Go's", _LEAVE),
    **dict.fromkeys(("reconnect", "autoreconnect"), ("another driver's", _RECONNECT)),
    "autoreconnectforpools": ("Java's", _RECONNECT),
    **dict.fromkeys(("pool", "poolsize", "connectionlimit"), ("another driver's", _POOL)),
    **dict.fromkeys(("queuelimit", "waitforconnections"), ("Node.js's", _POOL)),
    **dict.fromkeys(("maxpoolsize", "minpoolsize", "pooling"), (".NET's", _POOL)),
    **dict.fromkeys(("maxconnections", "checkouttimeout"), ("another driver's", _POOL)),
    **dict.fromkeys(("allowmultiqueries", "multistatements"), ("another driver's", _MULTI)),
    "multiplestatements": ("Node.js's", _MULTI),
    **dict.fromkeys(
        ("rewritebatchedstatements", "cacheprepstmts", "useserverprepstmts", "usecursorfetch", "useinformationschema"),
        ("Java's", _LEAVE),
    ),
    **dict.fromkeys(("prepstmtcachesize", "prepstmtcachesqllimit", "nullcatalogmeanscurrent"), ("Java's", _LEAVE)),
    **dict.fromkeys(
        ("interpolateparams", "clientfoundrows", "checkconnliveness", "columnswithalias"), ("Go's", _LEAVE)
    ),
    **dict.fromkeys(("supportbignumbers", "bignumberstrings", "typecast", "insecureauth"), ("Node.js's", _LEAVE)),
    **dict.fromkeys(("nestedtables", "rowsaslist", "enablekeepalive"), ("Node.js's", _LEAVE)),
    **dict.fromkeys(("schema", "pgbouncer", "statementcachesize"), ("Prisma's", _LEAVE)),
}
