"""What is said of a connection that was lost in use, beside what the driver says.

The exception keeps its type, its arguments and the driver's message; a line is added with
:meth:`sqlalchemy.exc.StatementError.add_detail`. It says since when the connection was out and where, what is known of
the reason, and what to do. A reason is named only where it is known: a connection that was idle for longer than the
server allows, a driver's own time limit, what the server itself has said.

After such an error SQLAlchemy refuses the same session or connection until it is rolled back, with an error that does
not tell what came before (``PendingRollbackError``, sqlalche.me/e/20/8s2b). A program that runs for months with one
session then has a log full of these; so they get a line as well, by a listener to that one connection.

Errors of a driver's own cursor (``engine.raw_connection()``) do not come by here: SQLAlchemy tells nobody of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import PendingRollbackError

from .. import drivers
from .._clock import monotonic_also_asleep
from .._pages import page
from ..counters import Cause
from ..drivers import ConnectionState
from ..server import faults
from ..server.limits import Limits
from .connection_limit import SOONER
from .holders import Holder

__all__ = ["explain_lost"]

_NO_BALANCER_IS_SOONER = 10.0
"""Seconds. A connection that was found closed after less than this was not closed for being idle, but by a restart or
a KILL."""

_END_IT = "End the session (commit, roll back or close it) before you wait for something else."
_LIKELY = (
    "The server may have been restarted, or somebody ended the connection (KILL, a time limit of the server's or of a "
    "proxy's), or the network failed. The server's log tells."
)
_ROLL_BACK = (
    "Before the same session or connection is used again, call its rollback(). In a Flask request that ends here, "
    "nothing needs to be called. A session for each job needs no such call: with Session(engine) as session: ..."
)
_STILL_NOT = (
    "holdfast: it lost its database connection in an earlier statement. Call rollback() on the session or connection "
    "once; then it works again. A program that runs for long should use a session for each job: with Session(engine) "
    "as session: ..."
)


def explain_lost(
    context: ExceptionContext,
    state: ConnectionState | None,
    limits: Limits | None,
    clock: Callable[[], float] = monotonic_also_asleep,
) -> None:
    """Add a line to the error of a connection that was lost in use.

    :param state: the connection's, if it can still be asked for.
    :param limits: what the server allows, if it is known.
    """
    error, connection = context.original_exception, context.connection
    if connection is None or context.sqlalchemy_exception is None or drivers.from_outside(error) is not None:
        return
    reason = "" if state is None else _reason(error, state, limits, clock)
    in_transaction = connection.get_transaction() is not None
    # An error of holdfast's own, such as that of two threads, has said all that there is.
    if reason or (in_transaction and "holdfast: " not in str(error)):
        advice = _ROLL_BACK if in_transaction else ""
        about = page("errors/2006#a-session-that-is-kept" if _END_IT in reason else "errors/2013")
        context.sqlalchemy_exception.add_detail(f"holdfast: {' '.join(filter(None, (reason, advice, about)))}")
    if in_transaction and not event.contains(connection, "before_execute", _remind):
        event.listen(connection, "before_execute", _remind)
        event.listen(connection, "commit", _remind)


def _remind(connection: Connection, *rest: Any) -> None:
    """Say what to do in the error that SQLAlchemy is about to raise, if it is."""
    if connection.invalidated and connection.get_transaction() is not None:
        try:
            connection.connection  # noqa: B018 - raises
        except PendingRollbackError as error:
            error.args = (f"{error.args[0]} ({_STILL_NOT} {page('errors/pending-rollback')})",)
            raise


def _reason(error: BaseException, state: ConnectionState, limits: Limits | None, clock: Callable[[], float]) -> str:
    """Say since when it was out, and what is known of the reason."""
    if state.taken_away is not None or state.unusable_because in (
        Cause.INTERRUPTED,
        Cause.OUT_OF_SYNC,
        Cause.ROLLBACK_REFUSED,
    ):
        return ""
    held = state.connection() if state.connection is not None else None
    out = _out(state, clock)
    if held is not None and held._holdfast_time_limit(error):
        return (
            f"no reply came within a time limit (the driver's read_timeout or write_timeout, or "
            f"holdfast_tcp_user_timeout){out}. The server may be busy with the statement still."
        )
    number = faults.error_number(error)
    if faults.is_the_servers(number) and number != faults.INACTIVE:
        return ""  # the server has said why
    idle = _idle_seconds(state)
    limit = _idle_limit(limits, idle)
    if number == faults.INACTIVE or limit:
        seconds = f" for {idle:.0f} s" if idle is not None else ""
        limit = limit or "the server closes idle connections (wait_timeout)"
        return f"the connection was idle{seconds}{out}; {limit}. {_END_IT}"
    was_idle = f"; it had been idle for {idle:.1f} s before this command" if idle is not None else ""
    if idle is not None and limits is not None:
        was_idle += f", and the server allows {limits.wait_timeout} s (wait_timeout)"
    return f"the connection was lost in use{out}{was_idle}. {_LIKELY}"


def _out(state: ConnectionState, clock: Callable[[], float]) -> str:
    holder = state.holder
    if not isinstance(holder, Holder):
        return ""
    by = f" by {holder.place}," if holder.place else ""
    return f" (checked out{by} {clock() - holder.since:.0f} s ago)"


def _idle_limit(limits: Limits | None, idle: float | None) -> str:
    """Name the limit that an idle connection has passed; empty when it has passed none that is known."""
    if limits is None or idle is None:
        return ""
    if idle >= SOONER * limits.wait_timeout:
        return f"the server closes idle connections after {limits.wait_timeout} s (wait_timeout)"
    if limits.idle_limit < limits.wait_timeout and idle >= SOONER * limits.idle_limit > _NO_BALANCER_IS_SOONER:
        return (
            f"another connection was found closed after {limits.idle_limit:.0f} s idle, sooner than the server's "
            f"wait_timeout of {limits.wait_timeout} s: something in between, such as a load balancer or a proxy, seems "
            "to close idle connections"
        )
    return ""


def _idle_seconds(state: ConnectionState) -> float | None:
    """Return for how long nothing was sent or received before the command that has failed, if it is known."""
    replied, began = state.replied, state.began
    if replied is None:
        return None
    if began < replied:  # it was no statement: a COMMIT that was refused because the connection was closed
        began = monotonic_also_asleep() if state.unusable_because is Cause.CLOSED else replied
    return began - replied if began > replied else None
