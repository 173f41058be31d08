"""Checks of the application: whether its engines are held, how they are pooled, and what else is in its process.

What is left open is in :mod:`.leftovers`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..application.facts import ApplicationFacts, EngineFacts
from ..check import Seen, check
from ..examined import Examined
from ..facts import seen
from ..finding import Severity
from .holding import by_stock_extension, how_to_hold

__all__: list[str] = []


def _facts(examined: Examined) -> ApplicationFacts:
    return seen(examined.application, "the application")


@check(
    "HF701",
    group="application",
    title="The application could not be imported",
    severity=Severity.ERROR,
    needs={"application"},
    cure="Repair what the text names; then run the doctor again.",
    explanation="""
        The doctor imports the application in a process of its own, with the directory in which the command runs first
        on its path, as gunicorn does. It makes no request. When the import fails, only what it has done until then can
        be checked.
    """,
)
def not_imported(examined: Examined) -> Iterator[Seen]:
    """A failure, with the last lines of what was written."""
    failure = _facts(examined).failure
    if failure is not None:
        output = "".join(f"\n    {line}" for line in failure.output)
        yield Seen(f"{failure.happened}{f' It wrote:{output}' if output else ''}", cure=failure.cure)


@check(
    "HF702",
    group="application",
    title="An engine is not held",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Add ?plugin=holdfast to this engine's URL, or make it with sqlalchemy_holdfast.create_engine().",
    explanation="""
        The engine is as SQLAlchemy makes it. A connection that the server has closed is noticed only when a statement
        fails on it, and what a prefork server does to it is your own affair.
    """,
)
def not_held(examined: Examined) -> Iterator[Seen]:
    """Engines for MySQL that holdfast could hold, and for whose being as they are no other check has a reason."""
    facts = _facts(examined)
    for engine in facts.ours:
        loose = not (engine.held or engine.asyncio or engine.switched_off)
        if loose and _rebuilt_from(engine, facts) is None and not by_stock_extension(engine, facts):
            hold = how_to_hold(facts, engine)
            cure = None if "plugin" in hold else f"{hold}."  # else the check's own, which says more
            yield Seen(f"{engine.name} is not held: {engine.why_not.partition(' (')[0]}.", cure=cure)


@check(
    "HF703",
    group="application",
    title="An engine's new URL has lost holdfast",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Name the plugin in the new URL, too, or use the first engine instead of making another one.",
    explanation="""
        A URL that is written down again from its parts (host, user, database), or from an engine that got the plugin
        as an argument, has no ?plugin=holdfast any more. Nothing fails: the second engine is simply not held.
    """,
)
def plugin_lost(examined: Examined) -> Iterator[str]:
    """Engines that are not held and lead to the same account and database as one that is."""
    facts = _facts(examined)
    for engine in facts.ours:
        other = _rebuilt_from(engine, facts)
        if other is not None:
            yield f"{engine.name} is not held; {other.name}, to the same server, is."


def _rebuilt_from(engine: EngineFacts, facts: ApplicationFacts) -> EngineFacts | None:
    if engine.held or engine.switched_off or engine.asyncio:
        return None
    same = (engine.account, engine.database)
    return next((one for one in facts.ours if one.held and (one.account, one.database) == same), None)


@check(
    "HF704",
    group="application",
    title="An asyncio engine is not held",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Set pool_pre_ping=True and a pool_recycle below the server's wait_timeout for it, as without holdfast.",
    explanation="""
        holdfast does not hold the connections of asyncio drivers (asyncmy, aiomysql) yet. Such an engine works exactly
        as without holdfast.
    """,
)
def asyncio_engine(examined: Examined) -> Iterator[str]:
    """Engines with an asyncio driver."""
    for engine in _facts(examined).ours:
        if engine.asyncio:
            yield f"{engine.name} uses the asyncio driver {engine.driver.partition('+')[2]}."


@check(
    "HF705",
    group="application",
    title="holdfast is switched off",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Remove holdfast_enabled=false from the URL or the engine's arguments when you no longer compare.",
    explanation="""
        With holdfast_enabled=false an engine is exactly as SQLAlchemy made it. That is meant for comparing, and is
        easily forgotten.
    """,
)
def switched_off(examined: Examined) -> Iterator[str]:
    """Engines with the plugin and holdfast_enabled=false."""
    for engine in _facts(examined).ours:
        if engine.switched_off and not engine.asyncio:
            yield f"{engine.name} has holdfast_enabled=false."


@check(
    "HF706",
    group="application",
    title="The engines of Flask-SQLAlchemy are not held",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Import SQLAlchemy from sqlalchemy_holdfast.flask, in place of flask_sqlalchemy.",
    explanation="""
        holdfast's class is Flask-SQLAlchemy's own with holdfast on: the rest of your code stays as it is. With the
        other class, only a URI with ?plugin=holdfast is held.
    """,
)
def stock_extension(examined: Examined) -> Iterator[str]:
    """Engines that the extension flask_sqlalchemy has made and that are not held."""
    facts = _facts(examined)
    for engine in facts.ours:
        loose = not (engine.held or engine.switched_off or engine.asyncio)
        if loose and by_stock_extension(engine, facts) and _rebuilt_from(engine, facts) is None:
            yield f"flask_sqlalchemy.SQLAlchemy has made {engine.name}, which is not held."


@check(
    "HF707",
    group="application",
    title="Settings of an older Flask-SQLAlchemy are ignored",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Write them into SQLALCHEMY_ENGINE_OPTIONS, or import SQLAlchemy from sqlalchemy_holdfast.flask.",
    explanation="""
        Flask-SQLAlchemy 3 ignores SQLALCHEMY_POOL_SIZE, SQLALCHEMY_POOL_TIMEOUT, SQLALCHEMY_POOL_RECYCLE and
        SQLALCHEMY_MAX_OVERFLOW without a word: the pool has SQLAlchemy's defaults. holdfast's class uses them.
    """,
)
def old_settings(examined: Examined) -> Iterator[Seen]:
    """Old settings, where the extension is not holdfast's."""
    flask = _facts(examined).flask
    if flask is not None and flask.extension == "flask_sqlalchemy" and flask.old_settings:
        options = ", ".join(f"'{name.removeprefix('SQLALCHEMY_').lower()}': ..." for name in flask.old_settings)
        yield Seen(
            f"The configuration has {', '.join(flask.old_settings)}.",
            cure=f"Import SQLAlchemy from sqlalchemy_holdfast.flask, which uses the old names; or write "
            f"SQLALCHEMY_ENGINE_OPTIONS = {{{options}}}.",
        )


@check(
    "HF708",
    group="application",
    title="The import makes no engine",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Nothing, if the engine is made at the first request. Else name the module that makes it: --app module.",
    explanation="""
        Only engines that exist when the import has ended can be checked; the doctor makes no request and runs no
        start-up code of an ASGI application. With flask holdfast doctor, Flask's application context is there.
    """,
)
def no_engine(examined: Examined) -> Iterator[str]:
    """An application without an engine."""
    facts = _facts(examined)
    if facts.failure is None and not facts.engines:
        yield f"{facts.target} was imported in {facts.seconds:.1f} s and has made no SQLAlchemy engine."


@check(
    "HF709",
    group="application",
    title="Several engines lead to one database",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Make one engine, in one module, and import it wherever it is needed.",
    explanation="""
        Each engine has a pool of its own. Two engines for one database open up to twice as many connections, each of
        them keeps idle ones that the other cannot use, and what is written through one cannot be in a transaction of
        the other.
    """,
)
def several_engines(examined: Examined) -> Iterator[str]:
    """Engines of one account and one database."""
    same: dict[tuple[str, str, str], list[EngineFacts]] = {}
    facts = _facts(examined)
    for engine in facts.ours:
        if _rebuilt_from(engine, facts) is None:  # that one has another check
            same.setdefault((engine.account, engine.database, engine.driver), []).append(engine)
    for engines in same.values():
        if len(engines) > 1:
            most = [engine.pool.most for engine in engines]
            limit = f", up to {sum(one or 0 for one in most)} connections together" if all(most) else ""
            where = " and ".join(str(one.made) for one in engines[:4] if one.made)
            yield f"There are {len(engines)} engines for {engines[0].where}{f' ({where})' if where else ''}{limit}."


@check(
    "HF710",
    group="application",
    title="Every use makes a new connection (NullPool)",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Remove poolclass=NullPool, unless this is a script, a migration, or a process that lives for one task.",
    explanation="""
        NullPool closes the connection at the end of each use. A site then connects for each request: some round trips,
        and a login at the server. Where it was set against lost connections, holdfast makes it unnecessary.
    """,
)
def null_pool(examined: Examined) -> Iterator[str]:
    """Engines without a pool."""
    for engine in _facts(examined).ours:
        if engine.pool.kind == "NullPool":
            yield f"{engine.name} has poolclass=NullPool."


@check(
    "HF711",
    group="application",
    title="pool_pre_ping is not needed",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Remove pool_pre_ping=True: each request then waits for one round trip less.",
    explanation="""
        pool_pre_ping makes a round trip at every checkout. holdfast notices a closed connection without one, and also
        what a ping does not see: a connection that is out of step with its server.
    """,
)
def pre_ping(examined: Examined) -> Iterator[str]:
    """Held engines with pool_pre_ping."""
    for engine in _facts(examined).ours:
        if engine.held and engine.pool.pre_ping:
            yield f"{engine.name} has pool_pre_ping=True and is held."


@check(
    "HF712",
    group="application",
    title="pool_recycle is not needed",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Remove pool_recycle: busy connections are then no longer replaced for nothing.",
    explanation="""
        pool_recycle replaces each connection that is older than so many seconds, whether it was idle or not. holdfast
        notices a connection that the server has closed, whatever its limit is. (Flask-SQLAlchemy sets 7200 by itself;
        that is left alone.)
    """,
)
def recycle(examined: Examined) -> Iterator[str]:
    """Held engines with a pool_recycle that somebody has asked for."""
    for engine in _facts(examined).ours:
        if engine.held and engine.pool.recycle >= 0 and not engine.recycle_by_flask and engine.pool.kind != "NullPool":
            yield f"{engine.name} has pool_recycle={engine.pool.recycle} and is held."


@check(
    "HF713",
    group="application",
    title="Nothing limits the number of connections",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Remove max_overflow=-1, or give a number: requests then wait for a free connection.",
    explanation="""
        With max_overflow=-1 every thread that needs a connection opens one. Under load, or while the server is slow,
        that goes on until the server refuses all: error 1040 or 1226, also for every other application of the account.
    """,
)
def no_limit(examined: Examined) -> Iterator[str]:
    """Pools without a limit."""
    for engine in _facts(examined).ours:
        if engine.pool.max_overflow is not None and engine.pool.max_overflow < 0:
            yield f"{engine.name} has max_overflow={engine.pool.max_overflow}."


@check(
    "HF714",
    group="application",
    title="Every statement and its values are in the log",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Remove echo=True (SQLALCHEMY_ECHO) on a site that others use.",
    explanation="""
        echo=True logs each statement and its values: visitors' addresses, password hashes, whatever is stored. It also
        makes the site slower. It is meant for developing, and is not reported while Flask's debug mode is on.
    """,
)
def echo(examined: Examined) -> Iterator[str]:
    """Engines that echo, outside of debug mode."""
    facts = _facts(examined)
    if facts.flask is not None and facts.flask.debug:
        return
    for engine in facts.ours:
        if engine.echo:
            yield f"{engine.name} has echo on."


@check(
    "HF715",
    group="application",
    title="ORM sessions use an engine in AUTOCOMMIT mode",
    severity=Severity.WARNING,
    needs={"application"},
    cure='Remove isolation_level="AUTOCOMMIT" from this engine; where it is needed, use engine.execution_options().',
    explanation="""
        In AUTOCOMMIT mode the server commits each statement at once. session.rollback() then undoes nothing, and a
        flush that fails halfway leaves half of it in the database.
    """,
)
def autocommit(examined: Examined) -> Iterator[str]:
    """Engines in AUTOCOMMIT mode that sessions use."""
    for engine in _facts(examined).ours:
        if engine.autocommit and engine.orm:
            yield f'{engine.name} has isolation_level="AUTOCOMMIT", and ORM sessions use it.'


@check(
    "HF716",
    group="application",
    title="Another library has wrapped the driver's connect",
    severity=Severity.NOTE,
    needs={"application"},
    cure="Nothing, if you know about it. holdfast works inside of such a wrapper.",
    explanation="""
        Tracing and monitoring (OpenTelemetry, Datadog, New Relic, Elastic) replace the driver's connect() and put a
        wrapper around each connection. holdfast recognises the driver's connection inside of it. It is worth knowing
        when you look for a cause: take the other library out for a test.
    """,
)
def wrapped(examined: Examined) -> Iterator[str]:
    """Engines whose driver's connect is not the driver's own."""
    for engine in _facts(examined).ours:
        if engine.wrapped_by:
            yield f"connect() of the driver of {engine.where} is wrapped by {engine.wrapped_by}."


@check(
    "HF717",
    group="application",
    title="One connection is shared by several users",
    severity=Severity.WARNING,
    needs={"application"},
    cure="Remove the poolclass argument: the default, QueuePool, gives each user a connection of its own.",
    explanation="""
        StaticPool gives the same connection to everybody, also to two threads at once; SingletonThreadPool to
        everybody in a thread. They are made for SQLite in memory. On MySQL two users of one connection end each
        other's transactions. AssertionPool fails at the second user.
    """,
)
def shared_connection(examined: Examined) -> Iterator[str]:
    """Engines with a pool that is not for servers."""
    for engine in _facts(examined).ours:
        if engine.pool.kind in ("StaticPool", "SingletonThreadPool", "AssertionPool"):
            yield f"{engine.name} has poolclass={engine.pool.kind}."
