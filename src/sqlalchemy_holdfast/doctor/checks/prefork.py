"""Checks of what forks: the engine, the web server's processes, and threads."""

from __future__ import annotations

from collections.abc import Iterator

from ..application.facts import ApplicationFacts, ForkHook, OpenConnection, Option, Place, WebServer
from ..check import Seen, check
from ..examined import Examined
from ..facts import seen
from ..finding import Severity
from .holding import how_to_hold

__all__: list[str] = []

_AT_FORK = "os.register_at_fork"
_UWSGI_RUNS_HOOKS = ("py-call-uwsgi-fork-hooks", "py-call-osafterfork")


def _facts(examined: Examined) -> ApplicationFacts:
    return seen(examined.application, "the application")


@check(
    "HF301",
    group="prefork",
    title="A connection is open when the workers are forked",
    severity=Severity.ERROR,
    needs={"application"},
    cure="Add ?plugin=holdfast to this engine's URL: each worker then gets connections of its own.",
    explanation="""
        uWSGI (without lazy-apps), gunicorn --preload and Celery import the application once and then fork the workers.
        A connection that was opened during the import is then in every worker. The workers send on one socket and read
        each other's answers: some requests fail, and some show another visitor's data. pool_recycle and pool_pre_ping
        do not help. A hook that calls engine.dispose(close=False) in each worker does. It is a warning where no
        settings of a web server were found that say whether it forks.
    """,
)
def opened_before_fork(examined: Examined) -> Iterator[str | Seen]:
    """Engines without holdfast that have a connection when the import ends."""
    facts = _facts(examined)
    if _never_forks(facts) or any(_runs(hook, facts) for hook in facts.fork_hooks):
        return
    for engine in facts.ours:
        if engine.open and not engine.held:
            what = f"{engine.name} has {_connections(engine.open)} when the import ends, opened {_places(engine.open)}."
            cure = f"{how_to_hold(facts, engine)}: each worker then gets connections of its own."
            if engine.asyncio:
                cure = "Connect in each worker, not during the import; or end it with: await engine.dispose()"
            if facts.preforked is not None:
                yield Seen(f"{what} {facts.preforked.because} forks its workers after that.", cure=cure)
            else:
                yield Seen(f"{what} No settings of a web server were found here.", Severity.WARNING, cure)


def _never_forks(facts: ApplicationFacts) -> bool:
    """Say whether there are web servers' settings, and none of them forks after the import."""
    return bool(facts.web_servers) and facts.preforked is None


def _runs(hook: ForkHook, facts: ApplicationFacts) -> bool:
    """Say whether the web server runs a hook, or may do so."""
    server = facts.preforked
    if server is None:
        return True
    if hook.kind == _AT_FORK:
        return server.kind != "uwsgi" or server.is_on(*_UWSGI_RUNS_HOOKS) is not None
    return server.kind in hook.kind.lower()


@check(
    "HF302",
    group="prefork",
    title="A hook in the workers ends the parent's connections",
    severity=Severity.ERROR,
    needs={"application"},
    cure="Write engine.dispose(close=False) in the hook, or hold the engine with ?plugin=holdfast and remove the hook.",
    explanation="""
        engine.dispose() in a new worker closes the connections that the worker has inherited. Closing sends a farewell
        to the server, on the socket that the parent still uses: the parent's sessions end, and so do those of the
        other workers. dispose(close=False) lets them go without a word. It is a warning where the import opens no
        connection: the hook then does harm on the day when it does.
    """,
)
def hook_closes(examined: Examined) -> Iterator[str | Seen]:
    """Hooks that dispose() of engines that are not held, without close=False."""
    facts = _facts(examined)
    loose = [engine for engine in facts.ours if not engine.held and not engine.asyncio]
    for hook in facts.fork_hooks if loose and not _never_forks(facts) else ():
        if hook.closes and _runs(hook, facts):
            what = f"{hook.kind} runs a function that calls dispose() without close=False ({hook.place})"
            hold = how_to_hold(facts, loose[0])
            cure = f"Write engine.dispose(close=False) in the hook. Or: {hold}, and remove the hook."
            opened = [engine for engine in loose if engine.open]
            if opened:
                yield Seen(f"{what}, and {opened[0].name} has {_connections(opened[0].open)} then.", cure=cure)
            else:
                yield Seen(f"{what}. The import opens no connection at present.", Severity.WARNING, cure)


@check(
    "HF303",
    group="prefork",
    title="A hook in the workers is not needed",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Remove the hook when you like. It does no harm.",
    explanation="""
        holdfast notices the fork by itself, leaves the parent's connections alone, and gives the worker a new pool. A
        hook that calls engine.dispose() does the same again.
    """,
)
def hook_not_needed(examined: Examined) -> Iterator[str]:
    """Hooks, where every engine is held."""
    facts = _facts(examined)
    if facts.ours and all(engine.held for engine in facts.ours):
        for hook in facts.fork_hooks:
            yield f"{hook.kind} runs a function that calls dispose() ({hook.place}), and every engine is held."


@check(
    "HF304",
    group="prefork",
    title="A transaction is open when the workers are forked",
    severity=Severity.WARNING,
    needs={"application"},
    cure="End it during the import: with Session(engine) as session: ..., or session.close() / db.session.remove().",
    explanation="""
        A session that is open at the fork is in every worker, but its transaction belongs to the parent. holdfast
        gives the worker a connection of its own, so reading goes on; but what the parent has written before the fork
        can be committed by the parent alone, and commit() in a worker then raises an error.
    """,
)
def open_at_fork(examined: Examined) -> Iterator[str]:
    """Held engines with a connection that is checked out when the import ends, before a fork."""
    facts = _facts(examined)
    server = facts.preforked
    for engine in facts.ours if server is not None else ():
        for connection in engine.open:
            if connection.out and engine.held and server is not None:
                who = "an ORM session" if connection.session else "a connection"
                yield f"{who} of {engine.name} is still open{_at(connection.taken)}. {server.because} forks after that."


@check(
    "HF305",
    group="prefork",
    title="A thread started at import is not in the workers",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Start it in each worker: gunicorn's post_fork, uWSGI's @postfork, Celery's worker_process_init.",
    explanation="""
        A fork copies the one thread that calls it, and no other. A thread that the import has started (a scheduler, a
        sender of metrics) runs in the parent only, and does nothing in any worker. A lock that it held at that moment
        stays taken in the workers for ever.
    """,
)
def threads_before_fork(examined: Examined) -> Iterator[str]:
    """Threads that run when the import ends, before a fork."""
    facts = _facts(examined)
    if facts.preforked is not None:
        for thread in facts.threads:
            yield f"The thread {thread.name!r} is started{_at(thread.started)}. {facts.preforked.because} forks later."


@check(
    "HF306",
    group="prefork",
    title="uWSGI does not let the application's threads run",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Add enable-threads = true to uWSGI's settings.",
    explanation="""
        Without enable-threads (or threads = N) uWSGI does not start Python's thread support: threads that the
        application starts itself run only while a request is being served, or never. holdfast itself needs no thread.
    """,
)
def uwsgi_without_threads(examined: Examined) -> Iterator[str]:
    """Threads, where uWSGI's settings enable none."""
    facts = _facts(examined)
    for server in facts.web_servers:
        if server.kind == "uwsgi" and server.options and facts.threads and not _lets_threads_run(server):
            thread = facts.threads[0]
            yield (
                f"{server.place.file} has neither enable-threads nor threads, and the application starts the thread "
                f"{thread.name!r}{_at(thread.started)}."
            )


def _lets_threads_run(server: WebServer) -> bool:
    return server.is_on("enable-threads", "threads", "gevent") is not None


@check(
    "HF307",
    group="prefork",
    title="The driver stops all greenlets while it waits",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Use mysql+pymysql:// with gevent or eventlet, or ordinary worker threads with this driver.",
    explanation="""
        gevent and eventlet run many requests in one thread, and switch where Python code waits. A driver that waits in
        C code does not let them switch: while one request waits for the database, every other request of the process
        waits, too. Two requests that wait for each other's row lock then stand still until the server's lock timeout.
    """,
)
def greenlets_wait(examined: Examined) -> Iterator[str]:
    """Drivers that wait in C, in a patched process or under a worker class of greenlets."""
    facts = _facts(examined)
    because = f"{facts.greenlets} has patched Python" if facts.greenlets else ""
    if not because:
        option = next(filter(None, map(_greenlet_option, facts.web_servers)), None)
        because = f"{option.name} = {option.value} ({option.place})" if option is not None else ""
    for engine in facts.ours if because else ():
        if engine.blocks_greenlets:
            yield f"{engine.name} uses the driver {engine.driver.partition('+')[2]}, and {because}."


def _greenlet_option(server: WebServer) -> Option | None:
    option = server.is_on("worker_class", "gevent", "pool")
    if option is not None and (option.name == "gevent" or option.value in ("gevent", "eventlet")):
        return option
    return None


@check(
    "HF308",
    group="prefork",
    title="uWSGI does not run the hook of os.register_at_fork",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Use uwsgidecorators.postfork instead, or set py-call-uwsgi-fork-hooks = true; or hold the engine.",
    explanation="""
        uWSGI forks in C and does not tell Python. A function that was given to os.register_at_fork() is not called in
        its workers unless py-call-uwsgi-fork-hooks is set. A hook that should give each worker new connections then
        does nothing. holdfast does not depend on it.
    """,
)
def hook_is_not_run(examined: Examined) -> Iterator[str]:
    """Hooks of os.register_at_fork under uWSGI, for engines that are not held."""
    facts = _facts(examined)
    server = facts.preforked
    if server is not None and any(not engine.held for engine in facts.ours):
        for hook in facts.fork_hooks:
            if hook.kind == _AT_FORK and not _runs(hook, facts):
                yield f"The engine's dispose() is registered with {_AT_FORK} ({hook.place}). {server.because} skips it."


def _connections(found: tuple[OpenConnection, ...]) -> str:
    return f"{len(found)} open connection{'s' * (len(found) != 1)}"


def _places(found: tuple[OpenConnection, ...]) -> str:
    places = dict.fromkeys(str(one.opened) for one in found if one.opened is not None)
    return f"at {' and '.join(list(places)[:3])}" if places else "during the import"


def _at(place: Place | None) -> str:
    return f" at {place}" if place is not None else ""
