"""Where a unit of work is under way: in which process, thread, greenlet and task.

A context variable alone does not tell: ``contextvars.copy_context()``, ``asyncio.to_thread()`` and anyio's threads copy
it, and a forked child inherits it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

__all__ = ["here"]


def here() -> tuple[object, ...]:
    """Return what is equal as long as code runs in the same process, thread, greenlet and asyncio task."""
    return os.getpid(), threading.get_ident(), _greenlet(), _task()


def _greenlet() -> object:
    """Return the current greenlet; ``None`` for a thread's main one, which is there before anybody imports greenlet."""
    module: Any = sys.modules.get("greenlet")
    current = module.getcurrent() if module is not None else None
    return None if current is None or current.parent is None else current


def _task() -> object:
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
