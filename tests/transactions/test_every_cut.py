"""One unit of work, cut at every place: the outcome is right wherever that is.

The packets are those of the unit's statements, each in both directions; the bytes are all that pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests._long import LONG
from tests.conftest import DRIVERS, EngineFactory
from tests.transactions.conftest import WRITE

Names = Callable[[], list[str]]
STATEMENTS = ("SELECT name", "UPDATE entry", "INSERT INTO entry", "INSERT INTO `test`.holdfast_commits", "COMMIT")


class Unit:
    """Read, change and add."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, connection: Connection) -> int:
        self.calls += 1
        connection.execute(text("SELECT name FROM entry WHERE id = 1 FOR UPDATE")).scalar_one()
        connection.execute(text("UPDATE entry SET name = :name WHERE id = 1"), {"name": f"changed by {self.calls}"})
        connection.execute(WRITE, {"name": f"added by {self.calls}"})
        return self.calls


def fresh(server: Server) -> None:
    server.execute("DELETE FROM entry", database="test")
    server.execute("INSERT INTO entry VALUES (1, 'a')", database="test")


def outcome(engine: Engine, names: Names, *, verify: bool) -> str:
    """Do the unit, and say in words what the caller was told and what the server has."""
    unit = Unit()
    try:
        told = f"done by call {holdfast.run(engine, unit, verify=verify)}"
    except holdfast.CommitOutcomeUnknown:
        told = "unknown"
    found = names()
    done = [number for number in range(1, unit.calls + 1) if found == [f"changed by {number}", f"added by {number}"]]
    has = f"call {done[0]}" if done else "nothing" if found == ["a"] else f"WRONG: {found}"
    return f"{told}; {unit.calls} calls; the server has {has}"


def expected(statement: str, *, delivered: bool, verify: bool) -> str:
    if statement != "COMMIT":
        return "done by call 2; 2 calls; the server has call 2"
    if not verify:
        return f"unknown; 1 calls; the server has {'call 1' if delivered else 'nothing'}"
    if delivered:
        return "done by call 1; 1 calls; the server has call 1"
    return "done by call 2; 2 calls; the server has call 2"


@pytest.mark.slow
@pytest.mark.parametrize("verify", [False, True], ids=["", "verify"])
def test_after_each_packet_in_each_direction(
    server: Server, proxy: Proxy, engine: Engine, entries: Names, verify: bool
) -> None:
    table: dict[tuple[str, bool, bool], str] = {}
    right: dict[tuple[str, bool, bool], str] = {}
    for statement in STATEMENTS if verify else (s for s in STATEMENTS if "holdfast" not in s):
        for delivered in (False, True):
            for server_knows in (True, False):
                fresh(server)
                proxy.cut_at(statement, delivered=delivered, server_knows=server_knows)
                place = (statement, delivered, server_knows)
                table[place] = outcome(engine, entries, verify=verify)
                right[place] = expected(statement, delivered=delivered, verify=verify)
    assert table == right


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("direction", ["request", "reply"])
@pytest.mark.parametrize("verify", [False, True], ids=["", "verify"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_after_each_byte(
    server: Server, proxy: Proxy, driver: str, held: EngineFactory, entries: Names, verify: bool, direction: str
) -> None:
    # One connection: another of the pool's would be probed first after a loss.
    engine = held(server.url(driver, host=proxy.host, port=proxy.port), pool_size=1, max_overflow=0)
    cut: Any = getattr(proxy, f"truncate_{direction}")
    outcomes: list[str] = []
    step = 1 if LONG else {"request": 29, "reply": 10}[direction]
    while True:
        # A connection that has been used, with nothing pending on it and nothing to be asked about it.
        holdfast.run(engine, lambda connection: connection.execute(text("SELECT 1")).scalar_one())
        fresh(server)
        before = holdfast.status(engine).counters.connects
        cut(len(outcomes) * step)
        told = outcome(engine, entries, verify=verify)
        proxy.restore()
        if holdfast.status(engine).counters.connects == before:  # nothing was cut: all of it has passed
            break
        outcomes.append(told)
    counts = Counter(outcomes)
    repeated = "done by call 2; 2 calls; the server has call 2"
    settled = "done by call 1; 1 calls; the server has call 1"
    unknown = {f"unknown; 1 calls; the server has {what}" for what in ("call 1", "nothing")}
    assert set(counts) <= ({repeated, settled} if verify else {repeated, *unknown}), counts
    # Only while COMMIT or its reply was under way, which is the end of it, was there anything to ask or not to know.
    last = next((number for number, told in enumerate(outcomes) if told in unknown), len(outcomes))
    assert set(outcomes[:last]) <= {repeated, settled}
    assert set(outcomes[last:]) <= unknown, outcomes
    assert counts[repeated] > 0
    if not verify and (LONG or direction == "reply"):
        assert last < len(outcomes)
