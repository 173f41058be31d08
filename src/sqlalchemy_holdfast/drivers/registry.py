"""The drivers that holdfast knows, and how one is recognised.

A driver is recognised by the class of the connection that it returned, not by the URL, so that ``creator=`` and
``module=`` work. Before there is a connection it is recognised by the module that the dialect uses. That may be another
one than the URL names (``pymysql.install_as_MySQLdb()``). A driver's module here is imported only when a connection of
the driver turns up: the driver itself is imported by then.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._outside import NETWORK
from ..server.middleboxes import Greeting
from ..server.tls import Policy
from .connection import HeldConnection
from .state import ConnectionState
from .subclass import subclass_in_place, unwrap

__all__ = [
    "DRIVERS",
    "Connect",
    "Driver",
    "by_module",
    "by_url_name",
    "errors_of",
    "greeting",
    "held_connection",
    "hold_connection",
    "is_installed",
    "refuse_clear_text",
    "state_of",
    "wrap_connect",
]


@dataclass(frozen=True)
class Driver:
    """How one kind of connection is recognised and held."""

    url_name: str
    """The driver's part of the URL: ``mysql+<url_name>://``."""
    connection_class: str
    """Dotted name of the driver's connection class."""
    module: str
    """Module of this package that holds it."""
    mixin: str
    """Name of the mixin in that module."""
    prepare: str
    """Name of the function there that adjusts a new connection's state."""
    distribution: str
    """What to install, as pip calls it."""
    extra: str
    """The extra of holdfast that installs it."""
    import_name: str
    """What to import."""
    waits_in_c: bool = False
    """It waits for the server in C code, where gevent and eventlet cannot let others run."""


DRIVERS: tuple[Driver, ...] = (
    Driver(
        "mysqldb",
        "MySQLdb.connections.Connection",
        "mysqldb",
        "MySQLdbConnection",
        "prepare",
        "mysqlclient",
        "mysqlclient",
        "MySQLdb",
        waits_in_c=True,
    ),
    Driver(
        "pymysql",
        "pymysql.connections.Connection",
        "pymysql",
        "PyMySQLConnection",
        "prepare",
        "PyMySQL",
        "pymysql",
        "pymysql",
    ),
    Driver(
        "mysqlconnector",
        "mysql.connector.connection.MySQLConnection",
        "mysqlconnector",
        "MySQLConnection",
        "prepare",
        "mysql-connector-python",
        "mysqlconnector",
        "mysql.connector",
    ),
    Driver(
        "mysqlconnector",
        "mysql.connector.connection_cext.CMySQLConnection",
        "mysqlconnector",
        "CMySQLConnection",
        "prepare_c",
        "mysql-connector-python",
        "mysqlconnector",
        "mysql.connector",
        waits_in_c=True,
    ),
)
"""The drivers that holdfast knows."""

NETWORK.update(driver.import_name.partition(".")[0] for driver in DRIVERS)

_by_type: dict[type, Driver | None] = {}


def by_url_name(name: str) -> Driver | None:
    """Return the driver that a URL names, or ``None`` when holdfast does not know it."""
    return next((driver for driver in DRIVERS if driver.url_name == name), None)


def by_module(dbapi: Any) -> Driver | None:
    """Return the driver whose module a dialect uses, or ``None`` when holdfast does not know it."""
    name = getattr(dbapi, "__name__", None)
    found = next((driver for driver in DRIVERS if driver.import_name == name), None)
    if found is None and isinstance(cls := getattr(dbapi, "Connection", None), type):
        found = _by_class(cls)  # a module that goes by another name may well be built on a known driver
    return found


def _by_class(cls: type) -> Driver | None:
    if cls not in _by_type:
        names = {f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__}
        _by_type[cls] = next((driver for driver in DRIVERS if driver.connection_class in names), None)
    return _by_type[cls]


def is_installed(driver: Driver) -> bool:
    """Say whether the driver can be imported, without importing it."""
    try:
        return importlib.util.find_spec(driver.import_name) is not None
    except ModuleNotFoundError:
        return False


def hold_connection(connection: Any, state: ConnectionState) -> bool:
    """Hold a connection that a driver, a ``creator`` or a tracer returned.

    :return: false when it is not a connection of a driver that holdfast knows; it is then left as it is.
    """
    connection = unwrap(connection)
    driver = _by_class(type(connection))
    if driver is None:
        return False
    module = importlib.import_module(f"{__package__}.{driver.module}")
    getattr(module, driver.prepare)(connection, state)
    subclass_in_place(connection, getattr(module, driver.mixin), state)
    return True


def held_connection(connection: Any) -> HeldConnection:
    """Return the held connection inside of a tracer's proxies. (Where it may be another's: :func:`unwrap`.)"""
    held: HeldConnection = unwrap(connection)
    return held


def state_of(connection: Any) -> ConnectionState | None:
    """Return a held connection's state, also from under a tracer's proxy."""
    state = getattr(connection, "_holdfast", None)
    return state if type(state) is ConnectionState else None


def greeting(connection: Any) -> Greeting:
    """Return what a held connection's server said before anything else. Nothing is sent."""
    return held_connection(connection)._holdfast_greeting()


def errors_of(connection: Any) -> type[Exception]:
    """Return the base exception of a held connection's driver."""
    return held_connection(connection)._holdfast_errors


Connect = Callable[..., Any]
"""Makes a connection from the driver's arguments."""


def wrap_connect(driver: Driver, connect: Connect, policy: Policy) -> Connect:
    """Wrap one engine's ``connect``: the driver is asked for TLS in its own words, and for what else it has to prepare
    or to improve.

    :param policy: what the engine asks of its connections.
    """
    module = importlib.import_module(f"{__package__}.{driver.module}")
    wrap: Callable[[Connect, Policy], Connect] = module.wrap_connect
    return wrap(connect, policy)


def refuse_clear_text(driver: Driver, connect: Connect) -> Connect:
    """Wrap one engine's ``connect``, for drivers that would send a password in clear without TLS and can be kept from
    it."""
    module = importlib.import_module(f"{__package__}.{driver.module}")
    wrap: Callable[[Connect], Connect] = module.refuse_clear_text
    return wrap(connect)
