"""What the server answered: plain values, which the checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .facts import NotSeen

__all__ = ["AccountFacts", "CommitsFacts", "ServerFacts", "SessionFacts", "TableFacts"]


@dataclass(frozen=True)
class AccountFacts:
    """The account that the server chose for the user."""

    plugin: str | None
    """How its password is checked, such as ``caching_sha2_password``."""
    expires_days: int | None
    """After how many days its password ends; ``None`` for never."""
    rights: tuple[str, ...] | None
    """What it may do on all databases, such as ``SUPER``."""
    per_hour: Mapping[str, int]
    """Its limits for an hour, by their names; empty without any."""


@dataclass(frozen=True)
class SessionFacts:
    """One of the server's sessions; an ordinary account sees its own."""

    id: int
    """The connection's id."""
    user: str
    """The user name."""
    host: str
    """Where it comes from, without its port."""
    sleeping: bool
    """Whether it is idle."""
    seconds: int
    """Since when it does what it does."""


@dataclass(frozen=True)
class TableFacts:
    """One table of the URL's database."""

    name: str
    """Its name."""
    engine: str
    """Its storage engine; empty where it has none, as a broken one."""
    collation: str
    """Its default collation."""


@dataclass(frozen=True)
class CommitsFacts:
    """The table ``holdfast_commits`` of the URL's database."""

    engine: str
    """Its storage engine."""
    transactional: bool
    """Whether that has transactions."""
    columns: Mapping[str, str]
    """Its columns' types, by name."""
    keys: Mapping[str, str]
    """Which of them have an index, as ``information_schema`` says it: ``PRI``, ``MUL``, or nothing."""
    oldest_days: float | None
    """The age of its oldest row; ``None`` without any, or when it could not be read."""


@dataclass(frozen=True)
class ServerFacts:
    """What the server answered. What it would not answer is ``None``, and then ``unseen`` says why."""

    flavour: str
    """``MariaDB`` or ``MySQL``."""
    version: str
    """As the server says it."""
    session: Mapping[str, str] | None
    """The session's variables, those that the checks know."""
    variables: Mapping[str, str] | None
    """The server's variables, those that the checks know."""
    status: Mapping[str, str] | None
    """The server's counters and states, those that the checks know."""
    account_name: str | None
    """The account, as ``user@host pattern``."""
    account: AccountFacts | None
    """What the account is; ``None`` when the server would not say."""
    client: str | None
    """Where the server sees the connection come from."""
    database: str | None
    """The database; ``None`` where the URL names none."""
    clock_ahead: float | None
    """How far the server's clock is ahead of this machine's, in seconds, as far as a round trip allows to tell."""
    utc_offset: float | None
    """The session's time zone: ``NOW()`` minus ``UTC_TIMESTAMP()``, in seconds."""
    sessions: tuple[SessionFacts, ...] | None
    """The sessions that the account may see: its own."""
    tables: tuple[TableFacts, ...] | None = None
    """The database's tables, a thousand at most."""
    columns: Mapping[str, tuple[int, str]] | None = None
    """The collations of the database's columns: of how many, and one as ``table.column``."""
    without_key: tuple[str, ...] | None = None
    """The tables without a primary key; ``None`` when nobody asked, because the server is in no cluster."""
    commits: CommitsFacts | None = None
    """The table ``holdfast_commits``; ``None`` where there is none."""
    clustered: bool = False
    """Whether the server is in a Galera cluster or a MySQL replication group."""
    unseen: tuple[str, ...] = ()
    """What the server would not answer, and why."""
    statements: int = 0
    """How many statements all this took."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def number(self) -> tuple[int, ...]:
        """The version's numbers: ``(10, 11, 6)``."""
        text = self.version.removeprefix("5.5.5-").partition("-")[0]
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    def variable(self, name: str) -> str:
        """Return the session's value of a variable.

        :raises NotSeen: when it could not be seen.
        """
        return _of(self.session, name)

    def global_variable(self, name: str) -> str:
        """Return the server's value of a variable.

        :raises NotSeen: when it could not be seen.
        """
        return _of(self.variables, name)

    def counter(self, name: str) -> str:
        """Return one of the server's counters or states.

        :raises NotSeen: when it could not be seen.
        """
        return _of(self.status, name)

    def is_on(self, name: str) -> bool:
        """Whether a switch of the session is on; not when the server has no such switch."""
        return (self.session or {}).get(name, "").upper() in ("ON", "1", "YES")


def _of(values: Mapping[str, str] | None, name: str) -> str:
    if values is None or name not in values:
        raise NotSeen(name)
    return values[name]
