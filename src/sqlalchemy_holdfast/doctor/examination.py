"""The examination: gathers once, then lets each check look."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import URL, Engine

from .application.facts import ApplicationFacts
from .check import GROUPS, Check
from .checks import CHECKS
from .connecting import gather
from .examined import Examined
from .facts import Hosting, NotGiven, NotSeen
from .finding import Finding, Severity
from .report import Report, Skipped

__all__ = ["choose", "examine", "look"]

_MISSING = {
    "url": "there is no URL or engine",
    "server": "there is no connection to a server",
    "application": "no application was given (--app)",
}


def examine(
    target: str | URL | Engine | None,
    *,
    application: ApplicationFacts | None = None,
    hosting: Hosting | None = None,
    only: Collection[str] = (),
    ignore: Collection[str] = (),
) -> Report:
    """Examine a database, what connects to it, and an application.

    Read-only: at most 25 statements and two seconds after connecting, in one connection, which is closed or goes back
    to the engine's pool.

    :param target: the database URL, or an engine; ``None`` to look at an application alone.
    :param application: what was seen of an application.
    :param hosting: how the site runs, as its owner says.
    :param only: ids or groups of the checks that shall run; empty for all.
    :param ignore: ids or groups of the checks that shall not run.
    :raises ValueError: for an id or a group that does not exist.
    """
    chosen = choose(only, ignore)
    examined, where = gather(target, application=application, hosting=hosting or Hosting())
    return look(examined, chosen, where)


def choose(only: Collection[str] = (), ignore: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks that shall run, ordered by id. Capital and small letters are the same in their names.

    :raises ValueError: for an id or a group that does not exist.
    """
    wanted, unwanted = _known(only), _known(ignore)
    return tuple(
        check
        for check in CHECKS
        if (not only or {check.id, check.group} & wanted) and not {check.id, check.group} & unwanted
    )


def _known(names: Collection[str]) -> set[str]:
    known = {name.lower(): name for check in CHECKS for name in (check.id, check.group)} | {one: one for one in GROUPS}
    for name in names:
        if name.lower() not in known:
            raise ValueError(f"there is no check or group called {name}; the groups are {', '.join(GROUPS)}")
    return {known[name.lower()] for name in names}


def look(examined: Examined, checks: Collection[Check], where: str = "") -> Report:
    """Let checks look at what was gathered. One that fails is reported as skipped and never ends the examination."""
    findings: list[Finding] = []
    run: list[Check] = []
    skipped: list[Skipped] = []
    for check in checks:
        missing = [need for need in sorted(check.needs) if not examined.has(need)]
        if missing:
            skipped.append(Skipped(check, _MISSING[missing[0]], not_given=missing == ["application"]))
            continue
        try:
            findings += check.findings(examined)
        except NotGiven as error:
            skipped.append(Skipped(check, f"not known: {error}", not_given=True))
        except NotSeen as error:
            skipped.append(Skipped(check, f"not seen: {error}"))
        except Exception as error:  # whatever is wrong with one check, the others shall run; its text may hold anything
            skipped.append(Skipped(check, f"it could not run ({type(error).__name__})"))
        else:
            run.append(check)
    server, connect = examined.server, examined.connect
    order = list(Severity)
    return Report(
        where=where,
        server=f"{server.flavour} {server.version}" if server is not None else "",
        findings=tuple(sorted(findings, key=lambda finding: (order.index(finding.severity), finding.id))),
        checks=tuple(run),
        skipped=tuple(skipped),
        unseen=server.unseen if server is not None else (),
        statements=server.statements if server is not None else 0,
        connect_seconds=connect.seconds if connect is not None else None,
        seconds=server.seconds if server is not None else 0.0,
    )
