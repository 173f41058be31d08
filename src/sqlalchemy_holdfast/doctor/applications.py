"""The examination of a whole application: what it does, and each database that it uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from .application.facts import ApplicationFacts
from .application.running import engines_here, look_at
from .application.watching import SECONDS, watch
from .examination import choose, examine
from .facts import Hosting
from .report import Report

__all__ = ["NoApplication", "NoDatabase", "examine_application", "examine_running"]

_OF_APPLICATION = frozenset({"prefork", "application"})
_OURS = ("mysql", "mariadb")


class NoApplication(ValueError):
    """Raised when a name leads to no application. Its text says why, and how it is written."""


class NoDatabase(ValueError):
    """Raised when an application has engines, and none of them is for MySQL or MariaDB. Its text says what they are
    for."""


def examine_application(
    target: str,
    *,
    seconds: float = SECONDS,
    hosting: Hosting | None = None,
    only: Collection[str] = (),
    ignore: Collection[str] = (),
) -> tuple[Report, ...]:
    """Import an application in a process of its own, and examine it and each MySQL or MariaDB database that it uses.

    The application runs no further than its import; each database is asked once, by this process, and only read.

    :param target: ``module:app``, ``module:create_app()``, ``module``, or a file's name with or without ``:app``.
    :param seconds: how long the import may take.
    :param hosting: how the site runs, as its owner says.
    :param only: ids or groups of the checks that shall run; empty for all.
    :param ignore: ids or groups of the checks that shall not run.
    :return: a report for the application and its first database, and one for each other database.
    :raises NoApplication: when there is no such application.
    :raises NoDatabase: when none of its engines leads to MySQL or MariaDB.
    :raises ValueError: for an id or a group that does not exist.
    """
    choose(only, ignore)
    watched = watch(target, seconds=seconds)
    failure = watched.facts.failure
    if failure is not None and failure.not_there:
        raise NoApplication(f"{failure.happened} {failure.cure}")
    engines = watched.engines()
    try:
        return _reports(engines, watched.facts, hosting, only, ignore)
    finally:
        for engine in engines:
            engine.dispose()


def examine_running(
    name: str,
    application: Any = None,
    *,
    flask_engines: Collection[Engine] = (),
    hosting: Hosting | None = None,
    only: Collection[str] = (),
    ignore: Collection[str] = (),
) -> tuple[Report, ...]:
    """Examine the application of this process, before its first request, and its databases through its own engines.

    :param name: what it is called in the report.
    :param application: the WSGI or ASGI application.
    :param flask_engines: the engines that Flask-SQLAlchemy has made, for all binds.
    :param hosting: as the other arguments, for :func:`examine_application`.
    :return: as :func:`examine_application` does.
    :raises NoDatabase: when none of its engines leads to MySQL or MariaDB.
    :raises ValueError: for an id or a group that does not exist.
    """
    choose(only, ignore)
    facts = look_at(name, application, frozenset(map(id, flask_engines)))
    known: dict[tuple[object, ...], Engine] = {}
    for engine in sorted(engines_here(), key=lambda one: not any(one is theirs for theirs in flask_engines)):
        if engine.dialect.name in _OURS and not engine.dialect.is_async:
            url = engine.url
            known.setdefault((url.username, url.host, url.port, url.database), engine)
    return _reports(tuple(known.values()), facts, hosting, only, ignore)


def _reports(
    engines: Sequence[Engine],
    facts: ApplicationFacts,
    hosting: Hosting | None,
    only: Collection[str],
    ignore: Collection[str],
) -> tuple[Report, ...]:
    if facts.engines and not facts.ours and facts.failure is None:
        others = ", ".join(dict.fromkeys(engine.driver.partition("+")[0] for engine in facts.engines))
        raise NoDatabase(
            f"No engine leads to MySQL or MariaDB, which are what the doctor examines: {facts.target} uses {others}. "
            "If your site uses MySQL, its settings are not in force here: is $DATABASE_URL (or your own variable) set?"
        )
    first = examine(engines[0] if engines else None, application=facts, hosting=hosting, only=only, ignore=ignore)
    where = f"{facts.target}, {first.where}" if engines else facts.target
    ignore = {*ignore, *_OF_APPLICATION}  # what is said of the application is said once
    rest = engines[1:] if choose(only, ignore) else ()
    return (
        replace(first, where=where),
        *(examine(engine, application=facts, hosting=hosting, only=only, ignore=ignore) for engine in rest),
    )
