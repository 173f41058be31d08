"""The same facts of an application that runs in this process, and was not watched: places are not known."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from .engines import bound_engines, describe, pool_of
from .facts import ApplicationFacts, EngineFacts, OpenConnection, StartedThread
from .flask_site import describe_flask, greenlets
from .sources import fork_hooks, own_sources
from .web_server import gunicorn_sources, look

__all__ = ["engines_here", "look_at"]


def look_at(target: str, loaded: Any = None, by_flask: frozenset[int] = frozenset()) -> ApplicationFacts:
    """Look at the application in this process, before its first request. Nothing is sent.

    :param target: its name.
    :param loaded: the application.
    :param by_flask: the ids of the engines that Flask-SQLAlchemy has made.
    """
    directory = Path(os.path.realpath(os.getcwd()))
    gc.collect()
    sources, bound = own_sources(), bound_engines()
    hooks = (*fork_hooks(sources, directory), *fork_hooks(gunicorn_sources(directory), directory, gunicorn=True))
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return ApplicationFacts(
        target=target,
        engines=tuple(_engine(engine, id(engine) in by_flask, bound) for engine in engines_here()),
        threads=tuple(StartedThread(thread.name, None) for thread in others),
        fork_hooks=tuple(dict.fromkeys(hooks)),
        web_servers=look(directory),
        greenlets=greenlets(),
        flask=describe_flask(loaded, sources),
    )


def engines_here() -> list[Engine]:
    """Return the engines of this process, one for each pool."""
    found: dict[int, Engine] = {}
    for one in gc.get_objects():
        if type(one) is Engine:  # and not a copy with other execution options, which shares everything
            found.setdefault(id(one.dialect), one)
    return list(found.values())


def _engine(engine: Engine, by_flask: bool, bound: set[int]) -> EngineFacts:
    idle = out = 0
    if isinstance(engine.pool, QueuePool):
        idle, out = engine.pool.checkedin(), engine.pool.checkedout()
    return describe(
        engine,
        pool=pool_of(engine),
        orm=by_flask or id(engine.dialect) in bound,
        by_flask=by_flask,
        connects=idle + out,
        connections=(OpenConnection(None, out=False),) * idle + (OpenConnection(None, out=True),) * out,
    )
