"""Every connection of an engine under random operations: who uses it, and what was done to it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from sqlalchemy_holdfast.drivers import unwrap
from tests.chaos.plan import CONNECTION_ID, Plan

MORTAL_SECONDS = 0.8
"""A connection with a wait_timeout of one second may end once it has been idle for so long."""


@dataclass
class Known:
    """What the harness knows of one connection."""

    id: int
    owner: int | None = None
    taken: float = 0.0
    returned: float = 0.0
    killed: list[tuple[str, float, float]] = field(default_factory=list)
    """Kind of the fault, monotonic time before it and after it."""


class Connections:
    """Every connection of the engine, by the server's id: who uses it, and what was done to it."""

    def __init__(self, plan: Plan, engine: Engine) -> None:
        self._driver = plan.driver
        self._lock = threading.Lock()
        self._known: dict[int, Known] = {}
        self.used = threading.local()
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "checkout", self._on_checkout)
        event.listen(engine, "checkin", self._on_checkin)
        event.listen(engine, "close", self._on_close)
        event.listen(engine, "close_detached", self._on_close_detached)

    def id_of(self, connection: Any) -> int:
        found = getattr(unwrap(connection), CONNECTION_ID[self._driver])
        return int(found() if callable(found) else found)

    def begin(self) -> None:
        """A new operation begins in this thread."""
        self.used.ids = {}

    def pick(self, chance: random.Random, *, idle: bool) -> Known | None:
        me = threading.get_ident()
        with self._lock:
            fit = [k for k in self._known.values() if (k.owner is None if idle else k.owner not in (None, me))]
        return chance.choice(fit) if fit else None

    def mine(self) -> dict[int, tuple[Known, float]]:
        """The connections that this operation had, and since when."""
        found: dict[int, tuple[Known, float]] = getattr(self.used, "ids", {})
        return found

    def _on_connect(self, connection: Any, record: Any) -> None:
        known = Known(self.id_of(connection), owner=threading.get_ident(), taken=time.monotonic())
        record.info["chaos"] = known
        with self._lock:
            self._known[known.id] = known

    def _on_checkout(self, connection: Any, record: Any, fairy: Any) -> None:
        known: Known = record.info["chaos"]
        known.owner, known.taken = threading.get_ident(), time.monotonic()
        self.mine()[known.id] = known, known.taken

    def _on_checkin(self, connection: Any, record: Any) -> None:
        known: Known | None = record.info.get("chaos")
        if known is not None:
            known.owner, known.returned = None, time.monotonic()

    def _on_close(self, connection: Any, record: Any) -> None:
        known: Known | None = record.info.get("chaos")
        if known is not None:
            with self._lock:
                self._known.pop(known.id, None)

    def _on_close_detached(self, connection: Any) -> None:
        with contextlib.suppress(Exception), self._lock:
            self._known.pop(self.id_of(connection), None)
