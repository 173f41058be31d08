"""What a run of random operations is to do, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy_holdfast.lab import Proxy, Server

CONNECTION_ID = {"mysqldb": "thread_id", "pymysql": "thread_id", "mysqlconnector": "connection_id"}


@dataclass(frozen=True)
class Plan:
    """What to run. The same plan on one thread runs the same operations."""

    driver: str
    operations: int = 3000
    seed: int = 1
    threads: int = 6
    pool_size: int = 4
    max_overflow: int = 2
    lifo: bool = False
    autocommit: bool = False
    delay: float = 0.0
    """Seconds that a proxy adds in each direction; 0 means no proxy."""
    transport: str = "tcp"
    fault_share: float = 0.12
    only: frozenset[str] | None = None
    """Operations to choose from; None means all."""

    def url(self, server: Server, proxy: Proxy | None) -> Any:
        query = {"plugin": "holdfast"}
        if self.driver == "mysqlconnector":
            query["use_pure"] = "1"
        if server.tls_ca is not None:
            query["ssl_ca"] = server.tls_ca
        if self.transport == "unix":
            return server.url(self.driver, transport="unix", query=query)
        place = {} if proxy is None else {"host": proxy.host, "port": proxy.port}
        return server.url(self.driver, query=query, **place)  # type: ignore[arg-type]

    @property
    def arrival(self) -> float:
        """Seconds after which what the server did must be known here. Generous: the machine may be busy."""
        return 0.02 + 4 * self.delay


@dataclass
class Report:
    """What happened, and what must not have happened."""

    plan: Plan
    operations: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    expected_errors: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    counters: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    wrong_answers: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    leaked_writes: list[int] = field(default_factory=list)
    """Rows there whose unit of work was rolled back, given up or refused."""
    leaked_connections: list[int] = field(default_factory=list)
    """Still in the server's list after dispose()."""
    leaked_places: list[int] = field(default_factory=list)
    """How many places of the pool nobody has and nobody can get."""
    unexpected: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)

    @property
    def broken(self) -> dict[str, int]:
        lists = ("lost", "doubled", "leaked_writes", "leaked_connections", "leaked_places", "unexpected", "locks")
        return {name: len(getattr(self, name)) for name in ("wrong_answers", *lists) if getattr(self, name)}

    def __str__(self) -> str:
        done = [
            f"{self.plan}: {self.seconds:.1f} s",
            f"operations: {json.dumps(dict(sorted(self.operations.items())))}",
            f"faults: {json.dumps(dict(sorted(self.faults.items())))}",
            f"errors where a fault was put: {json.dumps(dict(sorted(self.expected_errors.items())))}",
            f"tokens: {json.dumps(dict(sorted(self.tokens.items())))}",
            f"holdfast: {json.dumps(self.counters)}",
            f"broken promises: {json.dumps(self.broken)}",
        ]
        for name in self.broken:
            done += [f"  {name}: {entry}" for entry in getattr(self, name)[:8]]
        return "\n".join(done)
