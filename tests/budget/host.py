"""A server that allows few connections, in each of the ways in which servers do."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.budget.request import PAGES, Outcome, words_of

Kind = Literal["account", "global", "server"]
REFUSALS: dict[Kind, int] = {"account": 1226, "global": 1203, "server": 1040}
"""Who sets the limit (the account, ``max_user_connections``, ``max_connections``), and what the refused are told."""
LOWEST_MAX_CONNECTIONS = 10  # MariaDB takes none lower
USER = "site"


@dataclass
class Host:
    """A server with a limit, the account of a site, and its tables."""

    server: Server
    kind: Kind
    limit: int
    directory: str
    """Where the site's processes share their connections: a place of its own, which goes with the server."""
    proxy: Proxy | None = None
    """Where the site finds the server, if not at its own address."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, driver: str, *, held: bool, **query: str) -> URL:
        """Return the site's URL; the query's names are holdfast's settings."""
        more = {"use_pure": "1"} if driver == "mysqlconnector" else {}
        if held:
            more |= {"plugin": "holdfast", **query}
            if query.get("holdfast_budget") != "off":
                more.setdefault("holdfast_budget_directory", self.directory)
        at = self.proxy or self.server
        return self.server.url(driver, user=USER, password=USER, query=more, host=at.host, port=at.port)

    def numbers(self, count: int) -> list[int]:
        """Return so many new requests."""
        return list(itertools.islice(self._numbers, count))

    def numbers_while(self, going_on: Callable[[], bool]) -> Iterator[int]:
        """Yield new requests for as long as it says so."""
        while going_on():
            yield next(self._numbers)

    def forget(self) -> None:
        """Begin the server's own counts anew, as far as the server does (MariaDB: all that is used here)."""
        self.server.execute("FLUSH STATUS")

    @property
    def most_used(self) -> int:
        """The most connections at once since :meth:`forget`, as long as nobody but the site used the server."""
        return int(self.server.status("Max_used_connections"))

    @property
    def refused(self) -> int:
        """Connections that the server turned away since :meth:`forget`, for whatever reason.

        Not Connection_errors_max_connections: MariaDB counts there only what its host cache knows.
        """
        return int(self.server.status("Aborted_connects"))

    def entries(self) -> Counter[int]:
        return Counter(token for (token,) in self.server.execute("SELECT token FROM ledger", database="test"))

    def astray(self, outcomes: Iterable[Outcome]) -> tuple[int, int, int]:
        """Compare what clients were told with the ledger.

        :return: how many acknowledged entries are missing, how many are there more than once, and how many are there
            that were not acknowledged.
        """
        found = self.entries()
        told = {outcome.number for outcome in outcomes if outcome.acknowledged}
        return len(told - found.keys()), sum(count > 1 for count in found.values()), len(found.keys() - told)


@contextmanager
def limited(kind: Kind = "account", limit: int = 5, **options: str | int | None) -> Iterator[Host]:
    """Start a server that allows a site so many connections at once."""
    if kind == "global":
        options["max_user_connections"] = limit
    elif kind == "server":
        limit = max(limit, LOWEST_MAX_CONNECTIONS)
        options["max_connections"] = limit
    with Server(options=options) as server, tempfile.TemporaryDirectory() as directory:
        server.create_account(USER, USER)
        if kind == "account":
            server.execute(f"ALTER USER {USER}@'%' WITH MAX_USER_CONNECTIONS {limit}")
        for sql in (
            "CREATE TABLE page (id INT PRIMARY KEY, words VARCHAR(40) NOT NULL) ENGINE=InnoDB",
            f"INSERT INTO page VALUES {', '.join(f'({n}, {words_of(n)!r})' for n in range(1, PAGES + 1))}",
            # Nothing keeps a token from being there twice.
            "CREATE TABLE ledger (id INT PRIMARY KEY AUTO_INCREMENT, token INT NOT NULL, KEY (token)) ENGINE=InnoDB",
        ):
            server.execute(sql, database="test")
        yield Host(server, kind, limit, os.path.join(directory, "budget"))
