"""What happened, told once: each method counts, writes to the log, and tells whoever listens.

A held engine has one :class:`Reporter`. Nothing else in the package counts events or logs them. Totals that change with
every statement or checkout (``checkouts``, ``rollbacks_deferred``, ``rollbacks_skipped``, ``statements_pipelined``,
``probes``, ``connects``) are plain integers of :class:`~sqlalchemy_holdfast.Counters` and are incremented where they
happen: a call for each would cost more than the work itself.

The loggers are ``holdfast`` and its children ``holdfast.pool``, ``holdfast.budget``, ``holdfast.transactions``,
``holdfast.flask`` and ``holdfast.web``.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._pages import page
from .counters import Cause, Counters
from .server.limits import Limits

__all__ = [
    "Event",
    "Listener",
    "Reporter",
    "after_fork_failed",
    "as_in_stock",
    "configuration",
    "never_sent",
    "not_counting",
    "not_held",
    "pre_ping",
    "request_repeated",
    "request_turned_away",
]

root = logging.getLogger("holdfast")
pool = logging.getLogger("holdfast.pool")
budget = logging.getLogger("holdfast.budget")
transactions = logging.getLogger("holdfast.transactions")
flask = logging.getLogger("holdfast.flask")
web = logging.getLogger("holdfast.web")


@dataclass(frozen=True)
class Event:
    """Something that happened to a held engine."""

    name: str
    """What happened, in a word, such as ``replaced_before_use``: the name of a method of ``Reporter``."""
    where: str
    """The engine: driver, host, port and database; no account."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known: ``cause``, ``seconds``, ``reason``. Never a value of a statement, never a password."""


Listener = Callable[[Event], object]


class Reporter:
    """Tells what happens to one engine's connections.

    :param where: names the engine in the log.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.counters = Counters()
        """The running totals of this process."""
        self._listeners: list[Listener] = []
        self._later: deque[tuple[int, str, tuple[object, ...], Event]] = deque()

    def start_anew(self) -> None:
        """Count from zero, in a forked child."""
        self.counters = Counters()

    def listen(self, listener: Listener) -> None:
        """Call something at each event from now on, in the thread in which the event happened.

        SQLAlchemy may hold a lock then, or the garbage collector may be at work: a listener must be short, and must not
        use the engine. An exception that comes out of it is logged and goes no further.
        """
        if listener not in self._listeners:
            self._listeners.append(listener)

    # -- how it is told ------------------------------------------------------------------------------------------

    def _tell(
        self, logger: logging.Logger, level: int, message: str, *arguments: object, event: str, **facts: Any
    ) -> None:
        logger.log(level, message, self.where, *arguments)
        self._pass_on(Event(event, self.where, facts))

    def _tell_later(self, level: int, message: str, *arguments: object, event: str, **facts: Any) -> None:
        """Tell it once a connection is made. SQLAlchemy holds a lock while it makes one ready, and a logging handler
        may need a connection, too."""
        self._later.append((level, message, arguments, Event(event, self.where, facts)))

    def tell_what_waits(self) -> None:
        """Tell what was kept back while a connection was being made."""
        while self._later:
            try:
                level, message, arguments, event = self._later.popleft()
            except IndexError:  # another thread was faster
                return
            pool.log(level, message, self.where, *arguments)
            self._pass_on(event)

    def _note(self, event: str, **facts: Any) -> None:
        """Tell the listeners alone: nobody wants to read of each of these."""
        if self._listeners:
            self._pass_on(Event(event, self.where, facts))

    def _pass_on(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:
                root.error("A listener to what happens on %s failed.", self.where, exc_info=error)

    # -- the engine and its connections --------------------------------------------------------------------------

    def stranger(self, connection_class: str) -> None:
        """A connection among held ones is of a driver that holdfast does not know."""
        self._tell_later(
            logging.WARNING,
            "%s: a connection of class %s is of no driver that holdfast knows. It is used as in stock SQLAlchemy; this "
            "engine's other connections are held.",
            connection_class,
            event="stranger",
        )

    def stepped_aside(self, reason: str) -> None:
        """None of the engine's connections can be held."""
        self._tell_later(
            logging.WARNING,
            "%s is not held: %s. The engine works as in stock SQLAlchemy.",
            reason,
            event="stepped_aside",
            reason=reason,
        )

    def left_to_parent(self, connections: int) -> None:
        """This process was forked, and leaves the connections that it has inherited alone."""
        self._tell_later(
            logging.INFO,
            "%s: %d connections of the parent process were left to it; process %d makes its own.",
            connections,
            os.getpid(),
            event="left_to_parent",
            connections=connections,
        )

    def inherited(self, connections: int) -> None:
        """This process was forked, and has inherited so many connections, which it will not use."""
        if connections:
            self.counters.replaced[Cause.INHERITED] = connections
            self._note("inherited", connections=connections)

    def inherited_replaced(self, parent: int, *, begun: bool) -> None:
        """A connection that was checked out at the fork was replaced by one of this process's own.

        :param parent: the parent's process id.
        :param begun: whether the parent may have changed something in the transaction.
        """
        self._tell(
            pool,
            logging.WARNING if begun else logging.INFO,
            "%s: a connection that was opened by the parent process %s and is still in use here was replaced by one "
            "of this process's own%s.",
            parent,
            ". What the parent did on it and has not committed is not part of this process's transaction, which "
            "cannot be committed: roll back and begin anew" * begun,
            event="inherited_replaced",
            begun=begun,
        )

    def replaced_before_use(self, cause: Cause, idle: float) -> None:
        """A connection of the pool could not be used, and was replaced at checkout.

        :param cause: one of :class:`Cause`.
        :param idle: seconds since its last return.
        """
        self.counters.count_replaced(cause)
        self._tell(
            pool,
            logging.INFO,
            "%s: replaced a pooled connection before use (%s, after %.1f s idle); no error reached the application.",
            cause,
            idle,
            event="replaced_before_use",
            cause=cause,
            seconds=idle,
        )

    def replaced_before_first_statement(self, cause: Cause) -> None:
        """A connection died between its checkout and the first statement, and was replaced."""
        self.counters.count_replaced(cause)
        self._tell(
            pool,
            logging.INFO,
            "%s: replaced a connection before the first statement of its checkout (%s): nothing had been sent on it, "
            "and no error reached the application.",
            cause,
            event="replaced_before_first_statement",
            cause=cause,
        )

    def discarded_on_return(self, cause: Cause, place: str) -> None:
        """A connection was not kept when it was returned.

        :param place: the application's line that returned it, in words.
        """
        self.counters.count_replaced(cause)
        self._tell(
            pool,
            logging.INFO,
            "%s: discarded a connection when it was returned%s (%s).",
            place,
            cause,
            event="discarded_on_return",
            cause=cause,
        )

    def session_reset(self) -> None:
        """A session that a checkout had changed was put back."""
        self.counters.resets += 1
        self._note("session_reset")

    def closes_instead_of_reset(self, why: str) -> None:
        """Sessions that a checkout has changed cannot be reset, so their connections are closed."""
        self._tell_later(
            logging.WARNING,
            "%s: holdfast_reset=changed closes connections whose session was changed, and cannot reset them: %s. The "
            "next checkout connects anew. %s",
            why,
            page("reset"),
            event="closes_instead_of_reset",
            why=why,
        )

    def reset_is_off(self, pool_class: str) -> None:
        """Sessions are not reset, because several users may have one at the same time."""
        self._tell_later(
            logging.WARNING,
            "%s: holdfast_reset=changed has no effect: a %s gives one connection to several users at a time. Use "
            "SQLAlchemy's QueuePool, which is the default. %s",
            pool_class,
            page("reset"),
            event="reset_is_off",
        )

    def rolled_back_what_was_left(self, when: str, place: str) -> None:
        """A connection was still in a transaction when SQLAlchemy thought that it was in none."""
        self._tell(
            pool,
            logging.WARNING,
            "%s: a connection was still in a transaction %s%s. It was rolled back. The commit or rollback of that "
            "transaction had failed, or a listener to the pool's events left it open.",
            when,
            place,
            event="rolled_back_what_was_left",
        )

    def isolation_level_not_put_back(self, error: BaseException) -> None:
        """A connection is not used again, because its isolation level could not be put back."""
        self._tell(
            pool,
            logging.INFO,
            "%s: a connection whose isolation level could not be put back is not used again (%s).",
            type(error).__name__,
            event="isolation_level_not_put_back",
        )

    def disconnect_recognised(self) -> None:
        """An error means a lost connection, and SQLAlchemy's dialect alone would have kept the connection."""
        self.counters.disconnects_recognised += 1
        self._note("disconnect_recognised")

    def lost_in_use(self, meaning: str) -> None:
        """A connection was lost while the application used it, and the application got the error.

        :param meaning: what happened, in words.
        """
        self.counters.count_replaced(Cause.LOST_IN_USE)
        self._tell(
            pool,
            logging.INFO,
            "%s: a connection was lost in use (%s); the error was passed on. The pool's other connections are checked "
            "before their next use.",
            meaning,
            event="lost_in_use",
        )

    def repeated(self, meaning: str) -> None:
        """A connection was lost in use, and the statement was run once more on a new one."""
        self.counters.count_replaced(Cause.LOST_IN_USE)
        self.counters.statements_repeated += 1
        self._tell(
            pool,
            logging.INFO,
            "%s: a connection was lost in use (%s); the statement was the first of its checkout and only reads, and "
            "was repeated on a new one. The pool's other connections are checked before their next use.",
            meaning,
            event="repeated",
        )

    def not_repeated(self, why: str) -> None:
        """A read whose connection was lost could have been repeated, but no new connection was to be had."""
        self._tell(
            pool,
            logging.INFO,
            "%s: a read whose connection was lost could not be repeated: %s",
            why,
            event="not_repeated",
        )

    # -- what is known of the server -----------------------------------------------------------------------------

    def limits_learned(self, limits: Limits) -> None:
        """The server has told how many connections it allows, and for how long they may be idle."""
        self._tell_later(
            logging.INFO,
            "%s: %s %s allows %d connections (%s) and closes idle ones after %d s (wait_timeout).",
            limits.flavour,
            limits.version,
            limits.connections,
            limits.reason,
            limits.wait_timeout,
            event="limits_learned",
        )

    def limits_unknown(self, why: str) -> None:
        """The server would not say what its limits are."""
        self._tell_later(
            logging.INFO, "%s: the server's limits could not be learned (%s).", why, event="limits_unknown"
        )

    def pipelining_is_off(self, middlebox: str) -> None:
        """Something stands between this process and the server, so no statement is sent ahead of an answer."""
        self._tell_later(
            logging.INFO,
            "%s: no statement is sent ahead of an answer: %s. holdfast_pipeline=true has it done all the same.",
            middlebox,
            event="pipelining_is_off",
        )

    def idle_limit_found(self, idle: float, wait_timeout: int) -> None:
        """A connection was closed sooner than the server's own limit."""
        self._tell(
            pool,
            logging.INFO,
            "%s: a connection was closed after %.1f s idle or less, though the server's wait_timeout is %d s: by a "
            "load balancer, a proxy, a restart or a KILL. It was noticed before it was used.",
            idle,
            wait_timeout,
            event="idle_limit_found",
            seconds=idle,
        )

    def tls_not_as_asked(self, words: str, *, in_clear: bool) -> None:
        """The driver was asked for TLS in its own words, and a connection is less than they say.

        :param words: the driver's arguments.
        :param in_clear: it has no TLS; if not, the server's certificate was not verified.
        """
        what = "it has no TLS, because the server offers none, and the driver went on without"
        if not in_clear:
            what = "the server's certificate was not verified, for which this driver needs another argument"
        self._tell_later(
            logging.WARNING,
            "%s: TLS was asked for with %s, and a connection is less: %s. In place of %s set "
            "holdfast_tls=verify-identity, and holdfast_tls_ca=<path of the CA's certificate> where the authority is "
            "not a public one. holdfast then closes such a connection before it is used. %s",
            words,
            what,
            words,
            page("tls"),
            event="tls_not_as_asked",
            in_clear=in_clear,
        )

    # -- getting a connection ------------------------------------------------------------------------------------

    def waited(self) -> None:
        """A checkout has begun to wait."""
        self.counters.waits += 1
        self._note("waited")

    def refused(self) -> None:
        """The server refused a connection because it was full; it is tried again."""
        self.counters.refused += 1
        self._note("refused")

    def unanswered(self) -> None:
        """Nothing answered an attempt to connect; it is tried again."""
        self.counters.unanswered += 1
        self._note("unanswered")

    def server_away(self, why: str, tries_for: float) -> None:
        """Nothing answers at the server's address.

        :param tries_for: seconds for which it is tried.
        """
        self._tell(
            pool,
            logging.WARNING,
            "%s: the server does not answer (%s); trying again for %g s (holdfast_wait_for_server).",
            why,
            tries_for,
            event="server_away",
        )

    def server_back(self, seconds: float) -> None:
        """It answers again, after so many seconds."""
        self._tell(
            pool,
            logging.WARNING,
            "%s: the server answers again, after %.1f s.",
            seconds,
            event="server_back",
            seconds=seconds,
        )

    def password_changed(self, source: str) -> None:
        """The server refused a password that it had accepted before, and accepted another one.

        :param source: the setting that says where the password comes from.
        """
        self._tell(
            pool,
            logging.INFO,
            "%s: the server refused the password that it had accepted before, and accepted the new one of %s.",
            source,
            event="password_changed",
        )

    def password_not_changed(self, source: str, asks_for: float) -> None:
        """The server refuses a password that it had accepted before, and its source still gives no other.

        :param asks_for: seconds for which the source is asked again.
        """
        self._tell(
            pool,
            logging.WARNING,
            "%s: the server refuses the password that %s gives. It is asked again for %.1f s, in case the new one is "
            "on its way.",
            source,
            asks_for,
            event="password_not_changed",
        )

    def previous_password_used(self, source: str) -> None:
        """The server refuses the new password, and the one that it had accepted before is tried."""
        self._tell(
            pool,
            logging.INFO,
            "%s: the server does not accept the new password of %s yet; the one before is tried.",
            source,
            event="previous_password_used",
        )

    def checkout_timed_out(self) -> None:
        """A checkout has waited for ``pool_timeout`` in vain."""
        self.counters.checkout_timeouts += 1
        self._note("checkout_timed_out")

    def rejected(self) -> None:
        """A checkout failed at once, because too many were waiting."""
        self.counters.rejected += 1
        self._note("rejected")

    def turned_away(self) -> None:
        """A checkout failed at once, because enough threads wait for a server that is away."""
        self.counters.turned_away += 1
        self._note("turned_away")

    def closed_for_sharing(self) -> None:
        """A connection was closed because somebody else needs its slot."""
        self.counters.closed_for_sharing += 1
        self._note("closed_for_sharing")

    def not_shared(self, why: object) -> None:
        """The processes cannot share the account's connections out."""
        self._tell_later(
            logging.WARNING,
            "%s: connections are not shared out between the processes. %s",
            why,
            event="not_shared",
        )

    # -- who has forgotten to return one -------------------------------------------------------------------------

    def out_too_long(self, what: str, who: str, threshold: float) -> None:
        """A connection is, or was, out of the pool for longer than ``holdfast_leak_warning``.

        :param who: since when and by whom, in words.
        """
        self.counters.leaks += 1
        self._tell(
            pool,
            logging.WARNING,
            "%s: a connection %s %s (more than holdfast_leak_warning=%g s). %s",
            what,
            who,
            threshold,
            page("errors/checkout-timeout"),
            event="out_too_long",
        )

    def came_back(self, who: str) -> None:
        """One that was named before has been returned."""
        self._tell(pool, logging.INFO, "%s: a connection came back that had been out %s.", who, event="came_back")

    def not_returned(self, who: str | None) -> None:
        """The garbage collector returned a connection.

        :param who: who had it, in words; ``None`` when that is not to be said again.
        """
        self.counters.garbage_collected += 1
        if who is None:
            self._note("not_returned")
            return
        self._tell(
            pool,
            logging.WARNING,
            "%s: a connection was never returned; the garbage collector returned it. It was held %s. %s",
            who,
            page("errors/checkout-timeout"),
            event="not_returned",
        )

    def never_committed(self, statement: str, where: str, others: int, page: str) -> None:
        """What was written was rolled back, because its session or connection was closed without ``commit()``.

        :param statement: its first words.
        :param where: the application's line, as 'FILE, line N, in F'.
        :param others: how many more statements of the same transaction have written something.
        :param page: the address of the page about it.
        """
        more = f" and {others} more" if others else ""
        self._tell(
            pool,
            logging.WARNING,
            "%s: %s, sent by %s,%s was rolled back: the session or connection was closed without commit(). To keep "
            "what is written, call commit() first. If nothing is to be kept, call rollback(), and this warning does "
            "not come. Switch it off: holdfast_uncommitted_warning=false. %s",
            statement,
            where or "nobody known",
            more,
            page,
            event="never_committed",
            where=where,
        )

    # -- units of work -------------------------------------------------------------------------------------------

    def unit_committed(self) -> None:
        """A unit of work was committed."""
        self.counters.units += 1
        self._note("unit_committed")

    def unit_repeated(self, reason: str, attempt: object) -> None:
        """A unit of work is begun again.

        :param attempt: the one that failed, in words.
        """
        self.counters.count_repeated(reason)
        self._tell(
            transactions,
            logging.INFO,
            "%s: a unit of work is begun again: %s",
            attempt,
            event="unit_repeated",
            reason=reason,
        )

    def commit_decided(self, answer: str) -> None:
        """The reply to a COMMIT was lost, and the server has told what became of it."""
        self.counters.commits_verified += 1
        self._tell(
            transactions,
            logging.INFO,
            "%s: the reply to a COMMIT was lost; the server was asked: %s.",
            answer,
            event="commit_decided",
        )

    def commit_unknown(self, token: str | None) -> None:
        """The reply to a COMMIT was lost, and nobody knows what became of it.

        :param token: the unit's, in hexadecimal, if it has one.
        """
        self.counters.commits_unknown += 1
        self._tell(
            transactions,
            logging.WARNING,
            "%s: whether a COMMIT was done is not known (token %s).",
            token or "none",
            event="commit_unknown",
        )

    def commit_not_asked(self, why: str) -> None:
        """The server could not be asked what became of a COMMIT."""
        self._tell(
            transactions,
            logging.INFO,
            "%s: whether a COMMIT was done could not be asked: %s",
            why,
            event="commit_not_asked",
        )

    def lost_session_ended(self, session: int) -> None:
        """The server still had the session of a lost connection, and was told to end it."""
        self._tell(
            transactions,
            logging.INFO,
            "%s: session %s of a lost connection was still there, and was ended with KILL.",
            session,
            event="lost_session_ended",
        )

    def lost_session_not_asked(self, why: str) -> None:
        """The server could not be asked whether the session of a lost connection is over."""
        self._tell(
            transactions,
            logging.INFO,
            "%s: whether a lost session is over could not be asked: %s",
            why,
            event="lost_session_not_asked",
        )


# -- what happens to no held engine ------------------------------------------------------------------------------


def not_held(where: str, reason: str, level: int) -> None:
    """The plugin was asked for, and an engine works without it."""
    root.log(level, "%s is not held: %s. The engine works as in stock SQLAlchemy.", where, reason)


def pre_ping() -> None:
    """An engine has ``pool_pre_ping``."""
    root.info(
        "pool_pre_ping costs a round trip at every checkout and is not needed: holdfast notices a closed "
        "connection without one. It is left on as you asked."
    )


def as_in_stock(system: str, missing: str) -> None:
    """This system lacks something that holdfast needs."""
    root.info("holdfast on %s: %s. This is as in stock SQLAlchemy.", system, missing)


def after_fork_failed(error: BaseException) -> None:
    """Something failed in a child's first moments; the child goes on."""
    root.error("holdfast: after a fork, this failed for a database engine.", exc_info=error)


def not_counting(why: object) -> None:
    """The slot file cannot be used, so connections are opened without counting them."""
    budget.warning("holdfast: connections are opened without counting them. %s", why)


def configuration(what: str) -> None:
    """A Flask application's configuration has something that is old, or that comes too late."""
    flask.warning(what)


def never_sent(endpoint: str, place: str, changes: str, page: str) -> None:
    """A Flask request ended with changes in its session that were not sent to the server, and are lost.

    :param place: where its view is, as ' (FILE, line N)'.
    :param changes: how many objects of which classes, and no values.
    """
    flask.warning(
        "The view %r%s ended with changes in db.session that are lost: %s. To keep them, call db.session.commit() "
        "first. If nothing is to be kept, call db.session.rollback(), and this warning does not come. "
        "(holdfast_uncommitted_warning) %s",
        endpoint,
        place,
        changes,
        page,
    )


def request_repeated(method: str, path: str, reason: str) -> None:
    """A safe request whose connection was lost is answered by running it once more."""
    flask.info("%s %s is run once more: %s.", method, path, reason)


def request_turned_away(method: str, path: str, retry_after: int, why: str, *, first: bool) -> None:
    """A request that cannot get a connection is answered with 503.

    :param why: the error, in words.
    :param first: no other one was told of for a while. Later ones are of interest to nobody but who looks for them.
    """
    web.log(
        logging.WARNING if first else logging.DEBUG,
        "%s %s is answered with 503 and Retry-After: %d%s. %s",
        method,
        path,
        retry_after,
        ", as others may be during the next minute (each is logged at the level DEBUG)" * first,
        why,
    )
