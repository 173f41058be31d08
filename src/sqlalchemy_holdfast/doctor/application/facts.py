"""What is known of an application. Plain values: they come from another process, as JSON, and hold no password."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = [
    "ApplicationFacts",
    "EngineFacts",
    "Failure",
    "FlaskFacts",
    "ForkHook",
    "OpenConnection",
    "Option",
    "Place",
    "PoolFacts",
    "StartedThread",
    "WebServer",
    "from_plain",
    "to_plain",
]


@dataclass(frozen=True)
class Place:
    """A line of the application's own code, or of a file of settings."""

    file: str
    """Relative to the application's directory, where it is in there."""
    line: int
    """0 where it is not known."""
    function: str = ""
    """Empty at a module's top level, and in a file that is not Python."""

    def __str__(self) -> str:
        line = f" line {self.line}" if self.line else ""
        return f"{self.file}{line}{f', in {self.function}()' if self.function else ''}"


@dataclass(frozen=True)
class PoolFacts:
    """An engine's pool, as it was asked for."""

    kind: str = "QueuePool"
    """The name of its class."""
    size: int | None = None
    """``None`` for a pool that has no size."""
    max_overflow: int | None = None
    timeout: float | None = None
    """Seconds; ``None`` when it is not known or has none."""
    recycle: int = -1
    """Seconds; -1 for off."""
    pre_ping: bool = False

    @property
    def most(self) -> int | None:
        """How many connections it may open, or ``None`` when nothing limits it."""
        if self.size is None or self.max_overflow is None or self.max_overflow < 0:
            return None
        return self.size + self.max_overflow


@dataclass(frozen=True)
class OpenConnection:
    """A connection that was open when the import had ended."""

    opened: Place | None
    """``None`` when it is not known."""
    out: bool
    """Somebody still has it; otherwise it is idle in the pool."""
    taken: Place | None = None
    """Where it was last checked out."""
    session: bool = False
    """The one who has it is an ORM session."""


@dataclass(frozen=True)
class EngineFacts:
    """An engine of the application."""

    where: str
    """Driver, host, port and database; no account."""
    driver: str
    """As the URL spells it: ``mysql+pymysql``."""
    ours: bool
    """It is for MySQL or MariaDB."""
    account: str = ""
    """``user@host:port``, in which engines of one account are the same."""
    database: str = ""
    made: Place | None = None
    """``None`` when it is not known."""
    moment: str = "import"
    """``import``, or ``factory`` for what the application's factory made."""
    held: bool = False
    why_not: str = ""
    """In words, when it is not held."""
    switched_off: bool = False
    """It has the plugin, and ``holdfast_enabled=false``."""
    asyncio: bool = False
    pool: PoolFacts = PoolFacts()
    recycle_by_flask: bool = False
    """``pool_recycle`` is Flask-SQLAlchemy's own default; nobody asked for it."""
    by_flask: bool = False
    """Flask-SQLAlchemy made it."""
    echo: bool = False
    autocommit: bool = False
    """Its isolation level is AUTOCOMMIT."""
    orm: bool = False
    """Sessions use it."""
    blocks_greenlets: bool = False
    """The driver waits in C code: under gevent or eventlet the whole process waits with it."""
    wrapped_by: str = ""
    """The package that has wrapped the driver's ``connect``; empty when nobody has."""
    connects: int = 0
    """How many connections it has opened so far."""
    open: tuple[OpenConnection, ...] = ()

    @property
    def name(self) -> str:
        """For a sentence: where it leads, and where it was made."""
        return f"{self.where} ({self.made})" if self.made else self.where


@dataclass(frozen=True)
class StartedThread:
    """A thread that the import has started and that still runs."""

    name: str
    started: Place | None


@dataclass(frozen=True)
class ForkHook:
    """A function that runs in each new worker, and calls ``dispose()``."""

    kind: str
    """What runs it: ``os.register_at_fork``, ``uWSGI's postfork``, ..."""
    place: Place
    """The call of ``dispose()``."""
    closes: bool
    """It closes the connections that the worker inherited: it is called without ``close=False``."""


@dataclass(frozen=True)
class Option:
    """A setting of a web server, and where it stands."""

    name: str
    """As the server's own documents write it: ``lazy-apps``, ``preload_app``, ``--preload``."""
    value: str
    place: Place

    @property
    def on(self) -> bool:
        """Whether it is a switch that is on."""
        return self.value.strip().lower() not in ("", "0", "false", "no", "off", "none")


@dataclass(frozen=True)
class WebServer:
    """A web server's settings in one file."""

    kind: str
    """``uwsgi``, ``gunicorn``, ``celery``, or another program that never forks after the import."""
    place: Place
    """Where it is started or configured."""
    options: tuple[Option, ...] = ()

    def option(self, *names: str) -> Option | None:
        """Return the first of these settings that is there."""
        return next((option for option in self.options if option.name in names), None)

    def is_on(self, *names: str) -> Option | None:
        """Return the first of these switches that is there and on."""
        return next((option for option in self.options if option.name in names and option.on), None)

    @property
    def forks_after_import(self) -> bool:
        """Whether it imports the application once and then forks its workers."""
        if self.kind == "uwsgi":
            return not self.is_on("lazy-apps", "lazy")
        return self.kind == "celery" or self.is_on("preload_app", "preload") is not None

    @property
    def because(self) -> str:
        """Say by which setting it forks after the import, or does not."""
        if self.kind == "uwsgi":
            lazy = self.is_on("lazy-apps", "lazy")
            return f"{lazy.name} ({lazy.place})" if lazy else f"uWSGI without lazy-apps ({self.place})"
        preload = self.is_on("preload_app", "preload")
        return f"gunicorn with {preload.name} ({preload.place})" if preload else f"{self.kind} ({self.place})"


@dataclass(frozen=True)
class FlaskFacts:
    """What an application has of Flask's."""

    extension: str = ""
    """``holdfast``, ``flask_sqlalchemy``, or empty when there is no ``db``."""
    old_settings: tuple[str, ...] = ()
    """Names of settings of Flask-SQLAlchemy 2 that are set."""
    debug: bool = False
    scoped_sessions: int = 0
    """How many ``scoped_session`` there are that are not the extension's."""
    removes_sessions: bool = True
    """Somewhere in the application's code, ``remove()`` is called."""


@dataclass(frozen=True)
class Failure:
    """The application could not be imported."""

    happened: str
    """What happened and why, in a sentence."""
    cure: str
    """What to do, in a sentence."""
    output: tuple[str, ...] = ()
    """The last lines that the application wrote."""
    not_there: bool = False
    """There is no such module, or no such application in it: the name that was given is wrong."""


@dataclass(frozen=True)
class ApplicationFacts:
    """An application, as it is when its import has ended and before its first request."""

    target: str
    """As it was given: ``module:app``."""
    seconds: float = 0.0
    """How long the import took."""
    engines: tuple[EngineFacts, ...] = ()
    threads: tuple[StartedThread, ...] = ()
    fork_hooks: tuple[ForkHook, ...] = ()
    web_servers: tuple[WebServer, ...] = ()
    greenlets: str = ""
    """``gevent`` or ``eventlet``, where one of them has patched Python's own modules."""
    flask: FlaskFacts | None = None
    failure: Failure | None = None

    @property
    def ours(self) -> tuple[EngineFacts, ...]:
        """Its engines for MySQL and MariaDB."""
        return tuple(engine for engine in self.engines if engine.ours)

    @property
    def preforked(self) -> WebServer | None:
        """A web server that imports it once and then forks, if the files here name one."""
        return next((server for server in self.web_servers if server.forks_after_import), None)


T = TypeVar("T")


def to_plain(facts: Any) -> Any:
    """Return facts as JSON has them."""
    return dataclasses.asdict(facts)


def from_plain(kind: Callable[..., T], plain: Any) -> T:
    """Make facts of what :func:`to_plain` returned.

    :param kind: the dataclass.
    :raises KeyError: when there is a name that it does not have.
    """
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in plain.items()})


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], one) for one in value)
    return from_plain(hint, value) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else value
