"""What stands between a process and its server, and whether a statement may be sent ahead of an answer through it.

MySQL's and MariaDB's own servers read one command after the other from the stream, so a statement that is sent behind
an unanswered ROLLBACK is run in its turn. A relay that passes bytes on (HAProxy, an SSH tunnel, a container's port, a
network address translation, Cloud SQL's Auth Proxy) changes nothing about that. Something that speaks the protocol
itself may: MySQL Router 9.7 stops passing anything on, or answers 1047 "Unknown command 55", in the middle of work.

Such a middlebox shows itself in what an engine's first connection is told anyway, in the greeting and in the answer to
the one question of :func:`sqlalchemy_holdfast.server.limits.learn`:

* its name is in the greeting's version text, or in ``@@version_comment``;
* the greeting's thread id is 0, or not ``CONNECTION_ID()``: one that answers logins by itself does not know the number
  that the server's session will have;
* the greeting's version is not ``@@version``;
* the server's session has a connection attribute of the middlebox's.

The last is how MySQL Router shows itself where it passes the server's greeting on (``client_ssl_mode=PASSTHROUGH``): it
adds ``_client_ip`` and ``_client_port``. Where such a connection uses TLS it cannot look inside, passes bytes on like
any relay, and adds nothing. A MySQL without its performance schema cannot say which attributes there are; there, and
only there, a port other than the one that was connected to is taken for a middlebox's. Else ``@@port`` and
``@@hostname`` say nothing: containers and relays change them, too. (MariaDB has its performance schema off as a rule,
and MySQL Router is not made for it.)

Also here: servers that are not MySQL or MariaDB and speak their protocol with code of their own, where sending ahead
was not tried. It is worth one wait for a unit of work that follows directly on another.

What cannot be told: a middlebox that passes the server's greeting on and leaves no trace in the session; one whose own
numbers happen to be the server's on an engine's first connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["KINDS", "Greeting", "Kind", "Seen", "recognise"]


@dataclass(frozen=True)
class Kind:
    """One kind of middlebox, or of server that is not MySQL or MariaDB."""

    name: str
    words: tuple[str, ...]
    """One of these is part of the greeting's version text or of ``@@version_comment``, case ignored."""
    source: str
    """Where that is written, or how it was seen."""
    host: str = ""
    """A pattern that the whole of the URL's host name matches, for what announces nothing of its own."""


KINDS: tuple[Kind, ...] = (
    Kind(
        "MySQL Router",
        ("-router",),
        "Seen, 9.7.4: greeting '9.7.4-router' with thread id 0, unless client_ssl_mode=PASSTHROUGH.",
    ),
    Kind(
        "ProxySQL",
        ("proxysql",),
        "Source, lib/MySQL_Protocol.cpp (2.7): greets with its variable mysql-server_version ('8.0.11' unless set) and "
        "a thread id counted by itself, and passes this question on: told by its ids and its version. "
        "lib/MySQL_Session.cpp: 'Unexpected packet from client ... Disconnecting it'. Not run here.",
    ),
    Kind(
        "MaxScale",
        ("maxscale",),
        "Source, mariadb_client.cc (24.02): the thread id of its greeting is its own session's; the version is the "
        "lowest of its servers', or '5.5.5-10.4.32 ...-maxscale': told by its ids. Not run here.",
    ),
    Kind(
        "RDS Proxy",
        (),
        "docs.aws.amazon.com, 'RDS Proxy concepts': it understands the protocol and shares server connections, so its "
        "ids are its own; its endpoints are NAME.proxy-ID.REGION.rds.amazonaws.com ('Connecting through RDS Proxy'). "
        "Aurora's own endpoints, which lead to a server, have 'cluster-' there. Not run here.",
        host=r".+\.proxy-[^.]+\.[^.]+\.rds\.amazonaws\.com(\.cn)?",
    ),
    Kind(
        "Vitess",
        ("vitess",),
        "Source, go/vt/servenv/mysql.go: '8.0.30-Vitess', unless --mysql_server_version is set. Not run here.",
    ),
    Kind("PlanetScale", ("planetscale",), "Its greeting, as clients show it: '8.0.23-PlanetScale'. Not run here."),
    Kind(
        "ShardingSphere-Proxy",
        ("shardingsphere",),
        "shardingsphere.apache.org, 'proxy-mysql-default-version': '5.7.22-ShardingSphere-Proxy ...'. Not run here.",
    ),
    Kind("TiDB", ("tidb",), "docs.pingcap.com, 'server-version': '8.0.11-TiDB-v7.5.1'. Not run here."),
    Kind(
        "OceanBase", ("oceanbase",), "Its greeting, as clients show it: '5.7.25-OceanBase_CE-v4.3.5.4'. Not run here."
    ),
    Kind(
        "SingleStore",
        ("singlestore", "memsql"),
        "Its version is a plain '5.7.32'; @@version_comment is 'SingleStoreDB source distribution ...'. Not run here.",
    ),
)
"""The table. Azure's and Google's gateways have no name of their own in a greeting; they are told by their ids."""


@dataclass(frozen=True)
class Greeting:
    """What a server, or a middlebox, says before a client has said anything."""

    version: str
    """The version text."""
    thread_id: int
    """The connection's number."""


@dataclass(frozen=True)
class Seen:
    """What is known of one connection."""

    greeting: Greeting | None = None
    """``None`` where the driver does not tell."""
    host: str | None = None
    """The host name of the URL."""
    connected_port: int | None = None
    """The port that the connection was made to; ``None`` for a unix socket."""
    version: str = ""
    """``@@version``; empty where nobody answered the question, and then the rest is unknown, too."""
    comment: str = ""
    """``@@version_comment``."""
    connection_id: int = 0
    """``CONNECTION_ID()``."""
    port: int = 0
    """``@@port``."""
    attributes: int | None = None
    """How many connection attributes of a middlebox's the session has; ``None`` where the server does not know."""


def recognise(seen: Seen) -> str:
    """Say what stands in between, in words for a log line; an empty text where nothing does that could be told."""
    greeting = seen.greeting
    told = f"{greeting.version if greeting is not None else ''}\n{seen.version}\n{seen.comment}".lower()
    for kind in KINDS:
        if any(word in told for word in kind.words):
            return f"this is {kind.name}, as its version text says"
        if kind.host and re.fullmatch(kind.host, seen.host or "", re.IGNORECASE):
            return f"this is {kind.name}, as its host name says"
    if greeting is not None and greeting.thread_id == 0:
        return "something greets in the server's place (with the connection id 0)"
    if not seen.version:
        return ""
    if greeting is not None:
        # The greeting has room for 32 bits of it.
        if (seen.connection_id - greeting.thread_id) % 2**32:
            return (
                f"something greets in the server's place (it said connection id {greeting.thread_id}, the server says "
                f"{seen.connection_id})"
            )
        if _plain(greeting.version) != _plain(seen.version):
            return (
                f"something greets in the server's place (it said version {greeting.version}, the server says "
                f"{seen.version})"
            )
    if seen.attributes:
        return "MySQL Router is in between, as the session's connection attributes say"
    if seen.attributes is None and _is_mysql(seen.version) and seen.connected_port not in (None, seen.port):
        return (
            f"MySQL Router may be in between (connected to port {seen.connected_port}, the server has port "
            f"{seen.port}), and without its performance schema the server cannot say"
        )
    return ""


def _plain(version: str) -> str:
    return version.removeprefix("5.5.5-")  # MariaDB before 11.0 greets so, for old replicas; libmariadb takes it away


def _is_mysql(version: str) -> bool:
    return "mariadb" not in version.lower()
