"""What is known about hosting providers' MySQL servers, and where each fact is written down.

Only what a provider documents in public is here. :data:`PROVIDERS` is read by :func:`~.url` (``at=``), by the check
of a URL, and by the command ``holdfast url``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import DatabaseURLError

__all__ = ["PROVIDERS", "Provider", "Source", "by_address", "by_name"]


@dataclass(frozen=True)
class Source:
    """The public page that a fact was taken from."""

    title: str
    """The page's title."""
    address: str
    """Where it is."""


@dataclass(frozen=True)
class Provider:
    """One provider's MySQL. Every field after :attr:`title` that differs from its default has a source."""

    name: str
    """What ``sqlalchemy_holdfast.url(at=...)`` calls it."""
    title: str
    """The provider's own name for it."""
    suffix: str = ""
    """What its servers' host names end with, in lower case; empty when they cannot be recognised."""
    template: str = ""
    """A server's host name or socket, made from ``{username}`` or from what was given as ``{host}``."""
    port: int | None = None
    """The port, when it is not MySQL's 3306."""
    prefixes_databases: bool = False
    """Whether each database is called ``username$name``."""
    prefixes_usernames: bool = False
    """Whether a user name starts with a cluster's prefix and a dot."""
    needs_tls: bool = False
    """Whether connections without TLS are refused, unless the owner has changed that."""
    idle_limit_seconds: float | None = None
    """After how long the server closes a connection that nobody uses."""
    lifetime_limit_seconds: float | None = None
    """After how long a connection may be closed, used or not."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """The source of each fact, by the field's name."""

    def address(self, username: str, host: str | None) -> str:
        """Return the server's host name, or the path of its socket.

        :param username: the database account.
        :param host: what was given for it: nothing, a short name that the provider uses, or an address, which is
            returned as it is.
        :raises DatabaseURLError: when nothing was given and it does not follow from the user name.
        """
        if host is None:
            if "{username}" in self.template:
                return self.template.format(username=username)
            raise DatabaseURLError(f"{self.title} needs a host: {self._host_wanted()}")
        if "{host}" in self.template and self._is_short(host):
            return self.template.format(host=host)
        return host

    def database(self, username: str, name: str) -> str:
        """Return a database's full name: ``username$name`` where databases are called so, else the name as given."""
        return f"{username}${name}" if self.prefixes_databases and "$" not in name else name

    def _is_short(self, host: str) -> bool:
        if self.template.startswith("/"):
            return re.fullmatch(r"[\w.-]+(:[\w-]+){2,3}", host) is not None  # project:region:instance
        return re.fullmatch(r"[\w-]+", host) is not None and host != "localhost"

    def _host_wanted(self) -> str:
        if not self.template:
            return f"give host=, the server's name from the provider's console; it ends with {self.suffix}."
        short = "project:region:instance" if self.template.startswith("/") else "the server's name"
        return f"give host=, {short}; the connection then goes to {self.template.format(host='…')}."


_PYTHONANYWHERE = "https://help.pythonanywhere.com/pages/"
_TUNNEL = Source(
    "Accessing your MySQL database from outside PythonAnywhere",
    f"{_PYTHONANYWHERE}AccessingMySQLFromOutsidePythonAnywhere",
)
_PYTHONANYWHERE_COMMON = {
    "suffix": _TUNNEL,
    "template": _TUNNEL,
    "prefixes_databases": Source(
        "Using SQLAlchemy with MySQL (PythonAnywhere)", f"{_PYTHONANYWHERE}UsingSQLAlchemywithMySQL"
    ),
    "idle_limit_seconds": Source(
        "Managing database connections (PythonAnywhere)", f"{_PYTHONANYWHERE}ManagingDatabaseConnections"
    ),
}
_TIDB_SAMPLE = Source(
    "Connect to TiDB with SQLAlchemy",
    "https://github.com/pingcap/docs/blob/master/develop/dev-guide-sample-application-python-sqlalchemy.md",
)
_TIDB_TLS = Source(
    "TLS Connections to TiDB Cloud Starter or Essential",
    "https://docs.pingcap.com/tidbcloud/secure-connections-to-serverless-clusters/",
)
_AZURE = Source(
    "Connect to Azure Database for MySQL - Flexible Server with encrypted connections",
    "https://learn.microsoft.com/en-us/azure/mysql/flexible-server/how-to-connect-tls-ssl",
)

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "pythonanywhere",
        "PythonAnywhere (www.pythonanywhere.com)",
        suffix=".mysql.pythonanywhere-services.com",
        template="{username}.mysql.pythonanywhere-services.com",
        prefixes_databases=True,
        idle_limit_seconds=300,
        sources=_PYTHONANYWHERE_COMMON,
    ),
    Provider(
        "pythonanywhere-eu",
        "PythonAnywhere (eu.pythonanywhere.com)",
        suffix=".mysql.eu.pythonanywhere-services.com",
        template="{username}.mysql.eu.pythonanywhere-services.com",
        prefixes_databases=True,
        idle_limit_seconds=300,
        sources=_PYTHONANYWHERE_COMMON,
    ),
    Provider(
        "azure",
        "Azure Database for MySQL, Flexible Server",
        suffix=".mysql.database.azure.com",
        template="{host}.mysql.database.azure.com",
        needs_tls=True,
        sources={"suffix": _AZURE, "template": _AZURE, "needs_tls": _AZURE},
    ),
    Provider(
        "google-cloud-sql",
        "Google Cloud SQL for MySQL, over its socket",
        template="/cloudsql/{host}",
        sources={
            "template": Source(
                "Create a socket connection by using Python (Cloud SQL for MySQL)",
                "https://cloud.google.com/sql/docs/mysql/samples/cloud-sql-mysql-sqlalchemy-connect-unix",
            )
        },
    ),
    Provider(
        "tidb-cloud",
        "TiDB Cloud Starter and Essential, over the public endpoint",
        suffix=".tidbcloud.com",
        port=4000,
        prefixes_usernames=True,
        needs_tls=True,
        lifetime_limit_seconds=1800,
        sources={
            "suffix": _TIDB_SAMPLE,
            "port": _TIDB_SAMPLE,
            "prefixes_usernames": _TIDB_TLS,
            "needs_tls": _TIDB_TLS,
            "lifetime_limit_seconds": Source(
                "Limitations and Quotas of TiDB Cloud Starter and Essential",
                "https://docs.pingcap.com/tidbcloud/serverless-limitations/",
            ),
        },
    ),
)
"""The providers, in the order they are shown."""


def by_name(name: str) -> Provider:
    """Return the provider of that name; capitals and underscores make no difference.

    :raises DatabaseURLError: for a name that is not in :data:`PROVIDERS`, with the nearest that is.
    """
    wanted = name.strip().lower().replace("_", "-")
    names = [known.name for known in PROVIDERS]
    if wanted in names:
        return PROVIDERS[names.index(wanted)]
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise DatabaseURLError(
        f"at={name[:40]!r} is no provider that holdfast knows.{hint} Known are {', '.join(names)}; for any other give "
        "host= instead."
    )


def by_address(host: str | None) -> Provider | None:
    """Return the provider that a server's host name belongs to, or ``None``."""
    lowered = (host or "").lower().rstrip(".")
    return next((known for known in PROVIDERS if known.suffix and lowered.endswith(known.suffix)), None)
