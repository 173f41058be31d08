"""Checks of the server: its version, its state, its settings, and the database's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from ...server import middleboxes
from ..asking import NOT_TRANSACTIONAL
from ..check import Seen, check
from ..examined import Examined
from ..facts import counted, seen
from ..finding import Severity
from ..releases import end_of_life
from ..server_facts import ServerFacts

_SMALL_PACKET = 4 * 1024 * 1024
_LONG_LOCK_WAIT = 120
_JUST_NOW = 60
_CLOCK = 5.0
_FAR, _VERY_FAR = 0.020, 0.100
_OLD_ROWS_DAYS = 7
_MANY_ABORTED, _PART_ABORTED = 20, 0.25


def _server(examined: Examined) -> ServerFacts:
    return seen(examined.server, "the server")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@check(
    "HF501",
    group="server",
    title="The server's version gets no corrections any more",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Upgrade to a release with long-term support: MariaDB 11.4 or 11.8, MySQL 8.4 or 9.7.",
    explanation="""The end of this release series is over. Security holes stay open, and new versions of drivers and of
    SQLAlchemy are not tried with it. Distributions sometimes go on correcting the version that they ship.""",
)
def end_of_its_life(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    if any(word in server.version.lower() for kind in middleboxes.KINDS for word in kind.words):
        return  # another product, whose version number is made up
    ended = end_of_life(server.flavour, server.number)
    if ended is not None and ended < date.today():
        yield f"{server.flavour} {'.'.join(map(str, server.number))} was supported until {ended:%d %B %Y}."


@check(
    "HF502",
    group="server",
    title="The largest statement is small",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Set max_allowed_packet to 16M or more on the server.",
    explanation="""A statement that is larger is refused, and the connection is closed: 1153, 2006 or 2013. An INSERT of
    many rows, or an uploaded picture, is larger soon.""",
)
def small_packet(examined: Examined) -> Iterator[str | Seen]:
    size = int(_server(examined).variable("max_allowed_packet"))
    if size < _SMALL_PACKET:
        yield f"max_allowed_packet is {size / 1024:.0f} KiB."


@check(
    "HF503",
    group="server",
    title="A statement waits longer for a lock than a request lasts",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Set innodb_lock_wait_timeout below the web server's time limit, for example to 10 s.",
    explanation="""A statement that waits for a row lock waits for innodb_lock_wait_timeout. When the web server ends
    the request first, the statement and its locks stay behind, and the next request waits for them.""",
)
def long_lock_wait(examined: Examined) -> Iterator[str | Seen]:
    wait, limit = float(_server(examined).variable("innodb_lock_wait_timeout")), examined.hosting.web_timeout
    if limit is not None and wait >= limit:
        yield f"innodb_lock_wait_timeout is {wait:g} s, and a request may last {limit:g} s."
    elif limit is None and wait >= _LONG_LOCK_WAIT:
        yield f"innodb_lock_wait_timeout is {wait:g} s."


@check(
    "HF504",
    group="server",
    title="The server does not take writes",
    severity=Severity.ERROR,
    needs={"server"},
    cure="Use the primary server's address. Where this is the primary: SET GLOBAL read_only=OFF.",
    explanation="""The server is a replica, or was set to read-only. Each write fails with 1290 (or 1792, 1836).
    Administrators can write to it nevertheless, so your own console may not show it.""",
)
def read_only(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    on = [name for name in ("read_only", "super_read_only", "innodb_read_only") if server.is_on(name)]
    modern = (server.session or {}).get("read_only", "").upper() in ("NO_LOCK", "NO_LOCK_NO_ADMIN")  # MariaDB 12
    if on or modern:
        fixed = "innodb_read_only" in on
        off = ", ".join(f"{name}=OFF" for name in reversed(on or ["read_only"]))
        yield Seen(
            f"{' and '.join(on or ['read_only'])} {'are' if len(on) > 1 else 'is'} on.",
            cure="Use the primary server's address. Where this is the primary: "
            + ("start it without innodb_read_only." if fixed else f"SET GLOBAL {off.replace(', ', ', GLOBAL ')}."),
        )


@check(
    "HF505",
    group="server",
    title="Tables have no transactions",
    severity=Severity.WARNING,
    needs={"server"},
    cure="ALTER TABLE … ENGINE=InnoDB for each of them.",
    explanation="""In a table of this storage engine each statement takes effect at once, and rollback() undoes
    nothing. holdfast.run() cannot protect it: a unit of work that is done again writes twice. A crash can damage a
    MyISAM table.""",
)
def no_transactions(examined: Examined) -> Iterator[str | Seen]:
    tables = seen(_server(examined).tables, "the tables")
    found = [
        f"{table.name} ({table.engine})"
        for table in tables
        if table.engine.lower() in NOT_TRANSACTIONAL and table.name.lower() != "holdfast_commits"  # has HF507
    ]
    if found:
        yield f"{len(found)} of {len(tables)} tables: {_listed(found)}."


@check(
    "HF506",
    group="server",
    title="Tables of a cluster have no primary key",
    severity=Severity.WARNING,
    needs={"server"},
    cure="ALTER TABLE … ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY",
    explanation="""A Galera cluster and MySQL's group replication tell rows apart by the primary key. Without one,
    DELETE fails or is slow in Galera, and group replication refuses every write (3098).""",
)
def without_primary_key(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    if not server.clustered:
        return
    names = seen(server.without_key, "the tables without a primary key")
    if names:
        yield f"{counted(len(names), 'table')}: {_listed(names)}."


@check(
    "HF507",
    group="server",
    title="The table holdfast_commits is not as it must be",
    severity=Severity.ERROR,
    needs={"server"},
    cure="Drop it while nothing runs, and make it anew: holdfast commits create URL.",
    explanation="""holdfast.run(verify=True) finds out with this table whether a COMMIT without an answer was done. For
    that it needs a column token, BINARY(16), as primary key, a column created, DATETIME, with an index, and a storage
    engine with transactions.""",
)
def commits_table(examined: Examined) -> Iterator[str | Seen]:
    commits = _server(examined).commits
    if commits is None:
        return
    if not commits.transactional:
        yield Seen(
            f"Its storage engine is {commits.engine}, which has no transactions.",
            cure="ALTER TABLE holdfast_commits ENGINE=InnoDB",
        )
    if not commits.columns:
        return
    missing = [name for name in ("token", "created") if name not in commits.columns]
    if missing:
        yield f"It has no column {' and no column '.join(missing)}."
        return
    if commits.columns["token"] != "binary(16)":
        yield f"Its column token is {commits.columns['token']}, not binary(16)."
    if commits.keys["token"] != "PRI":
        yield "Its column token is not its primary key."
    if not commits.keys["created"]:
        yield Seen(
            "Its column created has no index, so that pruning reads the whole table.",
            severity=Severity.WARNING,
            cure="CREATE INDEX created ON holdfast_commits (created)",
        )


@check(
    "HF508",
    group="server",
    title="The table holdfast_commits is not pruned",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Run holdfast commits prune URL once a day, with cron.",
    explanation="""Each unit of work that is verified leaves a row of 24 bytes. Nobody asks for it after some minutes,
    and nobody deletes it but you.""",
)
def commits_are_old(examined: Examined) -> Iterator[str | Seen]:
    commits = _server(examined).commits
    if commits is not None and commits.oldest_days is not None and commits.oldest_days > _OLD_ROWS_DAYS:
        yield f"Its oldest row is {commits.oldest_days:.0f} days old."


@check(
    "HF509",
    group="server",
    title="A lock timeout undoes the whole transaction",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Nothing needs to be done with holdfast.run(). Your own code must begin again after error 1205, not go on.",
    explanation="""With innodb_rollback_on_timeout, error 1205 undoes everything since the transaction began. Without
    it, only the statement that waited. Code that catches 1205 and goes on then commits the second half alone.""",
)
def rollback_on_timeout(examined: Examined) -> Iterator[str | Seen]:
    if _server(examined).is_on("innodb_rollback_on_timeout"):
        yield "innodb_rollback_on_timeout is on."


@check(
    "HF510",
    group="server",
    title="The server was restarted just now",
    severity=Severity.NOTE,
    needs={"server"},
    cure="If it happens again and again, read the server's error log: it may run out of memory.",
    explanation="""A restart ends every connection; holdfast replaces them. The server's counters begin anew, so other
    checks have little to see.""",
)
def restarted(examined: Examined) -> Iterator[str | Seen]:
    uptime = int(_server(examined).counter("Uptime"))
    if uptime < _JUST_NOW:
        yield f"The server was started {uptime} s ago."


@check(
    "HF511",
    group="server",
    title="The clocks of the site and its server differ",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Let both machines keep their time with NTP (chrony, systemd-timesyncd).",
    explanation="""A time that Python wrote and one that NOW() wrote cannot be compared: something seems to have
    happened before its cause, and a token ends too soon or too late.""",
)
def clocks_differ(examined: Examined) -> Iterator[str | Seen]:
    ahead = seen(_server(examined).clock_ahead, "the server's clock")
    if abs(ahead) > _CLOCK:
        yield f"The server's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's."


@check(
    "HF512",
    group="server",
    title="The server is far away",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Run the site in the same place as its database; load what belongs together with one statement (joinedload).",
    explanation="""Each statement waits for at least one round trip, so a page with 20 statements waits 20 times. From
    100 ms on it is a warning.""",
)
def far_away(examined: Examined) -> Iterator[str | Seen]:
    trip = seen(seen(examined.connect, "the connection").round_trip, "a round trip")
    if trip > _FAR:
        yield Seen(
            f"The quickest answer took {trip * 1000:.0f} ms.", severity=Severity.WARNING if trip > _VERY_FAR else None
        )


@check(
    "HF513",
    group="server",
    title="The cluster's node is not in order",
    severity=Severity.ERROR,
    needs={"server"},
    cure="Look at SHOW STATUS LIKE 'wsrep%' on each node; a node without the others' majority must be joined again.",
    explanation="""A Galera node that has lost the others answers 1047, "WSREP has not yet prepared node for application
    use", to each statement, while new connections still succeed.""",
)
def cluster_node(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    if not server.is_on("wsrep_on") or not server.clustered:
        return
    state, ready = server.counter("wsrep_cluster_status"), server.counter("wsrep_ready")
    if state != "Primary" or ready != "ON":
        yield f"wsrep_cluster_status is {state}, wsrep_ready is {ready}."


@check(
    "HF514",
    group="server",
    title="A crash of the server may lose what was committed",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Set innodb_flush_log_at_trx_commit=1 on the server, unless a lost second does not matter.",
    explanation="""With any other value the server says "committed" before it is on the disk. When the server, or its
    machine, crashes, up to a second of commits is gone. Nothing on the client's side can find that out.""",
)
def not_durable(examined: Examined) -> Iterator[str | Seen]:
    value = _server(examined).variable("innodb_flush_log_at_trx_commit")
    if value in ("0", "2"):
        yield f"innodb_flush_log_at_trx_commit is {value}."


@check(
    "HF515",
    group="server",
    title="Many connections end without a goodbye",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Find out which: killed workers, wait_timeout, a load balancer. Close engines with dispose() at the end.",
    explanation="""Aborted_clients counts connections of all accounts that ended without COM_QUIT: the program was
    killed, the network failed, or wait_timeout was over.""",
)
def aborted(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    ended, made = int(server.counter("Aborted_clients")), int(server.counter("Connections"))
    if ended >= _MANY_ABORTED and ended > made * _PART_ABORTED:
        yield f"{ended} of {made} connections since the server was started."
