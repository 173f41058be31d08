"""What `run` costs: no round trip more than a transaction without it, and one with verification."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy
from tests.conftest import waits
from tests.transactions.conftest import Entry

UNITS = 6


def read(session: Session) -> None:
    session.execute(text("SELECT 1")).scalar_one()


def write(session: Session) -> None:
    session.add(Entry(name="Ada"))


@pytest.mark.slow
@pytest.mark.parametrize("unit", [read, write])
def test_without_verification_it_waits_for_no_more(
    proxy: Proxy, engine: Engine, unit: Callable[[Session], None]
) -> None:
    make = sessionmaker(engine)

    def plain() -> None:
        with make.begin() as session:
            unit(session)

    def ours() -> None:
        holdfast.run(make, unit)

    for warm in (plain, ours):
        warm()
    plain_waits, plain_commands = waits(proxy, plain, UNITS)
    our_waits, our_commands = waits(proxy, ours, UNITS)
    assert our_commands == plain_commands
    assert our_waits == pytest.approx(plain_waits, abs=0.35)


@pytest.mark.slow
def test_verification_costs_one_more(proxy: Proxy, engine: Engine) -> None:
    make = sessionmaker(engine)
    holdfast.run(make, write, verify=True)  # asks once for each connection which server it is to
    our_waits, commands = waits(proxy, lambda: holdfast.run(make, write, verify=True), UNITS)
    assert commands == {"COM_QUERY": 3 * UNITS}, "INSERT, INSERT, COMMIT"
    assert our_waits == pytest.approx(3, abs=0.4)
    assert proxy.statements[-1] == "COMMIT"
    assert proxy.statements[-2].startswith("INSERT INTO `test`.holdfast_commits")
