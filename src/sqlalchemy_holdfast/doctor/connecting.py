"""Connects once, and gathers what there is to see of a URL or an engine, of the connection, and of its server."""

from __future__ import annotations

import calendar
import ipaddress
import re
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import Engine
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from .. import drivers, urls
from ..errors import HoldfastError, PasswordUnavailable
from ..plugin import create_engine
from ..pool.queue_pool import most_connections, recycles_after
from ..pool.status import describe, status
from ..server.error_table import Refusal
from ..server.faults import error_number, judge
from ..server.middleboxes import Seen, recognise
from ..server.tls import Verified
from ..settings import PREFIX, Settings
from .application.facts import ApplicationFacts
from .asking import ask
from .examined import Examined
from .facts import ConnectFacts, ConnectProblem, Hosting, PoolFacts, TlsFacts
from .server_facts import ServerFacts

__all__ = ["gather"]

_CONNECT_SECONDS = 10
_FULL_SECONDS = 1
_ACCOUNT = (1045, 1251, 1396, 1524, 1698, 1820, 1862, 2049, 2054, 2059, 2061)
"""Numbers of errors about the account, its password, or the way it is checked."""
_TLS = (2026, 3159)
_OWN_SETTINGS = (
    "enabled",
    "pipeline",
    "wait_for_server",
    "max_waiting",
    "budget",
    "budget_directory",
    "headroom",
    "leak_warning",
)
"""Settings that the doctor's engine does not take from the URL. What says how to connect it does take."""
_SECRETS = ("password", "passwd", "pwd", "key", "token", "secret")


def gather(
    target: str | URL | Engine | None, *, application: ApplicationFacts | None, hosting: Hosting
) -> tuple[Examined, str]:
    """Gather everything, and return it with the name of what was examined."""
    if target is None:
        return Examined(application=application, hosting=hosting), "the application"
    if isinstance(target, Engine):
        return _of_engine(target, application, hosting)
    return _of_url(target, application, hosting)


def _of_url(given: str | URL, application: ApplicationFacts | None, hosting: Hosting) -> tuple[Examined, str]:
    said = tuple(urls.examine(given))
    try:
        url = make_url(given)
        said = _without_advice_to_hold(url, said)
        settings = Settings.take(url.query, {})
        # A piece of a password that was not escaped may be anywhere in it: nothing of it is shown, or sent to anybody.
        urls.check(url, ours=urls.is_ours(url))
    except (SQLAlchemyError, HoldfastError, ValueError):
        return Examined(url_findings=said, application=application, hosting=hosting), "the URL"
    plugins = url.query.get("plugin", ())
    held = "holdfast" in ((plugins,) if isinstance(plugins, str) else plugins) and settings.enabled
    pool = PoolFacts(
        held=held,
        reason="" if held else "plugin=holdfast is not in the URL",
        kind="QueuePool",
        most=15,  # SQLAlchemy's defaults: pool_size=5, max_overflow=10
        recycle=None,
        given=False,
    )
    connect: ConnectFacts | None = None
    problem: ConnectProblem | None = None
    server: ServerFacts | None = None
    where = _name(url)
    engine = None
    try:
        if urls.is_ours(url) and not url.get_dialect().is_async:
            engine = _doctors_engine(url)
            connect, server = _connect(engine)
    except Exception as error:  # what drivers say to a part of the query that they cannot use has no common type
        problem = _problem(error, url)
    finally:
        if engine is not None:
            engine.dispose()
    return Examined(_safe(url), said, settings, pool, connect, problem, server, application, hosting), where


def _of_engine(engine: Engine, application: ApplicationFacts | None, hosting: Hosting) -> tuple[Examined, str]:
    known = status(engine)
    url = engine.url.update_query_dict({"plugin": "holdfast"}) if known.active else engine.url
    connect: ConnectFacts | None = None
    problem: ConnectProblem | None = None
    server: ServerFacts | None = None
    try:
        if urls.is_ours(url):
            connect, server = _connect(engine)
    except Exception as error:
        problem = _problem(error, url)
    pool = _pool(engine)
    examined = Examined(
        _safe(url),
        _without_advice_to_hold(url, urls.examine(url)),
        known.settings,
        pool,
        connect,
        problem,
        server,
        application,
        hosting,
    )
    return examined, describe(engine)


def _without_advice_to_hold(url: URL, said: Iterable[urls.Finding]) -> tuple[urls.Finding, ...]:
    """Leave out what is said only because the URL does not name the plugin. Whether the engine is held does not depend
    on that alone, and the checks say it, in the words that fit the application."""
    if not urls.is_ours(url) or "plugin" in url.query:
        return tuple(said)
    named = urls.examine(url.update_query_dict({"plugin": "holdfast"}))
    unnamed = {found for found in urls.examine(url) if not found.wrong and found not in named}
    return tuple(found for found in said if found not in unnamed)


def _doctors_engine(url: URL) -> Engine:
    """An engine of the doctor's own. It connects once, waits for no server that is away and hardly for a full one, and
    takes no part in what processes share: like a console, it uses what is left for one."""
    known = drivers.by_url_name(url.get_driver_name()) is not None
    patience = {"connect_timeout": _CONNECT_SECONDS} if known and "connect_timeout" not in url.query else {}
    once = url.difference_update_query([PREFIX + name for name in _OWN_SETTINGS])
    return create_engine(
        once,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=_FULL_SECONDS,
        connect_args=patience,
        holdfast_wait_for_server=None,
        holdfast_budget=None,
    )


def _pool(engine: Engine) -> PoolFacts:
    known, pool = status(engine), engine.pool
    limits = known.limits
    shorter = limits is not None and limits.idle_limit < limits.wait_timeout
    return PoolFacts(
        held=known.active,
        reason=known.reason,
        kind=type(pool).__name__,
        most=most_connections(pool),
        recycle=recycles_after(pool),
        given=True,
        idle_limit_seen=limits.idle_limit if limits is not None and shorter else None,
    )


def _connect(engine: Engine) -> tuple[ConnectFacts, ServerFacts]:
    idle = engine.pool.checkedin() if isinstance(engine.pool, QueuePool) else 0
    dns_seconds, addresses = _addresses(engine.url)
    began = time.monotonic()
    with engine.connect() as connection:
        took = time.monotonic() - began
        connection.rollback()
        peer, port, unix = _peer(connection)
        server, round_trip = ask(connection, new=not idle)
        facts = ConnectFacts(
            driver=engine.dialect.driver,
            seconds=None if idle else took,
            dns_seconds=dns_seconds,
            addresses=addresses,
            peer=peer,
            port=port,
            unix=unix,
            round_trip=round_trip,
            tls=_tls(connection, server),
            middlebox=status(engine).middlebox or _between(engine.url, server),
            needs_tls_to_log_in=_needs_tls(connection),
        )
    return facts, server


def _addresses(url: URL) -> tuple[float | None, tuple[str, ...]]:
    """Find the addresses of the URL's host, and how long that takes. A failure is for the driver to tell."""
    host = url.host or ""
    if not host or "unix_socket" in url.query:
        return None, ()
    try:
        return None, (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(host, url.port or 3306, type=socket.SOCK_STREAM)
    except OSError:
        return None, ()
    return time.monotonic() - began, tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _peer(connection: Connection) -> tuple[str | None, int | None, bool]:
    state = drivers.state_of(drivers.unwrap(connection.connection.dbapi_connection))
    if state is None or state.fd is None:
        return None, None, False
    if state.is_unix_socket:
        return None, None, True
    with drivers.borrowed(state.fd) as sock:
        try:
            address: Any = sock.getpeername()
        except OSError:
            return None, None, False
    return str(address[0]), int(address[1]), False


def _needs_tls(connection: Connection) -> str:
    driver_connection = connection.connection.dbapi_connection
    if drivers.state_of(drivers.unwrap(driver_connection)) is None:
        return ""
    return drivers.held_connection(driver_connection)._holdfast_needs_tls_to_log_in()


def _tls(connection: Connection, server: ServerFacts) -> TlsFacts | None:
    """What the driver says of the connection's encryption; what it does not know, the server tells every account."""
    said = server.status or {}
    state = drivers.state_of(drivers.unwrap(connection.connection.dbapi_connection))
    own = state.encryption if state is not None else None
    if own is not None and own.version:
        ends = own.certificate_ends
        days = (ends.timestamp() - time.time()) / 86400 if ends is not None else _days_left(said)
        verified = None if own.verified is None else own.verified is not Verified.NOTHING
        return TlsFacts(own.version, own.cipher, verified, days)
    if "Ssl_cipher" not in said:
        return None
    return TlsFacts(said.get("Ssl_version", ""), said["Ssl_cipher"], None, _days_left(said))


def _days_left(said: Mapping[str, str]) -> float | None:
    """Read the certificate's end as OpenSSL writes it: ``Aug 30 10:00:00 2026 GMT``."""
    try:
        end = time.strptime(said.get("Ssl_server_not_after", ""), "%b %d %H:%M:%S %Y GMT")
    except ValueError:
        return None
    return (calendar.timegm(end) - time.time()) / 86400


def _between(url: URL, server: ServerFacts) -> str:
    """Recognise a middlebox by what is known without the greeting, for an engine that is not held."""
    return recognise(Seen(host=url.host, version=server.version, attributes=0))


def _problem(error: Exception, url: URL) -> ConnectProblem:
    orig = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    hints = tuple(error.detail) if isinstance(error, DBAPIError) else ()
    words = str(orig)
    for secret in filter(None, (url.password, quote(url.password or "", safe=""), quote_plus(url.password or ""))):
        words = words.replace(secret, "***")
    return ConnectProblem(error_number(orig), f"{type(orig).__name__}: {words}", hints, _kind(orig, url))


def _kind(error: BaseException, url: URL) -> str:
    number, judged, words = error_number(error), judge(error, connected=False), str(error).lower()
    if isinstance(error, PasswordUnavailable):
        return "password"
    if isinstance(error, ModuleNotFoundError):
        return "missing"
    if number in (1044, 1049):
        return "database"
    if number in _TLS or "certificate" in words or re.search(r"\b(ssl|tls)\b", words):
        return "tls"
    if number in _ACCOUNT:
        return "account"
    if judged.refusal is Refusal.FULL:
        return "full"
    if url.host and "unix_socket" not in url.query and not _addresses(url)[1]:
        return "host"
    return "away" if judged.refusal is Refusal.AWAY else ""


def _safe(url: URL) -> URL:
    """The URL without its password, and without what else in its query may be one."""
    secret = [key for key in url.query if any(word in key.lower() for word in _SECRETS)]
    query = {key: value for key, value in url.query.items() if key not in secret}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)


def _name(url: URL) -> str:
    place = "/".join(filter(None, [f"{url.host or ''}{f':{url.port}' if url.port else ''}", url.database]))
    return f"{url.drivername}://{place}"
