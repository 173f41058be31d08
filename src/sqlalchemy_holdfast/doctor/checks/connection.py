"""Checks of the URL, of connecting, and of the account."""

from __future__ import annotations

from collections.abc import Iterator

from ..check import Seen, check
from ..examined import Examined
from ..facts import ConnectProblem, seen
from ..finding import Severity

_SLOW_CONNECT = 1.0
_FOR_THEMSELVES = ("away", "full")
"""Failures of the server's, which no mistake in the URL brings about."""
_ADMINISTRATOR = (
    "ALL PRIVILEGES",
    "SUPER",
    "CONNECTION ADMIN",
    "CONNECTION_ADMIN",
    "READ_ONLY ADMIN",
    "READ ONLY ADMIN",
)


@check(
    "HF101",
    group="connect",
    title="The database URL has a mistake",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Correct the URL; holdfast url builds one, and takes the password as it is.",
    explanation="""A part of the URL cannot be what was meant: a password whose special characters were not escaped, a
    placeholder that is still there, an option that belongs to another program. Such a URL is refused when the engine
    is made, or it leads to another server or database than you think.""",
)
def url_is_wrong(examined: Examined) -> Iterator[str | Seen]:
    for finding in examined.url_findings:
        if finding.wrong:
            yield finding.text


@check(
    "HF102",
    group="connect",
    title="The database URL could be better",
    severity=Severity.NOTE,
    needs={"url"},
    cure="Change the URL as the evidence says.",
    explanation="""The URL works, and may not do what you think. The most important case: an engine that SQLAlchemy's
    own create_engine makes is held only with plugin=holdfast in its URL. A Flask site that imports SQLAlchemy from
    sqlalchemy_holdfast.flask does not need that.""",
)
def url_could_be_better(examined: Examined) -> Iterator[str | Seen]:
    for finding in examined.url_findings:
        if not finding.wrong:
            yield finding.text
    url, pool = examined.url, examined.pool
    if examined.application is not None or url is None or pool is None:
        return  # where the application is known, other checks say of each engine whether it is held, and why not
    if not pool.held and "plugin" not in url.query and examined.settings.enabled:
        yield Seen(
            "plugin=holdfast is not in the URL. A site that imports SQLAlchemy from sqlalchemy_holdfast.flask, or "
            "makes its engine with sqlalchemy_holdfast.create_engine(), does not need it: its connections are held.",
            cure="For any other engine, add ?plugin=holdfast, or &plugin=holdfast behind another setting.",
        )


def _problem(examined: Examined, kind: str) -> Iterator[str | Seen]:
    problem = examined.problem
    if problem is None or problem.kind != kind:
        return
    if kind not in _FOR_THEMSELVES and any(finding.wrong for finding in examined.url_findings):
        return  # it may be a consequence of the URL's mistake, which HF101 tells
    hint = " ".join(" ".join(problem.hints).split()).partition(": ")[2]
    yield Seen("\n".join(filter(None, (problem.text, hint[:1].upper() + hint[1:]))), cure=_cure_of(problem))


def _cure_of(problem: ConnectProblem) -> str | None:
    """What to do about a failure for which its check's own cure does not fit."""
    words = problem.text.lower()
    if problem.number == 1226 and "max_user_connections" not in words:
        return "Wait until the hour is over; ALTER USER … WITH MAX_CONNECTIONS_PER_HOUR 0 lifts such a limit."
    if problem.kind == "tls" and "certificate" not in words:
        return "Write holdfast_tls=required where the server wants TLS, and holdfast_tls=off where it has none."
    if problem.kind == "password":
        return "Put the password where the setting says that it is, or correct that setting in the URL."
    if problem.kind == "missing":
        return "Install it in the Python that runs the site: pip install, and the package's name."
    return None


@check(
    "HF103",
    group="connect",
    title="The host name is not known",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Check the spelling of the host name. Does the password have an @ that is not escaped?",
    explanation="""No address was found for the URL's host name, so there is nothing to connect to. In a container, the
    name is that of the database's service, never localhost.""",
)
def host_is_unknown(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "host")


@check(
    "HF104",
    group="connect",
    title="No server answers there",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Check that the server runs, and that host, port and firewall are right.",
    explanation="""The host has an address, but no database server answered there. The server is not running, listens
    on another port or only on another address, or a firewall is in between.""",
)
def nothing_answers(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "away")


@check(
    "HF105",
    group="connect",
    title="The server refused the account",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Check the password, from which host the account may come, and whether it needs TLS.",
    explanation="""The server answered, and did not let the account in. There are three usual causes: the password is
    another one; the account exists only for another host ('me'@'localhost' is not 'me'@'%'); or the account, or the
    way its password is checked, needs TLS.""",
)
def account_is_refused(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "account")


@check(
    "HF106",
    group="connect",
    title="The database is not there, or not for this account",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Check the database's name, and that the account has rights in it: SHOW DATABASES lists those it has.",
    explanation="""The account was let in, but the URL's database does not exist, or the account has no right in it.
    Some hosts put the user name in front of it: username$name.""",
)
def database_is_missing(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "database")


@check(
    "HF107",
    group="connect",
    title="There is no connection left",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Close what else uses the account, or let fewer processes and a smaller pool use it.",
    explanation="""The server, or the account, has as many connections as it may have. With holdfast, the processes of
    one machine share what there is; a console, a cron job and another machine do not take part in that.""",
)
def no_connection_left(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "full")


@check(
    "HF108",
    group="connect",
    title="The encrypted connection failed",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Give the certificate of the authority that signed the server's: holdfast_tls_ca=<path> in the URL.",
    explanation="""Client and server could not agree on encryption. The server's certificate is signed by an authority
    that the client does not know, is for another name, or has ended; or one side wants TLS and the other has none.""",
)
def tls_failed(examined: Examined) -> Iterator[str | Seen]:
    yield from _problem(examined, "tls")


@check(
    "HF109",
    group="connect",
    title="Connecting failed",
    severity=Severity.ERROR,
    needs={"url"},
    cure="Change what these words name; then try the URL again with holdfast url --check --connect.",
    explanation="""The connection failed for a reason that has no check of its own. The driver's words say what it
    is.""",
)
def connecting_failed(examined: Examined) -> Iterator[str | Seen]:
    for kind in ("", "password", "missing"):
        yield from _problem(examined, kind)


@check(
    "HF114",
    group="connect",
    title="Connecting takes long",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Use a server that is near, keep connections in the pool, and look at how long the name takes to be found.",
    explanation="""Each new connection takes this long, and the first request on it waits. Connecting needs several
    round trips, with TLS some more. A slow name server adds its own time; so does a server that looks up the client's
    name (skip_name_resolve stops that).""",
)
def connecting_is_slow(examined: Examined) -> Iterator[str | Seen]:
    connect = seen(examined.connect, "the connection")
    took = seen(connect.seconds, "how long connecting takes: the pool had a connection")
    if took < _SLOW_CONNECT:
        return
    trips = f"; a round trip takes {connect.round_trip * 1000:.0f} ms" if connect.round_trip is not None else ""
    dns = f"; the host name took {connect.dns_seconds * 1000:.0f} ms" if connect.dns_seconds is not None else ""
    yield f"Connecting took {took:.1f} s{trips}{dns}."


@check(
    "HF115",
    group="connect",
    title="The host name leads to several addresses",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Use an address, or a name with one address, when all connections shall reach the same server.",
    explanation="""Each new connection may go to another of these addresses. When they are different servers, two
    connections do not see the same data at the same moment. When the first address is IPv6 and the server listens on
    IPv4 alone, each new connection tries the wrong one first.""",
)
def several_addresses(examined: Examined) -> Iterator[str | Seen]:
    connect = seen(examined.connect, "the connection")
    addresses = connect.addresses
    if len(addresses) < 2:
        return
    families = [":" in address for address in addresses]
    if max(families.count(True), families.count(False)) > 1:
        yield f"The host has {len(addresses)} addresses: {', '.join(addresses[:6])}."
    elif connect.peer in addresses and connect.peer != addresses[0]:
        yield (
            f"The host's first address, {addresses[0]}, does not answer; the connection goes to {connect.peer}, which "
            "is tried after it."
        )


@check(
    "HF116",
    group="connect",
    title="The account's password is checked in an old way",
    severity=Severity.WARNING,
    needs={"server"},
    cure="ALTER USER … IDENTIFIED WITH caching_sha2_password BY '<password>', before the server is upgraded.",
    explanation="""MySQL 8.4 has mysql_native_password switched off unless it is told otherwise, and MySQL 9 does not
    have it any more: after an upgrade the account cannot log in. MariaDB keeps it; only mysql_old_password, which is
    not safe, is reported there.""",
)
def old_authentication(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    plugin = seen(seen(server.account, "the account").plugin, "how the account's password is checked")
    old = ("mysql_old_password",) if server.flavour == "MariaDB" else ("mysql_old_password", "mysql_native_password")
    if plugin in old:
        mariadb = "ALTER USER … IDENTIFIED VIA mysql_native_password USING PASSWORD('<password>')."
        yield Seen(
            f"{server.account_name} logs in with {plugin}, on {server.flavour} {server.version}.",
            cure=mariadb if server.flavour == "MariaDB" else None,
        )


@check(
    "HF118",
    group="connect",
    title="The account's password ends by itself",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Plan the change of the password, or ALTER USER … PASSWORD EXPIRE NEVER.",
    explanation="""After so many days without a change of the password, the server lets the account in no more, or
    lets it do nothing but change its password (errors 1820 and 1862). A site then stops from one minute to the
    next.""",
)
def password_expires(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    days = seen(server.account, "the account").expires_days
    if days:
        yield f"The password of {server.account_name} ends {days} days after its last change."


@check(
    "HF119",
    group="connect",
    title="The site uses an administrator's account",
    severity=Severity.WARNING,
    needs={"server"},
    cure="CREATE USER for the site, GRANT it what it needs in its own database, and use that account in the URL.",
    explanation="""An account with these rights takes the place that the server keeps for its administrator when it
    has no connection left. It also writes to a server that is set to read_only, such as a replica. And who gets into
    the site gets into every database.""",
)
def administrators_account(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    rights = seen(seen(server.account, "the account").rights, "the account's rights")
    found = [right for right in rights if right in _ADMINISTRATOR]
    if found:
        yield f"{server.account_name} has {', '.join(found)} on all databases."


@check(
    "HF120",
    group="connect",
    title="The server has chosen another account",
    severity=Severity.WARNING,
    needs={"server"},
    cure="DROP the anonymous account, or give the site's account the same host as the one that was chosen.",
    explanation="""The server chooses the account whose host fits best, and an anonymous account ('') for a host wins
    over a named one for '%'. The site then has that account's rights and limits, not its own.""",
)
def another_account(examined: Examined) -> Iterator[str | Seen]:
    server = seen(examined.server, "the server")
    account, client = seen(server.account_name, "the account"), seen(server.client, "the client")
    if account.rpartition("@")[0] != client.rpartition("@")[0]:
        user, _, host = account.rpartition("@")
        yield f"It logged in as {client}, and the server takes it for '{user}'@'{host}'."
