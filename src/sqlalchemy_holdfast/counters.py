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
    """The server, or something in between, had closed or reset it. holdfast noticed that before it was used."""
    OUT_OF_SYNC = "out of sync"
    """Something was waiting to be read that nobody had asked for. The next reply would have been a wrong one."""
    INTERRUPTED = "interrupted"
    """Something other than the driver raised an exception in the middle of a statement."""
    UNREAD_RESULT = "unread result"
    """It was returned to the pool with rows or result sets that nobody had read."""
    SILENT = "silent"
    """After a long idle time, it did not answer a probe in time."""
    ROLLBACK_REFUSED = "refused a ROLLBACK"
    """The server answered a ROLLBACK with an error, as it does inside an XA transaction."""
    RESET_REFUSED = "refused a reset"
    """The server answered with an error when the session was to be put back (``holdfast_reset``)."""
    NOT_RESETTABLE = "changed, and not to be reset"
    """The application changed its session in a way that a reset does not undo (``holdfast_reset``)."""
    EVICTED = "evicted"
    """It works, but its server is read-only or not ready."""
    LOST_IN_USE = "lost in use"
    """It was lost while the application was using it. The application got the driver's error, unless holdfast could
    repeat the statement (:attr:`Counters.statements_repeated`)."""
    INHERITED = "the parent process's"
    """It was inherited by fork(). The parent goes on with it, and this process makes its own."""


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
    resets: int = 0
    """Sessions that were put back to how they were set up, because a checkout had changed them (``holdfast_reset``)."""
    statements_pipelined: int = 0
    """Statements that were sent while a ROLLBACK's reply was still on its way."""
    statements_repeated: int = 0
    """Reads that were repeated on a new connection, because the first one was lost before it had answered."""
    probes: int = 0
    """Round trips made to see whether a long idle or suspect connection still answers."""
    disconnects_recognised: int = 0
    """Lost connections that SQLAlchemy's dialect alone would have kept in the pool."""

    waits: int = 0
    """Checkouts that waited for a connection. Waits up to 20 ms for a connection of the same process do not count."""
    refused: int = 0
    """Attempts to connect that the server refused because it was full (1040, 1203, 1226). holdfast repeated them."""
    unanswered: int = 0
    """Attempts to connect that nothing answered (2002, 2003, ...). holdfast repeated them."""
    closed_for_sharing: int = 0
    """Connections that holdfast closed although they worked: when they were returned, because another process needed
    their slot, or while they were idle, because another engine of this process needed it."""
    checkout_timeouts: int = 0
    """Checkouts that got no connection within ``pool_timeout``."""
    rejected: int = 0
    """Checkouts that failed at once because of ``holdfast_max_waiting``."""
    turned_away: int = 0
    """Checkouts that failed at once because the server was away and ``holdfast_max_waiting_for_server`` threads waited
    for it already."""
    leaks: int = 0
    """Connections that were out of the pool for longer than ``holdfast_leak_warning``."""
    garbage_collected: int = 0
    """Connections that the application never returned, so that the garbage collector had to."""

    units: int = 0
    """Units of work that :func:`sqlalchemy_holdfast.run` has committed."""
    units_repeated: dict[str, int] = field(default_factory=dict)
    """Units of work that were begun again, by reason (:class:`sqlalchemy_holdfast.transactions.Reason`)."""
    commits_verified: int = 0
    """COMMITs that lost their reply, and whose result was then checked on the server (``run(verify=True)``)."""
    commits_unknown: int = 0
    """COMMITs that lost their reply, and were reported as :class:`sqlalchemy_holdfast.CommitOutcomeUnknown`."""

    def count_repeated(self, reason: str) -> None:
        """Add one to :attr:`units_repeated`."""
        self.units_repeated[reason] = self.units_repeated.get(reason, 0) + 1

    def count_replaced(self, cause: Cause) -> None:
        """Add one discarded connection to :attr:`replaced`."""
        self.replaced[cause] = self.replaced.get(cause, 0) + 1

    def snapshot(self) -> Counters:
        """Return a copy that no longer changes."""
        values: dict[str, Any] = dict(vars(self))
        for name, value in values.items():
            if isinstance(value, dict):  # plain text as keys, for whoever writes them down
                values[name] = {str(key): count for key, count in list(value.items())}
        return Counters(**values)

    def as_dict(self) -> Mapping[str, int]:
        """Return the totals as one flat mapping, causes as ``replaced: <cause>``, reasons as ``repeated: <reason>``."""
        now = self.snapshot()  # another thread may be counting something for the first time
        flat = {name: value for name, value in vars(now).items() if not isinstance(value, dict)}
        flat |= {f"replaced: {cause}": count for cause, count in now.replaced.items()}
        return flat | {f"repeated: {reason}": count for reason, count in now.units_repeated.items()}
