"""The short version of `python -m tests.attack`, and of what it can find: `make attack` runs for an hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from tests.attack.campaign import Campaign, quiet
from tests.attack.fuzz import Pair
from tests.attack.lab import Lab
from tests.attack.mends import MENDS
from tests.attack.replays import REPLAYS, Replay
from tests.attack.script import format_steps, parse
from tests.attack.themes import THEMES
from tests.attack.watch import watched
from tests.conftest import DRIVERS, MYSQLD

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(170),
    # What an interrupted driver leaves behind.
    pytest.mark.filterwarnings("ignore"),
]


SEED = "1"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(None) as lab:
        yield lab


@pytest.fixture(scope="module")
def timeout_lab() -> Iterator[Lab]:
    """On a server that undoes the whole transaction with a 1205."""
    with Lab(None, rollback_on_timeout=True) as lab:
        yield lab


def attack(driver: str, seconds: float, *themes: str, program: str | None = None, **options: Any) -> Campaign:
    """Always the same sequences, as many as there is time for. `make attack` takes others each time."""
    campaign = Campaign(driver, program, SEED, themes or tuple(THEMES), seconds, say=print, **options)
    campaign.run()
    return campaign


def assert_nothing_found(campaign: Campaign) -> None:
    assert not campaign.found, "\n".join(f"{found}: {format_steps(found.steps)}" for found in campaign.found)
    assert campaign.outcomes["done"] > campaign.sequences, campaign.outcomes


@pytest.mark.parametrize("driver", DRIVERS)
def test_random_sequences_find_nothing_wrong(driver: str) -> None:
    assert_nothing_found(attack(driver, 20.0, stop_at_first=True))


@pytest.mark.mysql
def test_random_sequences_find_nothing_wrong_on_mysql() -> None:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    assert_nothing_found(attack("mysqldb", 15.0, program=MYSQLD, stop_at_first=True))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: f"{replay.theme}: {replay.what}")
def test_what_was_wrong_is_right(lab: Lab, timeout_lab: Lab, driver: str, replay: Replay) -> None:
    pair = Pair(timeout_lab if replay.rollback_on_timeout else lab, driver)
    findings = [finding for finding in watched(pair, parse(replay.steps)) if finding.side == "held"]
    assert not findings, findings


# -- it can find ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MENDS)
def test_it_finds_what_a_mend_has_mended_when_that_is_taken_out(name: str) -> None:
    mend = MENDS[name]
    with mend.taken_out():
        campaign = attack(mend.driver, 100.0, mend.theme, stop_at_first=True, shrink=False)
    assert {found.finding.rule for found in campaign.found} & mend.rules


def found_by(driver: str, *themes: str) -> set[str]:
    """The rule that is found broken first. A busy machine gets time for it."""
    campaign = attack(driver, 100.0, *themes, stop_at_first=True, shrink=False)
    return {found.finding.rule for found in campaign.found}


def test_a_unit_that_is_repeated_whatever_became_of_its_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run = holdfast.run

    def again(*args: Any, **options: Any) -> Any:
        try:
            return run(*args, **options)
        except DBAPIError:
            return run(*args, **options)

    monkeypatch.setattr(holdfast, "run", again)
    assert "doubled" in found_by("pymysql", "faults")


def test_a_connection_that_is_returned_in_its_transaction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy_holdfast.drivers.mysqldb import MySQLdbConnection

    monkeypatch.setattr("sqlalchemy_holdfast.drivers.subclass._classes", {})
    monkeypatch.setattr(MySQLdbConnection, "rollback", lambda connection: None)
    assert found_by("mysqldb", "ordinary") & {"locks left behind", "transaction left open", "refused and there"}


def test_a_unit_that_is_told_to_be_done_without_its_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(target: Any, fn: Any, **options: Any) -> Any:
        with holdfast_engine(target).connect() as connection:
            return fn(connection)

    monkeypatch.setattr(holdfast, "run", half)
    assert "lost" in found_by("pymysql", "ordinary")


def holdfast_engine(target: Any) -> Any:
    """Return the engine of a unit's target."""
    return target if hasattr(target, "connect") else target().get_bind()
