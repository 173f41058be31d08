"""Sharing an account's connections between the processes of one user on one machine, without a daemon.

A server allows an account a number of connections, and no process of a prefork server knows what the others have
open. So each open connection holds a *slot*: a byte of a small file that the process has locked. The kernel frees it
when the process dies. :mod:`~.budget.slot_file` is that file. :mod:`~.budget.holding` is what this process has of it.
:mod:`~.budget.sharing` decides who takes a slot, who waits, and who gives one back.
"""

from __future__ import annotations

from .holding import Slot
from .sharing import Budget, Idle, Snapshot, User

__all__ = ["Budget", "Idle", "Slot", "Snapshot", "User"]
