"""The doctor: looks at a database connection, its server and an application, and says what is or will be wrong.

Read-only, a few statements, at most two seconds. It never runs by itself, and never refuses to start anything.

``examination`` gathers (``connecting``, ``asking``, ``application``) and then lets the ``checks`` look at what was
gathered (:class:`~.examined.Examined`). A check makes findings, and a report has them all.
"""

from __future__ import annotations

from .applications import NoApplication, NoDatabase, examine_application, examine_running
from .check import Check, Seen, check
from .examination import choose, examine
from .examined import Examined
from .facts import Hosting, NotSeen, seen
from .finding import Finding, Severity
from .report import Report, Skipped

__all__ = [
    "Check",
    "Examined",
    "Finding",
    "Hosting",
    "NoApplication",
    "NoDatabase",
    "NotSeen",
    "Report",
    "Seen",
    "Severity",
    "Skipped",
    "check",
    "choose",
    "examine",
    "examine_application",
    "examine_running",
    "seen",
]
