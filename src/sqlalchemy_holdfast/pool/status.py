"""What holdfast does for one engine, as anybody may ask: :func:`sqlalchemy_holdfast.status`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import UnboundExecutionError

from ..budget import Snapshot
from ..counters import Counters
from ..reporting import Listener, Reporter
from ..server.limits import Limits
from ..server.tls import Encryption
from ..settings import Settings

__all__ = ["EngineStatus", "describe", "find", "remember", "reporter_of", "status"]

_ON_DIALECT = "holdfast_status"
"""The attribute of a dialect that has the status: an engine shares it with its ``execution_options()`` copies, and a
listener that leads back to its engine then keeps nothing for ever."""
_BY_ITSELF = (
    "it was created without ?plugin=holdfast (or from the engine.url of an engine that got the plugin as an argument, "
    "which is not kept there)"
)


class EngineStatus:
    """What holdfast does for one engine, at this moment.

    Get it with :func:`sqlalchemy_holdfast.status`. Its ``repr`` is safe to log: it never contains a password.
    """

    def __init__(self, where: str, settings: Settings | None = None, *, reason: str = "") -> None:
        self.where: str = where
        """Driver, host, port and database; no account."""
        self.reason: str = reason
        """Why the engine's connections are not held; empty when they are."""
        self.settings: Settings = settings or Settings()
        """The settings in force."""
        self._reporter = Reporter(where)

    @property
    def active(self) -> bool:
        """Whether the engine's connections are held."""
        return not self.reason

    @property
    def engine_key(self) -> str | None:
        """Names the engine in a :class:`sqlalchemy_holdfast.CheckoutTimeout`. In a forked child it is the same.
        ``None`` for an engine that is not held."""
        return None

    @property
    def limits(self) -> Limits | None:
        """What the server allows, as far as it is known: ``None`` before the first connection, and when the server
        would not say."""
        return None

    @property
    def budget(self) -> Snapshot | None:
        """How the processes of this machine share the account's connections at this moment, or ``None`` when they do
        not. Looking costs some system calls for each process and connection."""
        return None

    @property
    def middlebox(self) -> str:
        """What stands between this process and its server and makes it wait for the reply to each ROLLBACK, in words.

        Empty before the first connection, and when there is nothing, or a relay that passes bytes on.
        """
        return ""

    @property
    def encryption(self) -> tuple[Encryption, ...]:
        """What this process's connections have of TLS: each kind once. Empty while there is no connection.

        It was found out when they were made. Nothing is sent to tell it.
        """
        return ()

    @property
    def counters(self) -> Counters:
        """The running totals of this process, as a copy that no longer changes."""
        return self._reporter.counters.snapshot()

    def listen(self, listener: Listener) -> None:
        """Call something at each event from now on: a connection was replaced, a unit of work repeated, ...

        :param listener: is called with a :class:`sqlalchemy_holdfast.reporting.Event`, in the thread in which it
            happened. SQLAlchemy may hold a lock then, or the garbage collector may be at work: it must be short, and
            must not use the engine. What it raises is logged and goes no further.
        """
        self._reporter.listen(listener)

    def __repr__(self) -> str:
        if not self.active:
            return f"<holdfast: {self.where} is not held: {self.reason}>"
        c = self._reporter.counters
        replaced = ", ".join(f"{count} {cause}" for cause, count in c.snapshot().replaced.items()) or "none"
        between = self.middlebox if self.settings.pipeline == "auto" else ""
        return (
            f"<holdfast: {self.where} is held; {c.checkouts} checkouts, {c.connects} connects, replaced: {replaced}; "
            f"rollbacks: {c.rollbacks_deferred} deferred, {c.rollbacks_skipped} skipped; {c.probes} probes; "
            f"{c.waits} waits{f'; {c.resets} resets' if self.settings.reset != 'off' else ''}"
            f"{f'; no statement is sent ahead of an answer: {between}' if between else ''}>"
        )


def status(engine: Any) -> EngineStatus:
    """Say what holdfast does for an engine.

    :param engine: an :class:`~sqlalchemy.engine.Engine`, or what leads to one: a ``Connection``, a ``Session``, a
        ``scoped_session``, a ``sessionmaker``, Flask-SQLAlchemy's ``db``, or one of their asyncio variants.
    :return: an :class:`EngineStatus`. For an engine that was made without the plugin it says so: ``active`` is false.
    :raises TypeError: when there is no engine in what was given, or more than one.
    """
    found = _engine_of(engine)
    known = find(found)
    if known is None:
        known = EngineStatus(describe(found), reason=_BY_ITSELF)
        remember(found, known)
    return known


def find(engine: Engine) -> EngineStatus | None:
    """Return what :func:`remember` was told of this engine."""
    known: EngineStatus | None = vars(engine.dialect).get(_ON_DIALECT)
    return known


def remember(engine: Engine, status: EngineStatus) -> None:
    """Make :func:`status` find this."""
    setattr(engine.dialect, _ON_DIALECT, status)


def reporter_of(engine: Engine) -> Reporter:
    """Return what tells what happens to an engine, be it held or not."""
    return status(engine)._reporter


def describe(engine: Any) -> str:
    """Name an engine in a log line: driver, host, port, database, and no account."""
    url = engine.url
    place = "/".join(filter(None, [f"{url.host or ''}{f':{url.port}' if url.port else ''}", url.database]))
    return f"{url.drivername}://{place}" if place else str(url.drivername)


def _engine_of(given: Any) -> Any:
    found = given
    options = getattr(given, "kw", None)  # a sessionmaker's
    if isinstance(options, dict) and "bind" in options:
        found = options["bind"]
    elif not hasattr(given, "engine") and callable(getattr(given, "get_bind", None)):
        try:
            found = given.get_bind()
        except (UnboundExecutionError, TypeError) as error:  # it has none or one for each table, or is a class
            raise TypeError(
                f"sqlalchemy_holdfast.status() cannot tell which engine this {type(given).__name__} uses ({error}). "
                "Give it the engine itself."
            ) from error
    found = getattr(found, "sync_engine", found)
    found = getattr(found, "engine", found)
    if getattr(found, "dialect", None) is None or not hasattr(found, "url"):
        raise TypeError(
            f"sqlalchemy_holdfast.status() takes an engine, or a session or connection of one, not "
            f"{type(given).__name__}."
        )
    return found
