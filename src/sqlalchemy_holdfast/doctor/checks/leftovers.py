"""Checks of what an application leaves open: when its import has ended, and when a request has."""

from __future__ import annotations

from collections.abc import Iterator

from ..application.facts import ApplicationFacts
from ..check import check
from ..examined import Examined
from ..facts import seen
from ..finding import Severity

__all__: list[str] = []


def _facts(examined: Examined) -> ApplicationFacts:
    return seen(examined.application, "the application")


@check(
    "HF720",
    group="application",
    title="A session or connection is left open at import",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Use with: with Session(engine) as session: ..., or call session.close() / db.session.remove() at the end.",
    explanation="""
        What the import has opened and not closed keeps a connection out of the pool for the life of the process. Its
        transaction stays open: it sees old data for ever, may hold locks, and the server closes it at its idle limit,
        so that its next use fails.
    """,
)
def left_open(examined: Examined) -> Iterator[str]:
    """Connections that are checked out when the import has ended. HF304 has those of held engines before a fork."""
    facts = _facts(examined)
    for engine in facts.ours:
        for connection in engine.open:
            if connection.out and not (engine.held and facts.preforked is not None):
                who = "An ORM session" if connection.session else "A connection"
                at = f", checked out at {connection.taken}," if connection.taken is not None else ""
                yield f"{who} of {engine.name}{at} is still open when the import has ended."


@check(
    "HF721",
    group="application",
    title="No request ends its scoped session",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Add: @app.teardown_appcontext  def end(error): session.remove(), with the name of your scoped_session.",
    explanation="""
        A scoped_session is one session for each thread. When nobody calls remove() at the end of a request, the next
        request in that thread goes on in the same session and transaction: it sees old data, and an error of one
        visitor makes the next one's request fail.
    """,
)
def not_removed(examined: Examined) -> Iterator[str]:
    """A Flask application with a scoped_session, in whose code remove() is never called."""
    flask = _facts(examined).flask
    if flask is not None and flask.scoped_sessions and not flask.removes_sessions:
        yield "The application has a scoped_session, and remove() is called nowhere in its own code."
