"""A Proxy makes every round trip longer, and nothing else: neither the order nor how much passes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sqlalchemy_holdfast.lab import Measurement, Proxy
from tests.lab.helpers import eventually
from tests.lab.network.clients import Connect, query

pytestmark = pytest.mark.usefixtures("nobody_else")


@pytest.mark.slow
def test_delay_is_added_to_each_round_trip(proxy: Proxy, client: Connect) -> None:
    connection = client()
    proxy.delay = 0.005
    delayed = [measured(proxy, connection) for _ in range(50)]
    proxy.delay = 0
    at_once = [measured(proxy, connection) for _ in range(50)]
    # Other load on the machine makes one longer, nothing makes one shorter.
    assert 0.01 < min(work.seconds for work in delayed) < 0.0175
    assert 1 < min(work.waits_per_unit for work in delayed) < 1.75
    assert min(work.seconds for work in at_once) < 0.01


def measured(proxy: Proxy, connection: Any, sql: str = "SELECT 1") -> Measurement:
    with proxy.measure() as work:
        query(connection, sql)
    return work


@pytest.mark.slow
def test_delay_does_not_limit_how_much_passes_and_keeps_the_order(proxy: Proxy, client: Connect) -> None:
    connection = client()
    much = "SELECT REPEAT('x', 10000000)"
    assert len(query(connection, much)[0][0]) == 10_000_000
    at_once = min(measured(proxy, connection, much).seconds for _ in range(4))
    proxy.delay = 0.05
    delayed = min(measured(proxy, connection, much).seconds for _ in range(4))
    assert delayed < at_once + 0.5, "one delay for each part that is read would make two seconds"
    rows = query(connection, "SELECT seq, REPEAT('x', 500) FROM seq_1_to_20000")
    assert [row[0] for row in rows] == list(range(1, 20_001))


def test_a_shorter_delay_does_not_let_bytes_overtake(proxy: Proxy, client: Connect) -> None:
    connection = client()
    proxy.delay = 0.05
    connection._execute_command(3, "SELECT 'first'")
    eventually(lambda: "SELECT 'first'" in proxy.statements)
    proxy.delay = 0
    connection._sock.sendall(b"\x0e\0\0\0\x03SELECT 'next'")
    assert connection._read_query_result() == 1
    assert connection._result.rows == (("first",),)
    connection._next_seq_id = 1
    connection._read_query_result()
    assert connection._result.rows == (("next",),)


@pytest.mark.parametrize("delay", [-1, math.inf, math.nan])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay"):
        Proxy("127.0.0.1", 1, delay=delay)
