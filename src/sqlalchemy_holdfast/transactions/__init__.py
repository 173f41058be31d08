"""Whole units of work: nothing lost, nothing doubled.

:func:`~.run` begins a transaction, calls a function, commits, and does all of it again where that is safe.
``running`` has the loop, ``units`` and ``orm`` one attempt, ``commits`` how the
server is asked whether a COMMIT was done, and ``lost_sessions`` how the other end of a lost connection is ended.
"""

from __future__ import annotations

from ..server.reasons import Reason
from .attempts import Attempt, Commit
from .commits import commits_table, create_commit_table, prune_commits
from .running import run, transactional

__all__ = [
    "Attempt",
    "Commit",
    "Reason",
    "commits_table",
    "create_commit_table",
    "prune_commits",
    "run",
    "transactional",
]
