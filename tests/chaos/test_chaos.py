"""Random operations, random faults: no wrong answer, nothing lost, doubled or leaked, no error without a cause."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from sqlalchemy_holdfast.lab import Server
from tests._long import LONG
from tests.chaos.plan import Plan, Report
from tests.chaos.run import FAULTS, run

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # PyMySQL's half-made results
    pytest.mark.filterwarnings("ignore:Previous unbuffered result was left incomplete"),
]

VARIANTS: dict[str, dict[str, Any]] = {
    "fifo": {"seed": 1, "operations": 2400},
    "lifo": {"seed": 2, "lifo": True, "threads": 8},
    "every reply late": {"seed": 3, "delay": 0.0005},
    "autocommit": {"seed": 4, "autocommit": True},
    "unix": {"seed": 5, "transport": "unix"},
    "one connection": {"seed": 6, "pool_size": 1, "max_overflow": 1, "threads": 3},
    "a seed of its own": {},
}


@pytest.fixture(scope="module")
def chaos_server() -> Iterator[Server]:
    with Server(options={"innodb_lock_wait_timeout": 5}) as server:
        yield server


def assert_kept(report: Report) -> None:
    print(report)  # pytest shows it when the test fails, the seed with it
    assert not report.broken, str(report)
    assert report.tokens["committed"] > report.plan.operations / 8
    assert sum(report.faults.values()) > report.plan.operations / 40
    assert report.counters["rollbacks_deferred"] > 0
    assert report.counters["rollbacks_skipped"] > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_wrong_lost_doubled_or_leaked(chaos_server: Server, driver: str, variant: str) -> None:
    plan = {"operations": 900 if LONG else 500, "seed": random.SystemRandom().randrange(1 << 31), **VARIANTS[variant]}
    assert_kept(run(Plan(driver, **plan), chaos_server))


def test_over_tls(tls_server: Server, driver: str) -> None:
    assert_kept(run(Plan(driver, operations=900, seed=7), tls_server))


@pytest.mark.mysql
def test_on_mysql(mysql_server: Server, driver: str) -> None:
    assert_kept(run(Plan(driver, operations=900, seed=8), mysql_server))


def test_without_faults_there_is_no_error_and_no_reconnect(chaos_server: Server, driver: str) -> None:
    only = frozenset({"number", "row", "write", "write_and_close", "roll_back_twice", "savepoint_rolled_back", "orm"})
    report = run(Plan(driver, operations=1500, seed=9, only=only), chaos_server)
    assert not report.broken, str(report)
    assert not any(name.startswith("replaced") for name in report.counters), str(report)
    assert not report.expected_errors


def test_every_kind_of_fault_is_tried(chaos_server: Server) -> None:
    report = run(Plan("pymysql", operations=1500, seed=10, fault_share=1.0), chaos_server)
    assert not report.broken, str(report)
    assert set(report.operations) == set(FAULTS)
    assert {name.partition(",")[0] for name in report.faults} >= {"kill", "kill query", "interrupted", "idle limit"}
