"""How many threads the web server has, in whose thread this code runs: asked of the web server itself.

A thread that waits for the database answers no other request. A web server has a fixed number of threads in each of its
processes, so holdfast needs that number to leave some of them free. What is not listed here has no such number, or it
cannot be known: a script, a task queue's worker, a web server with a thread or a greenlet for each request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["ANYIO_THREADS", "tell_anyio", "web_threads"]

ANYIO_THREADS = 40
"""The threads in which Starlette and FastAPI run what is not ``async``: anyio's documented default."""

_anyio_threads = ANYIO_THREADS


def tell_anyio(threads: float) -> None:
    """Note how many threads anyio's limiter allows in this process. Only its event loop can be asked."""
    global _anyio_threads
    _anyio_threads = int(min(threads, sys.maxsize))  # it may be math.inf


def web_threads() -> int | None:
    """Return how many threads this process's web server has, when this thread is one of them; else ``None``."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None:
        return _uwsgi_threads(uwsgi)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count = _COUNTS.get(frame.f_globals.get("__name__", ""))
        number = _asked(count, frame) if count is not None else None
        if number is not None:
            return number
        frame = frame.f_back
    return None


def _asked(count: Callable[[Any], int | None], what: object) -> int | None:
    """Return a number of threads, or ``None`` where a release of the web server has it elsewhere."""
    try:
        return count(what)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _uwsgi_threads(uwsgi: Any) -> int | None:
    """``uwsgi.opt`` has the options as they were given, values as bytes; one that was given twice is a list."""

    def count(uwsgi: Any) -> int | None:
        options = uwsgi.opt
        if uwsgi.worker_id() == 0 or any(name in options for name in _UWSGI_GREENLETS):
            return None  # the master, which imports the application and answers nothing; or greenlets
        given = options.get("threads", options.get("thread", 1))
        return int(given[-1] if isinstance(given, list) else given)

    return _asked(count, uwsgi)


_UWSGI_GREENLETS = ("gevent", "asyncio", "async", "greenlet", "ugreen")


def _is_anyio_thread(frame: FrameType) -> bool:
    """Not the event loop's thread, which comes from the same module."""
    return type(frame.f_locals.get("self")).__name__ == "WorkerThread"


_COUNTS: dict[str, Callable[[FrameType], int | None]] = {
    "gunicorn.workers.gthread": lambda frame: int(frame.f_locals["self"].cfg.threads),
    "gunicorn.workers.sync": lambda frame: 1,
    "waitress.task": lambda frame: len(frame.f_locals["self"].threads) or None,
    "anyio._backends._asyncio": lambda frame: _anyio_threads if _is_anyio_thread(frame) else None,
}
"""The module that a web server's thread comes from, and where that has the number."""
