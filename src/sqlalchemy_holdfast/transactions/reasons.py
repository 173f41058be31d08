"""Why a unit of work may be begun again: a driver's error -> one of a few words, or nothing.

Pure data and one pure function. What a lost connection is, is said by :mod:`~.faults`; what a refused connect
is, by :mod:`~.refusals`. Here are the errors after which the connection is sound and the transaction is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._words import Words
from ..server import faults, refusals

__all__ = ["UNCOUNTED", "Reason", "may_roll_back", "rolls_back", "why_again"]


class Reason(Words):
    """Why a unit of work was begun again. The words are keys of :attr:`~.Counters.units_repeated` and stand in
    log lines."""

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


UNCOUNTED = frozenset({Reason.UNREACHABLE, Reason.READ_ONLY, Reason.NOT_READY})
"""Reasons of attempts that do not count: no server took the unit's work on. The deadline alone bounds them."""


_BY_NUMBER: Mapping[int, Reason] = {
    1213: Reason.DEADLOCK,
    1205: Reason.LOCK_TIMEOUT,
    1020: Reason.CHANGED,
    3101: Reason.REFUSED,
}
_BY_ROW: Mapping[int | None, Reason] = {
    1047: Reason.NOT_READY,
    3032: Reason.NOT_READY,
    6400: Reason.NOT_READY,
    1290: Reason.READ_ONLY,
    1836: Reason.READ_ONLY,
    1792: Reason.READ_ONLY_TRANSACTION,
}
_ROLL_BACK = frozenset(
    {
        1213,  # ER_LOCK_DEADLOCK
        1020,  # ER_CHECKREAD, MariaDB with innodb_snapshot_isolation
        1206,  # ER_LOCK_TABLE_FULL: InnoDB has no memory for more locks
        1402,  # ER_XA_RBROLLBACK
        1613,  # ER_XA_RBTIMEOUT
        1614,  # ER_XA_RBDEADLOCK
    }
)
_LOCK_TIMEOUT = 1205  # ER_LOCK_WAIT_TIMEOUT


def why_again(error: BaseException, *, connected: bool) -> Reason | None:
    """Say why the unit in which a driver raised this error may be begun again, or ``None``.

    Whether it may is only half the question: a COMMIT that may have been done is another one, which is not asked here.

    :param error: the exception as the driver raised it.
    :param connected: whether the unit had a connection when it was raised.
    :return: one of :class:`Reason`.
    """
    row = faults.classify(error, connected=connected)
    if row is not None and row.number in _BY_ROW and connected:
        return _BY_ROW[row.number]
    if row is not None and row.effect is faults.Effect.LOST and connected:
        return Reason.LOST
    if refusals.classify(error) is not None or (row is not None and row.effect is faults.Effect.LOST):
        return Reason.UNREACHABLE
    if row is not None:
        return _BY_ROW.get(row.number)
    if faults.lost_to_another_member(error):
        return Reason.DEADLOCK
    return _BY_NUMBER.get(faults.error_number(error) or 0)


def may_roll_back(error: BaseException) -> bool:
    """Say whether that is so for a server that was started with ``innodb_rollback_on_timeout``."""
    return faults.error_number(error) == _LOCK_TIMEOUT


def rolls_back(error: BaseException) -> bool:
    """Say whether the server has rolled back the whole transaction with this error, and not the one statement.

    A unit that goes on after it, because the error was caught, would commit its second half alone.
    """
    return faults.error_number(error) in _ROLL_BACK or faults.lost_to_another_member(error)
