"""The parts of the demonstration, in order. A new one is an experiment, a function that shows it, and an entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...experiments import lost, out_of_sync, prefork, waits
from ...experiments.stage import Stage
from ..tables import Table
from . import shown

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True)
class Part:
    """One part: what it is about, how it is run, and how it is shown."""

    key: str
    title: str
    question: str
    """What it answers, in a few words."""
    words: str
    """Two or three sentences, printed before it runs."""
    run: Callable[[Stage], Sequence[Any]]
    """Returns rows: dataclasses with a ``contender`` and ``bad``."""
    show: Callable[[Any], list[Table]]
    needs: str = ""
    """What is missing when it has no rows."""


PARTS = (
    Part(
        "lost",
        "Connections that the server closed",
        "how many requests fail after that?",
        "A guestbook on an ordinary connection pool. Before each request something ends the connections that lie idle "
        "in the pool.",
        lost.run,
        shown.lost_tables,
    ),
    Part(
        "waits",
        "What a request waits for",
        "how many round trips does each use of a connection take?",
        f"The same connections behind a network with a round trip of {2000 * waits.DELAY:g} ms. Each unit of work "
        "checks a connection out, does one thing, and returns it.",
        waits.run,
        shown.waits_tables,
    ),
    Part(
        "out_of_sync",
        "Out of sync",
        "a reply is left unread; who gets it?",
        "A soft time limit, as task queues have, raises an exception while a statement waits for its reply (here "
        "with mysql-connector-python). The reply stays unread, and the next command takes it for its own; so does "
        "a ping, which therefore passes.",
        out_of_sync.run,
        shown.out_of_sync_tables,
        "mysql-connector-python",
    ),
    Part(
        "prefork",
        "Forked workers",
        "a connection made before the fork is in every worker; who gets whose answer?",
        "A prefork server imports a small site and forks its workers. While it was imported the site made one query "
        f"and left the session open: all {prefork.WORKERS} workers have the same connection, and each believes it to "
        f"be its own. {prefork.CLIENTS} clients ask at once, each for a number of its own; half of them have an entry "
        "made in a ledger.",
        prefork.run,
        shown.prefork_tables,
        "a prefork server, uWSGI or gunicorn: pip install gunicorn",
    ),
)
