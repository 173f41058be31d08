"""How many connections there may be, and how long one may be idle: each check finds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pymysql
import pytest
from sqlalchemy import Engine

from sqlalchemy_holdfast.doctor import Hosting, Severity
from sqlalchemy_holdfast.lab import Server
from tests.conftest import eventually, inside, read
from tests.doctor.database.examining import account, examine, facts_of, found, held_url, look_at, set_global, silent

pytestmark = pytest.mark.slow

Make = Callable[..., Engine]


@contextmanager
def connected(server: Server, user: str = "patient", password: str = "s3cret-Pw", **options: Any) -> Iterator[Any]:
    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=user,
        password=password,
        database="test",
        ssl_ca=server.tls_ca,
        **options,
    )
    try:
        yield connection
    finally:
        connection.close()


def test_a_pool_that_keeps_connections_longer_than_the_server(patient: Server, stock: Make, held: Make) -> None:
    found("HF201", examine(stock(patient.url())), "wait_timeout is 28800 s, and the pool keeps a connection for ever")
    found("HF201", examine(stock(patient.url(), pool_recycle=28800)), "for 28800 s")
    silent("HF201", examine(stock(patient.url(), pool_recycle=280)))
    silent("HF201", examine(held(patient.url())))


def test_connections_that_were_closed_sooner_than_the_server_says(patient: Server, held: Make) -> None:
    with account(patient) as url:
        engine = held(url)
        read(engine)
        patient.kill_connections("patient")
        with engine.connect():
            pass
        eventually(lambda: inside(engine).limits.idle_limit < 28800)
        found("HF202", examine(engine), "wait_timeout is 28800 s")


def test_a_short_idle_limit(patient: Server) -> None:
    with set_global(patient, wait_timeout=30):
        found("HF203", examine(held_url(patient)), "30 s")


def test_an_idle_limit_of_the_sessions_own(patient: Server) -> None:
    url = held_url(patient, query={"init_command": "SET SESSION wait_timeout = 100"})
    found("HF204", examine(url), "The session's wait_timeout is 100 s, the server's 28800 s.")


def test_processes_that_want_more_connections_than_there_are(patient: Server, stock: Make, held: Make) -> None:
    hosting = Hosting(processes=4)
    with account(patient, max_connections=20) as url:
        options = {"pool_size": 5, "max_overflow": 3}
        plain = url.difference_update_query(["plugin"])
        words = "4 processes may open 8 connections each, 32 together; max_user_connections is 20"
        found("HF205", examine(stock(plain, **options), hosting=hosting), words, severity=Severity.ERROR)
        silent("HF205", examine(stock(plain, pool_size=2, max_overflow=3), hosting=hosting))
        silent("HF205", examine(held(url, **options), hosting=hosting))
        found("HF205", examine(held(url, holdfast_budget="off", **options), hosting=hosting), "do not share")
        found("HF205", examine(held(url, **options), hosting=Hosting(processes=20)), severity=Severity.WARNING)
        silent("HF205", examine(held(url, **options), hosting=Hosting(processes=19)))


def test_an_account_that_is_nearly_full(patient: Server) -> None:
    with account(patient, max_connections=5) as url, ExitStack() as open_connections:
        silent("HF206", examine(url))
        for _ in range(3):
            open_connections.enter_context(connected(patient))
        found("HF206", examine(url), "The account has 4 of 5 connections")


def test_a_server_that_is_nearly_full_or_was_full(crowded: Server) -> None:
    with account(crowded) as url, ExitStack() as open_connections:
        silent("HF210", examine(url))
        for _ in range(9):
            open_connections.enter_context(connected(crowded))
        found("HF206", examine(url), "The server has 10 of 10 connections (max_connections)")
        open_connections.enter_context(connected(crowded))
        with pytest.raises(pymysql.err.OperationalError, match="1040"):
            open_connections.enter_context(connected(crowded))
    found("HF210", examine(held_url(crowded)), "In the last 0.0 days, 11 connections were open at once")


def test_connections_from_elsewhere(patient: Server) -> None:
    with account(patient) as url:
        with connected(patient), connected(patient, unix_socket=patient.socket):
            silent("HF207", examine(url))
        with connected(patient, bind_address="127.0.0.9"):
            found("HF207", examine(url), "127.0.0.9 (1). This one: 127.0.0.1", severity=Severity.NOTE)
    with account(patient, max_connections=9) as url, connected(patient, bind_address="127.0.0.9"):
        found("HF207", examine(url), severity=Severity.WARNING)


@pytest.mark.mysql
def test_connections_that_are_idle_for_long(mysql: Server) -> None:
    with account(mysql) as url, connected(mysql) as other:
        silent("HF208", examine(url))
        with other.cursor() as cursor:
            cursor.execute("SET timestamp = UNIX_TIMESTAMP() - 8 * 3600")  # MySQL's process list counts from there
        found("HF208", examine(url), "1 connection without use", "8 h")


def test_connections_that_are_idle_for_long_as_mariadb_tells_it(mariadb: Server) -> None:
    """Nobody can wait for it, so what the server said is made older."""
    with account(mariadb) as url, connected(mariadb):
        seen = facts_of(url)
    assert seen.server is not None
    assert seen.server.sessions is not None
    own = [session for session in seen.server.sessions if session.user == "patient"]
    assert sorted(session.sleeping for session in own) == [False, True], "the doctor's own and the other"
    older = tuple(dataclasses.replace(session, seconds=session.seconds + 7200) for session in own)
    found("HF208", look_at(seen, sessions=older), "1 connection without use", "2 h")


def test_an_account_with_limits_for_an_hour(patient: Server) -> None:
    with account(patient) as url:
        patient.execute("ALTER USER patient WITH MAX_QUERIES_PER_HOUR 5000 MAX_CONNECTIONS_PER_HOUR 600")
        finding = found("HF209", examine(url), "MAX_QUERIES_PER_HOUR 5000, MAX_CONNECTIONS_PER_HOUR 600")
        assert "MAX_QUERIES_PER_HOUR 0 MAX_CONNECTIONS_PER_HOUR 0" in finding.cure


def test_more_threads_than_connections(patient: Server, held: Make) -> None:
    engine = held(patient.url(), pool_size=3, max_overflow=0)
    found("HF211", examine(engine, hosting=Hosting(threads=4)), "4 threads, and its pool 3 connections")
    silent("HF211", examine(engine, hosting=Hosting(threads=3)))


def test_the_account_is_used_up_while_the_doctor_comes(patient: Server) -> None:
    """It waits for no connection: what it has to say is that there is none."""
    with account(patient, max_connections=1) as url, connected(patient):
        report = examine(url)
        finding = found("HF107", report, "max_user_connections")
        assert finding.cure.startswith("Close what else uses the account")
        assert report.statements == 0
