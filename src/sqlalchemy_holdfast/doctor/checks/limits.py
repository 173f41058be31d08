"""Checks of how many connections there may be, and of how long one may be idle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..check import Seen, check
from ..examined import Examined
from ..facts import counted, given, seen
from ..finding import Severity
from ..server_facts import ServerFacts
from .holding import how_to_hold

_SHORT_IDLE = 60
_NEARLY = 0.8
_LONG_IDLE = 3600
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
"""How a server names clients of its own machine, over a unix socket and over TCP."""


def _number(text: str) -> int:
    return int(float(text))


def _allowed(server: ServerFacts) -> tuple[int, str]:
    """How many connections the account may have, and which variable says so."""
    everybody, own = _number(server.variable("max_connections")), _number(server.variable("max_user_connections"))
    return (own, "max_user_connections") if 0 < own <= everybody else (everybody, "max_connections")


@check(
    "HF201",
    group="limits",
    title="The server closes idle connections sooner than the pool",
    severity=Severity.WARNING,
    needs={"url", "server"},
    cure="Add plugin=holdfast to the URL. Without it, set pool_recycle below wait_timeout, and pool_pre_ping=True.",
    explanation="""The server closes a connection that was idle for wait_timeout seconds. The pool of an engine that is
    not held does not notice, and hands it out: "MySQL server has gone away" (2006), or 2013, or 4031.""",
)
def pool_keeps_longer(examined: Examined) -> Iterator[str | Seen]:
    pool, server = seen(examined.pool, "the engine"), seen(examined.server, "the server")
    idle = _number(server.variable("wait_timeout"))
    if not pool.given or pool.held or pool.kind == "NullPool":
        return
    if pool.recycle is None or pool.recycle >= idle:
        kept = "for ever" if pool.recycle is None else f"for {pool.recycle:g} s"
        yield Seen(
            f"wait_timeout is {idle} s, and the pool keeps a connection {kept}; it is not held ({pool.reason}).",
            cure=f"{how_to_hold(examined.application)}. Without holdfast: pool_recycle below wait_timeout, and "
            "pool_pre_ping=True.",
        )


@check(
    "HF202",
    group="limits",
    title="Idle connections are closed sooner than the server says",
    severity=Severity.WARNING,
    needs={"url", "server"},
    cure="Find what cuts them (a load balancer, a firewall); holdfast_keepalive_idle below that time keeps them open.",
    explanation="""Connections of this engine were found closed although they were idle for less than wait_timeout. So
    something between the site and its server closes them. holdfast replaces them; a connection that is cut in the
    middle of a transaction cannot be replaced.""",
)
def cut_sooner(examined: Examined) -> Iterator[str | Seen]:
    found = seen(examined.pool, "the engine").idle_limit_seen
    if found is not None:
        idle = seen(examined.server, "the server").variable("wait_timeout")
        yield f"Connections were closed after {found:.0f} s without use; wait_timeout is {idle} s."


@check(
    "HF203",
    group="limits",
    title="The server closes idle connections very soon",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Raise wait_timeout to 300 s or more, or end each session before the program waits for something else.",
    explanation="""wait_timeout also counts while a transaction is open and the program does something else: it calls
    another service, or waits for a user. Then the transaction is rolled back and the next statement fails.""",
)
def idle_limit_is_short(examined: Examined) -> Iterator[str | Seen]:
    idle = _number(seen(examined.server, "the server").variable("wait_timeout"))
    if idle < _SHORT_IDLE:
        yield f"wait_timeout is {idle} s."


@check(
    "HF204",
    group="limits",
    title="The session has another idle limit than the server",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Remove the SET SESSION wait_timeout from init_command or init_connect, unless it is meant.",
    explanation="""Something sets wait_timeout for this site's sessions: init_command in the URL, the server's
    init_connect, a listener of the application's, or a driver that calls itself interactive. The value that counts is
    the session's.""",
)
def own_idle_limit(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    own, general = _number(server.variable("wait_timeout")), _number(server.global_variable("wait_timeout"))
    if own != general:
        yield f"The session's wait_timeout is {own} s, the server's {general} s."


@check(
    "HF205",
    group="limits",
    title="The processes may want more connections than there are",
    severity=Severity.WARNING,
    needs={"url", "server"},
    cure="Use fewer processes, or a smaller pool: pool_size and max_overflow count for each process.",
    explanation="""Each process has a pool of its own, of pool_size + max_overflow connections. Under load they may all
    be wanted at once. Without holdfast, what is too many is refused: 1040, 1203 or 1226. With holdfast the processes
    of one machine share what there is, and wait; it is a warning when not each can have one.""",
)
def too_many_wanted(examined: Examined) -> Iterator[str | Seen]:
    server, pool = seen(examined.server, "the server"), seen(examined.pool, "the engine")
    processes = given(examined.hosting.processes, "how many processes there are (--processes)")
    allowed, name = _allowed(server)
    each = seen(pool.most, "how many connections the pool may have")
    wanted = processes * each
    default = "" if pool.given else " (SQLAlchemy's default)"
    words = f"{processes} processes may open {each} connections each{default}, {wanted} together; {name} is {allowed}."
    if not pool.held and wanted > allowed:
        yield Seen(words, severity=Severity.ERROR)
    elif pool.held and examined.settings.budget is None and wanted > allowed:
        yield Seen(
            f"{words} They do not share them (holdfast_budget=off).",
            cure="Remove holdfast_budget=off, or use fewer processes or a smaller pool (pool_size, max_overflow).",
        )
    elif processes > allowed - examined.settings.headroom:
        yield Seen(
            f"{words} {examined.settings.headroom} is left for your own console: not each process can have one.",
            cure=f"Use fewer processes (threads need less), or let the account have more connections ({name}).",
        )


@check(
    "HF206",
    group="limits",
    title="Nearly all connections are in use",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Find out who has them: SHOW PROCESSLIST. Raise the limit, or let the pools be smaller.",
    explanation="""When the last connection is taken, the next one is refused: 1040 for the server's limit
    (max_connections), 1203 or 1226 for the account's (max_user_connections). It may be only for a moment: look
    again.""",
)
def nearly_full(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    user = seen(server.client, "the client").rpartition("@")[0]
    own = _number(server.variable("max_user_connections"))
    if own and server.sessions is not None:
        used = sum(session.user == user for session in server.sessions)
        if used >= own * _NEARLY:
            yield f"The account has {used} of {own} connections (max_user_connections)."
    everybody, used = _number(server.variable("max_connections")), _number(server.counter("Threads_connected"))
    if used >= everybody * _NEARLY:
        yield f"The server has {used} of {everybody} connections (max_connections)."


@check(
    "HF207",
    group="limits",
    title="Other machines use the same account",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Give each machine an account of its own, or set holdfast_budget to the part that this machine may use.",
    explanation="""The processes of one machine share the account's connections. What other machines open does not take
    part in that. Where the account has a limit of its own, one machine can take the other's connections, so it is a
    warning there.""",
)
def others_use_the_account(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    user, _, here = seen(server.client, "the client").rpartition("@")
    sessions = seen(server.sessions, "the account's sessions")
    own = {here, *_THIS_MACHINE} if here in _THIS_MACHINE else {here}
    others = Counter(session.host for session in sessions if session.user == user and session.host not in own)
    if others:
        limited = _number(server.variable("max_user_connections")) > 0
        hosts = ", ".join(f"{host} ({count})" for host, count in others.most_common(5))
        yield Seen(
            f"{sum(others.values())} of the account's connections come from elsewhere: {hosts}. This one: {here}.",
            severity=Severity.WARNING if limited else None,
        )


@check(
    "HF208",
    group="limits",
    title="Connections of the account are idle for long",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Find the program that keeps them. For an engine that is seldom used, pool_size=1 or NullPool keeps fewer.",
    explanation="""Nobody uses these connections, and they count. A pool keeps what it has opened; a program that hangs,
    a notebook that is open and a forgotten console do, too.""",
)
def idle_for_long(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    user = seen(server.client, "the client").rpartition("@")[0]
    sessions = seen(server.sessions, "the account's sessions")
    idle = [session for session in sessions if session.user == user and session.sleeping]
    old = [session.seconds for session in idle if session.seconds > _LONG_IDLE]
    if old:
        yield f"{counted(len(old), 'connection')} without use for more than an hour, one for {max(old) / 3600:.0f} h."


@check(
    "HF209",
    group="limits",
    title="The account may do only so much in an hour",
    severity=Severity.WARNING,
    needs={"server"},
    cure="ALTER USER … WITH MAX_QUERIES_PER_HOUR 0 (or the other limit), or ask the host for another plan.",
    explanation="""When it is used up, every statement or every new connection fails until the hour is over (error
    1226). Nothing helps then but waiting. Each checkout's ROLLBACK counts as a statement, too.""",
)
def limited_by_the_hour(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    per_hour = seen(server.account, "the account").per_hour
    if per_hour:
        limits = ", ".join(f"{name} {number}" for name, number in per_hour.items())
        without = " ".join(f"{name} 0" for name in per_hour)
        yield Seen(
            f"{server.account_name} has {limits}.",
            cure=f"ALTER USER … WITH {without} takes the limit away; or ask the host for another plan.",
        )


@check(
    "HF210",
    group="limits",
    title="The server was full before",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Raise max_connections, or let the pools of all sites on this server be smaller together.",
    explanation="""Since the server was started, all its connections were in use at some moment, and more were wanted.
    Those programs got error 1040, "Too many connections".""",
)
def was_full(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    allowed, most = _number(server.variable("max_connections")), _number(server.counter("Max_used_connections"))
    refused = _number(server.counter("Connection_errors_max_connections"))  # MariaDB 10.11 does not count them here
    if refused or most > allowed:
        days = _number(server.counter("Uptime")) / 86400
        more = f", and {refused} more {'was' if refused == 1 else 'were'} refused" if refused else ""
        yield f"In the last {days:.1f} days, {most} connections were open at once{more}; max_connections is {allowed}."


@check(
    "HF211",
    group="limits",
    title="There are more threads than connections",
    severity=Severity.WARNING,
    needs={"url"},
    cure="Set pool_size to the number of threads.",
    explanation="""Each thread that works needs a connection. When all are out, a thread waits, and after pool_timeout
    (30 s) it gets "QueuePool limit of size … reached".""",
)
def more_threads(examined: Examined) -> Iterator[str | Seen]:
    threads = given(examined.hosting.threads, "how many threads there are (--threads)")
    pool = seen(examined.pool, "the engine")
    most = seen(pool.most, "how many connections the pool may have")
    if threads > most:
        yield f"A process has {threads} threads, and its pool {most} connections at most (pool_size + max_overflow)."
