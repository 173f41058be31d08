"""What holdfast did for one engine, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._words import Words

__all__ = ["Cause", "Counters"]


class Cause(Words):
    """Why a connection was replaced. The words are keys of :attr:`Counters.replaced` and stand in log lines."""

    CLOSED = "closed by the server"
    """The other side had closed or reset it; noticed before it was used."""
    OUT_OF_SYNC = "out of sync"
    """Bytes that nobody had asked for were waiting: its next reply would have been another statement's."""
    INTERRUPTED = "interrupted"
    """An exception that was not the driver's left a statement half done."""
    UNREAD_RESULT = "unread result"
    """It was returned with rows or result sets that nobody had read."""
    SILENT = "silent"
    """A probe after a long idle time was not answered in time."""
    ROLLBACK_REFUSED = "refused a ROLLBACK"
    """The server answered a ROLLBACK with an error, as it does inside an XA transaction."""
    EVICTED = "evicted"
    """It works, but its server is read-only or not ready."""
    LOST_IN_USE = "lost in use"
    """It was lost while the application was using it; the application got the driver's error, unless the statement
    could be repeated (:attr:`Counters.statements_repeated`)."""
    INHERITED = "the parent process's"
    """It was inherited by fork(). It is the parent's and goes on there; this process makes its own."""


@dataclass
class Counters:
    """Running totals of one process since the engine was created, in a forked child since the fork. Read them at any
    time; they are not a rigid interface.

    Plain integers, incremented without a lock: with several threads a count may rarely be short by one.
    """

    connects: int = 0
    """Connections that were opened and held."""
    checkouts: int = 0
    """Times a connection was handed out."""
    replaced: dict[str, int] = field(default_factory=dict)
    """Connections that were discarded, by cause (:class:`Cause`)."""
    rollbacks_deferred: int = 0
    """ROLLBACKs that were sent without waiting for the reply."""
    rollbacks_skipped: int = 0
    """ROLLBACKs that were not sent, because nothing had been sent since the last COMMIT or ROLLBACK."""
    statements_pipelined: int = 0
    """Statements that were sent while a ROLLBACK's reply was still on its way."""
    statements_repeated: int = 0
    """Reads that were repeated on a new connection, because the first one was lost before it had answered."""
    probes: int = 0
    """Round trips made to see whether a long idle or suspect connection still answers."""
    disconnects_recognised: int = 0
    """Lost connections that SQLAlchemy's dialect alone would have kept in the pool."""

    waits: int = 0
    """Checkouts that had to wait for a connection, those aside that waited 20 ms or less for one of their process's
    own."""
    refused: int = 0
    """Attempts to connect that the server refused because it was full (1040, 1203, 1226), and that were repeated."""
    unanswered: int = 0
    """Attempts to connect that nothing answered (2002, 2003, ...), and that were repeated."""
    closed_for_sharing: int = 0
    """Connections that were closed when they were returned, because other processes share the limit, or while they were
    idle, because another engine of this process needed their slot."""
    checkout_timeouts: int = 0
    """Checkouts that waited for ``pool_timeout`` in vain."""
    rejected: int = 0
    """Checkouts that failed at once because of ``holdfast_max_waiting``."""
    leaks: int = 0
    """Connections that were out of the pool for longer than ``holdfast_leak_warning``."""
    garbage_collected: int = 0
    """Connections that were never returned, and that the garbage collector returned."""

    units: int = 0
    """Units of work that :func:`sqlalchemy_holdfast.run` has committed."""
    units_repeated: dict[str, int] = field(default_factory=dict)
    """Units of work that were begun again, by reason (:class:`sqlalchemy_holdfast.transactions.Reason`)."""
    commits_verified: int = 0
    """COMMITs whose reply was lost, and that the server was asked for (``run(verify=True)``)."""
    commits_unknown: int = 0
    """COMMITs whose reply was lost, and that were reported as :class:`sqlalchemy_holdfast.CommitOutcomeUnknown`."""

    def count_repeated(self, reason: str) -> None:
        """Add one to :attr:`units_repeated`."""
        self.units_repeated[reason] = self.units_repeated.get(reason, 0) + 1

    def count_replaced(self, cause: Cause) -> None:
        """Add one discarded connection to :attr:`replaced`."""
        self.replaced[cause] = self.replaced.get(cause, 0) + 1

    def snapshot(self) -> Counters:
        """Return a copy that no longer changes."""
        values: dict[str, Any] = {
            name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()
        }
        return Counters(**values)

    def as_dict(self) -> Mapping[str, int]:
        """Return the totals as one flat mapping, causes as ``replaced: <cause>``, reasons as ``repeated: <reason>``."""
        now = self.snapshot()  # another thread may be counting something for the first time
        flat = {name: value for name, value in vars(now).items() if not isinstance(value, dict)}
        flat |= {f"replaced: {cause}": count for cause, count in now.replaced.items()}
        return flat | {f"repeated: {reason}": count for reason, count in now.units_repeated.items()}
