"""What passes bytes on keeps its statements ahead of answers; what greets in a server's place does not get any."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import EngineFactory, read
from tests.middleboxes.running import Pretender, haproxy
from tests.middleboxes.work import THREADS, UNITS, units

Log = Callable[[], list[str]]

TURNS = 40


@pytest.mark.slow
def test_haproxy_keeps_it(behind: Server, driver: str, held: EngineFactory) -> None:
    with haproxy(behind) as port:
        engine = held(behind.url(driver, port=port), pool_size=THREADS)
        assert units(engine) == {"right": THREADS * UNITS}
        assert holdfast.status(engine).middlebox == ""
        assert holdfast.status(engine).counters.statements_pipelined > 0


@pytest.mark.slow
@pytest.mark.mysql
def test_haproxy_keeps_it_in_front_of_mysql(mysql_behind: Server, driver: str, held: EngineFactory) -> None:
    with haproxy(mysql_behind) as port:
        engine = held(mysql_behind.url(driver, port=port), pool_size=THREADS)
        assert units(engine) == {"right": THREADS * UNITS}
        assert holdfast.status(engine).middlebox == ""
        assert holdfast.status(engine).counters.statements_pipelined > 0


def test_a_relay_keeps_it(behind: Server, driver: str, held: EngineFactory) -> None:
    with Proxy.for_server(behind, delay=0.001) as proxy:
        engine = held(behind.url(driver, host=proxy.host, port=proxy.port))
        for number in range(TURNS):
            assert read(engine, number) == number
        assert holdfast.status(engine).middlebox == ""
        assert holdfast.status(engine).counters.statements_pipelined > TURNS / 2


def test_so_does_a_unix_socket(behind: Server, driver: str, held: EngineFactory) -> None:
    engine = held(behind.url(driver, transport="unix"))
    for number in range(TURNS):
        assert read(engine, number) == number
    assert holdfast.status(engine).middlebox == ""
    with engine.connect() as connection:
        assert connection.connection.driver_connection._holdfast.pipeline  # type: ignore[union-attr]


GREETS = {
    "the connection id 0": ({"thread_id": 0}, "connection id 0"),
    "another connection id": ({"thread_id": 4_000_000_001}, "connection id 4000000001, the server says"),
    "another version": ({"version": "5.7.44"}, "said version 5.7.44, the server says"),
    "MariaDB's version as old replicas want it": ({"version": "5.5.5-10.4.32 24.02.4-maxscale"}, "this is MaxScale"),
    "a name": ({"version": "5.7.9-Vitess"}, "this is Vitess"),
}


@pytest.mark.parametrize("greets", GREETS)
def test_what_greets_in_the_servers_place_is_never_sent_anything_ahead(
    behind: Server, driver: str, greets: str, held: EngineFactory, log: Log
) -> None:
    changes, reason = GREETS[greets]
    with Pretender(behind, **changes) as pretender:  # type: ignore[arg-type]
        engine = held(behind.url(driver, port=pretender.port), pool_size=THREADS)
        assert units(engine, each=20) == {"right": THREADS * 20}
        assert pretender.refused == 0
        assert reason in holdfast.status(engine).middlebox
        assert len([line for line in log() if reason in line]) == 1


def test_a_pretender_refuses_what_is_sent_ahead(behind: Server, driver: str, held: EngineFactory) -> None:
    """The control: with what the owner says, or with a greeting that tells nothing, it would have failed."""
    with Pretender(behind) as pretender:
        engine = held(behind.url(driver, port=pretender.port), pool_size=1, holdfast_pipeline=True)
        outcomes = units(engine, threads=1)
        assert pretender.refused > 0
        assert set(outcomes) != {"right"}
