"""Takes notes while an application is imported: which engines it makes, and what it does with them.

Only in a process that exists for this (:mod:`.child`). SQLAlchemy tells a plugin of its engine, and an engine of its
connections; what it has no event for is that any engine at all is made. So ``create_engine`` is wrapped, to name the
plugin each time, and so is ``Thread.start``.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine, create
from sqlalchemy.orm import Session

from .engines import bound_engines, describe, pool_of, pool_of_options
from .facts import EngineFacts, OpenConnection, Place, PoolFacts, StartedThread
from .places import place_of

__all__ = ["Notes", "Observer", "observe"]

_PLUGIN = "holdfast_doctor"
_SECRET_ARGUMENTS = ("password", "passwd", "password1", "password2", "password3", "passwd1")
_notes: Notes | None = None


class _Open:
    """A connection that is open."""

    def __init__(self, connection: Any, opened: Place | None) -> None:
        self.connection = connection
        self.opened = opened
        self.taken: Place | None = None
        self.out = False
        self.session = False


class _Engine:
    """An engine and its connections."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.pool: PoolFacts | None = None
        self.made: Place | None = None
        self.moment = "import"
        self.by_flask = False
        self.connects = 0
        self.open: dict[int, _Open] = {}
        self.engine: weakref.ref[Engine] | None = None


class Notes:
    """What was seen so far.

    :param directory: what file names are shown relative to.
    :param secret: called with each password that is seen, so that nobody shows it.
    :param address: called with each engine and its driver's arguments, for whoever wants to connect as it does.
    """

    def __init__(
        self, directory: Path, secret: Callable[[str], object], address: Callable[[Engine, Mapping[str, Any]], object]
    ) -> None:
        self.directory = directory
        self.secret = secret
        self.address = address
        self.moment = "import"
        self.engines: list[_Engine] = []
        self.threads: list[tuple[threading.Thread, Place | None]] = []

    def here(self) -> Place | None:
        """Say where the application is."""
        return place_of(sys._getframe(1), self.directory)

    def facts(self) -> tuple[EngineFacts, ...]:
        """Describe the engines that still exist, in the order in which they were made."""
        gc.collect()  # what nobody has any more is not open
        bound = bound_engines()
        found = []
        for one in self.engines:
            engine = one.engine() if one.engine is not None else None
            if engine is None:
                continue
            connections = tuple(
                OpenConnection(each.opened, each.out, each.taken, each.session) for each in one.open.values()
            )
            found.append(
                describe(
                    engine,
                    pool=one.pool or pool_of(engine),
                    orm=one.by_flask or id(engine.dialect) in bound,
                    by_flask=one.by_flask,
                    options=one.options,
                    made=one.made,
                    moment=one.moment,
                    connects=one.connects,
                    connections=connections,
                )
            )
        return tuple(found)

    def running(self) -> tuple[StartedThread, ...]:
        """Return the threads that were started meanwhile and still run."""
        return tuple(StartedThread(thread.name, place) for thread, place in self.threads if thread.is_alive())


class Observer(CreateEnginePlugin):
    """The plugin that every engine gets after its own. It changes nothing of the engine."""

    def __init__(self, url: URL, kwargs: MutableMapping[str, Any]) -> None:
        self.note = _Engine({name: kwargs[name] for name in ("isolation_level", "creator", "pool") if name in kwargs})
        arguments = kwargs.get("connect_args") or {}
        self.note.options["connect_args"] = arguments
        if _notes is not None:
            for text in (url.password, *(arguments.get(name) for name in _SECRET_ARGUMENTS)):
                if text:
                    _notes.secret(str(text))

    def update_url(self, url: URL) -> URL:
        """Leave the URL as it is."""
        return url

    def handle_pool_kwargs(self, pool_cls: Any, pool_args: dict[str, Any]) -> None:
        """Note what the pool is made with."""
        self.note.pool = pool_of_options(pool_cls, pool_args)

    def engine_created(self, engine: Engine) -> None:
        """Note where the engine is made, and listen to what happens to its connections."""
        notes, note = _notes, self.note
        if notes is None:
            return
        note.engine = weakref.ref(engine)
        note.made, note.moment = notes.here(), notes.moment
        note.by_flask = _called_by("flask_sqlalchemy")
        notes.engines.append(note)
        if not any(name in note.options for name in ("creator", "pool")):
            notes.address(engine, note.options["connect_args"])
        opened = functools.partial(_opened, notes, note)
        event.listen(engine, "connect", opened)
        event.listen(engine, "checkout", functools.partial(_taken, notes, note))
        event.listen(engine, "checkin", lambda connection, record: _returned(note, connection))
        event.listen(engine, "close", lambda connection, record: note.open.pop(id(connection), None))
        event.listen(engine, "close_detached", lambda connection: note.open.pop(id(connection), None))


def _opened(notes: Notes, note: _Engine, connection: Any, record: Any) -> None:
    note.connects += 1
    note.open[id(connection)] = _Open(connection, notes.here())


def _taken(notes: Notes, note: _Engine, connection: Any, record: Any, proxy: Any) -> None:
    found = note.open.get(id(connection))
    if found is not None:
        found.out, found.session, found.taken = True, False, notes.here()


def _returned(note: _Engine, connection: Any) -> None:
    found = note.open.get(id(connection))
    if found is not None:
        found.out = found.session = False


def _begun(session: Session, transaction: Any, connection: Any) -> None:
    inner = getattr(connection.connection, "dbapi_connection", None)
    for note in _notes.engines if _notes is not None else ():
        found = note.open.get(id(inner))
        if found is not None:
            found.session = True


def _called_by(package: str) -> bool:
    frame = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        if (frame.f_globals.get("__name__") or "").partition(".")[0] == package:
            return True
        frame = frame.f_back
    return False


def observe(notes: Notes) -> None:
    """Begin to take notes of everything that happens in this process."""
    global _notes
    _notes = notes
    plugins.register(_PLUGIN, __name__, Observer.__name__)
    original = create.create_engine

    @functools.wraps(original)
    def create_engine(url: Any, **kwargs: Any) -> Engine:
        kwargs["plugins"] = [*kwargs.get("plugins", ()), _PLUGIN]
        return original(url, **kwargs)

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "sqlalchemy":
            for attribute in ("create_engine", "_create_engine"):
                if getattr(module, attribute, None) is original:
                    setattr(module, attribute, create_engine)
    event.listen(Session, "after_begin", _begun)

    start = threading.Thread.start

    @functools.wraps(start)
    def started(self: threading.Thread) -> None:
        notes.threads.append((self, notes.here()))
        start(self)

    threading.Thread.start = started  # type: ignore[method-assign]
