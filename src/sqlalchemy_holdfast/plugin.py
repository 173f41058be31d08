"""The SQLAlchemy plugin: from a URL's query and ``create_engine``'s arguments to a held engine."""

from __future__ import annotations

import dataclasses
import logging
import ssl
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine, make_url

from . import credentials, drivers, reporting, urls
from .budget.slot_file import can_share
from .errors import DriverNotInstalled, SettingError
from .pool.engine import HeldEngine
from .pool.status import EngineStatus, describe, find, remember, reporter_of
from .server import certificates
from .server.tls import SYSTEM
from .settings import PREFIX, Settings

__all__ = ["HoldfastPlugin", "create_engine"]

_OURS = ("mysql", "mariadb")
_OWN_CHARSET = {"collation", "init_command", "read_default_file", "read_default_group"}
_said: set[str] = set()


class HoldfastPlugin(CreateEnginePlugin):
    """Registered as the SQLAlchemy plugin ``holdfast``; never used directly."""

    def __init__(self, url: URL, kwargs: MutableMapping[str, Any]) -> None:
        """Read the settings, and refuse what cannot work before anything is built.

        :raises SettingError: for a wrong setting.
        :raises DatabaseURLError: for a URL that cannot mean what was meant.
        :raises DriverNotInstalled: when the URL's driver is missing.
        """
        self.named = {key: value for key, value in url.query.items() if key == "plugin" or key.startswith(PREFIX)}
        self.settings = Settings.take(url.query, kwargs)
        self.own_connect = all(kwargs.get(name) is None for name in ("creator", "pool", "module"))
        given = {*url.query, *(kwargs.get("connect_args") or ())}
        # With one of these, SQLAlchemy's SET NAMES is not the same as the one before it.
        self.charset_once = self.own_connect and not given & _OWN_CHARSET
        ours = url.get_backend_name() in _OURS
        urls.check(url, ours=ours, own_connect=self.own_connect)
        if ours and kwargs.get("module") is None:
            _require_driver(url)
        if ours and self.settings.tls is not None:
            _refuse_contradictions(self.settings, {**url.query, **(kwargs.get("connect_args") or {})})
        self.ours = ours
        if ours:
            _require_one_password(self.settings, url, kwargs)
        self.pre_ping = bool(kwargs.get("pool_pre_ping"))

    def update_url(self, url: URL) -> URL:
        """Take the settings out of the URL, which the driver would not know."""
        return url.difference_update_query([key for key in url.query if key.startswith(PREFIX)])

    def engine_created(self, engine: Engine) -> None:
        """Attach to the engine, or step aside and say so.

        What the URL said of holdfast is put back into ``engine.url``, which SQLAlchemy leaves without: the driver has
        its arguments by now, and a library that makes an engine of its own from ``engine.url`` gets a held one.
        """
        if self.named:
            dialect: Any = engine.dialect
            dialect.create_connect_args = _without_ours(dialect.create_connect_args)
            engine.url = engine.url.update_query_dict(self.named)
        if isinstance(find(engine), HeldEngine):  # the plugin was named twice: in the URL and as an argument
            return
        where = describe(engine)
        driver = drivers.by_module(getattr(engine.dialect, "dbapi", None))
        # With a creator or a pool it is the connection that tells, and so it is with a module that may wrap another.
        told_later = not self.own_connect
        level, reason = _why_not(engine, self.settings, known=driver is not None or told_later)
        if reason and self.settings.tls is not None and engine.dialect.name in _OURS:
            raise SettingError(
                f"holdfast_tls={self.settings.tls} cannot be kept for {where}, which is not held: {reason}. Remove "
                "holdfast_tls, and ask the driver for TLS in its own words."
            )
        if reason:
            remember(engine, EngineStatus(where, self.settings, reason=reason))
            passwords = credentials.from_settings(self.settings, reporter_of(engine)) if self.ours else None
            if passwords is not None:
                own: Any = engine.dialect
                own.connect = passwords.connecting(own.connect)
            if (key := f"{engine.dialect.name}+{getattr(engine.dialect, 'driver', '')} {reason}") not in _said:
                _said.add(key)
                reporting.not_held(where, reason, level)
            return
        if self.pre_ping:
            reporting.pre_ping()
        HeldEngine(where, _possible(self.settings)).attach(
            engine, driver, own_connect=self.own_connect, charset_once=self.charset_once
        )


def create_engine(url: str | URL, **kwargs: Any) -> Engine:
    """Create a held engine: SQLAlchemy's :func:`sqlalchemy.create_engine` with the plugin switched on.

    :param url: the database URL; ``?plugin=holdfast`` may be in it and need not.
    :param kwargs: anything that SQLAlchemy's function takes, and the ``holdfast_*`` settings.
    :return: an ordinary :class:`sqlalchemy.engine.Engine`.
    :raises HoldfastError: for a wrong setting, a URL that cannot be what was meant, or a missing driver.
    """
    parsed = urls.parse(url) if isinstance(url, str) else make_url(url)
    urls.check_plugins(parsed)
    plugins = list(kwargs.pop("plugins", ()))
    named = parsed.query.get("plugin", ())
    every = {*plugins, *((named,) if isinstance(named, str) else named)}
    if not every - {"holdfast"}:  # another plugin may change the URL
        urls.check_dialect(parsed)
    if "holdfast" not in every:
        plugins.append("holdfast")
    return sqlalchemy.create_engine(parsed, plugins=plugins, **kwargs)


def _why_not(engine: Engine, settings: Settings, *, known: bool) -> tuple[int, str]:
    """Say why an engine is not held, and how loudly: what was asked for and cannot be done is a warning."""
    dialect = engine.dialect
    if not settings.enabled:
        return logging.INFO, "holdfast_enabled is false"
    if dialect.name not in _OURS:
        return logging.INFO, f"{dialect.name} is not MySQL or MariaDB"
    if dialect.is_async:
        return logging.WARNING, f"the asyncio driver {dialect.driver} is not supported yet"
    if not known:
        names = " and ".join(sorted({driver.distribution for driver in drivers.DRIVERS}))
        name = getattr(getattr(dialect, "dbapi", None), "__name__", None) or getattr(
            dialect, "driver", "of this dialect"
        )
        return logging.WARNING, f"the driver {name} is not one that holdfast knows (it knows {names})"
    return logging.INFO, ""


def _possible(settings: Settings) -> Settings:
    """Return the settings that this system is up to, and say once what is missing."""
    missing = []
    if not drivers.can_look():
        missing.append("holdfast does not see that a connection is closed before it is used (there is no poll())")
    if not can_share() and settings.budget == "learned" and settings.budget_directory is None:
        settings = dataclasses.replace(settings, budget=None)
        missing.append("processes do not share connections (there are no POSIX record locks)")
    if missing and "missing" not in _said:
        _said.add("missing")
        reporting.as_in_stock(sys.platform, ", and ".join(missing))
    return settings


def _refuse_contradictions(settings: Settings, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of the driver that contradict ``holdfast_tls``, and a file that is not one of certificates."""
    asked = f"holdfast_tls={settings.tls}"
    if found := ", ".join(drivers.conflicting(settings.tls or "", arguments)):
        keep = (
            f"keep {asked} and remove {found}"
            if settings.tls == "off"
            else (f"keep {asked}, name the CA's certificate with holdfast_tls_ca=<path>, and remove {found}")
        )
        raise SettingError(
            f"{asked} and {found} both say how TLS is used, and what {found} means differs from driver to driver. "
            f"To have one meaning, {keep}."
        )
    if settings.tls_ca in (None, SYSTEM):
        return
    assert settings.tls_ca is not None
    try:
        certificates.authorities(settings.tls_ca)
    except ssl.SSLError:
        why = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
    else:
        return
    raise SettingError(
        f"holdfast_tls_ca={settings.tls_ca} {why}. It must be the file with the certificate of the authority that "
        "signed the server's certificate. The host of the database offers it for download."
    )


def _without_ours(create_connect_args: Callable[[URL], Any]) -> Callable[[URL], Any]:
    """Keep what the URL says of plugins from whoever makes a driver's arguments of ``engine.url``."""

    def make(url: URL) -> Any:
        ours = [key for key in url.query if key == "plugin" or key.startswith(PREFIX)]
        return create_connect_args(url.difference_update_query(ours))

    return make


def _require_one_password(settings: Settings, url: URL, options: Mapping[str, Any]) -> None:
    """Refuse a password that stands beside a setting that says where it comes from."""
    name = next((name for name in ("password", "password_file", "password_command") if getattr(settings, name)), None)
    if name is None:
        if settings.password_ttl is not None:
            raise SettingError(
                "holdfast_password_ttl has no effect alone: it says how long a password is kept that comes from "
                "holdfast_password, holdfast_password_file or holdfast_password_command. Set one of these, or remove "
                "it."
            )
        return
    key = PREFIX + name
    arguments = options.get("connect_args") or {}
    if url.password:
        raise SettingError(f"{key} says where the password comes from, and the URL has one, too. Remove it there.")
    found = next((word for word in ("password", "passwd") if url.query.get(word) or arguments.get(word)), None)
    if found is not None:
        raise SettingError(
            f"{key} says where the password comes from, and the driver's argument {found} is given, too. Remove that."
        )
    found = next((word for word in ("creator", "pool") if options.get(word) is not None), None)
    if found is not None:
        raise SettingError(
            f"{key} has no effect with {found}=: its connections are not made by SQLAlchemy, which could be given the "
            f"password. Let {found} ask for it itself, and remove {key}."
        )


def _require_driver(url: URL) -> None:
    driver = drivers.by_url_name(url.get_driver_name())
    if driver is None or drivers.is_installed(driver):
        return
    text = f"The URL asks for the driver {driver.distribution} ({driver.import_name}), which is not installed: "
    text += f"pip install {driver.distribution}."
    if "+" not in url.drivername:
        text += f" (A URL that starts with {url.drivername}:// means {url.drivername}+{driver.url_name}://.)"
    others = sorted({f"{url.get_backend_name()}+{d.url_name}://" for d in drivers.DRIVERS if drivers.is_installed(d)})
    if others:
        text += f" Installed are the drivers for {' and '.join(others)}."
    raise DriverNotInstalled(text, name=driver.import_name)
