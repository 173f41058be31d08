"""Why a unit of work may be begun again, in words."""

from __future__ import annotations

from .._words import Words

__all__ = ["Reason"]


class Reason(Words):
    """Why a unit of work was begun again. The words are keys of :attr:`~sqlalchemy_holdfast.Counters.units_repeated`
    and stand in log lines."""

    LOST = "connection lost"
    """The connection was lost, and COMMIT had not been sent or was proven not to have been done."""
    UNREACHABLE = "server not reachable"
    """No connection could be made: the server is away or full. Such an attempt does not count as one."""
    DEADLOCK = "deadlock"
    """1213: the server chose this transaction to be rolled back. Also a Galera node whose certification failed, and
    1180 of a Group Replication member ("error 149")."""
    LOCK_TIMEOUT = "lock timeout"
    """1205: it waited too long for a lock. The server rolls back the one statement; the rest is undone here."""
    CHANGED = "record changed"
    """1020: another transaction changed what this one has read (MariaDB with innodb_snapshot_isolation)."""
    REFUSED = "commit refused"
    """3101: Group Replication rolled it back."""
    READ_ONLY = "read-only server"
    """1290, 1836: the server is a replica now. The next attempt connects anew. It does not count as one: nothing was
    done, and a failover may take longer than ten attempts."""
    READ_ONLY_TRANSACTION = "read-only transaction"
    """1792: as after a failover of some clusters. It counts, because the unit may have made its transaction read-only
    itself, and then no attempt helps."""
    NOT_READY = "cluster node not ready"
    """1047: a Galera node outside of the primary component. 3032, 6400: a MySQL server in offline mode, as a member is
    that has left its group. It does not count as an attempt, either."""

    @property
    def counts(self) -> bool:
        """Whether an attempt that failed for this reason is one of ``attempts``. If not, no server took the unit's work
        on, and the deadline alone bounds such attempts."""
        return self not in (Reason.UNREACHABLE, Reason.READ_ONLY, Reason.NOT_READY)
