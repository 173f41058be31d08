"""What a program raises is told from what the network raises, whatever else is being handled at that moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from sqlalchemy_holdfast._outside import from_outside
from sqlalchemy_holdfast.budget.slot_file import SlotFileError, _ask

HANDLES = """
def handles(raises, then):
    try:
        raises()
    except Exception:
        then()
"""
FRAMES = [
    __name__,
    "sqlalchemy_holdfast.transactions.running",
    "sqlalchemy_holdfast.pool.waiting",
    "sqlalchemy_holdfast.flask.own_session",
]
"""Modules whose code may be handling an error of the program's when a driver, or the system, reports one of its own."""


def handling_in(module: str) -> Callable[[Callable[[], object], Callable[[], object]], None]:
    """A function of that module: it calls something, and something else while it handles what that raises."""
    names: dict[str, object] = {"__name__": module}
    exec(HANDLES, names)
    return names["handles"]  # type: ignore[return-value]


def of_the_program() -> None:
    raise TimeoutError("the program's own")


def of_the_driver() -> None:
    raise pymysql.err.OperationalError(2013, "Lost connection")


@pytest.mark.parametrize("module", FRAMES)
def test_a_drivers_error_is_its_own_while_another_one_is_handled(module: str) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        handling_in(module)(of_the_program, of_the_driver)
    assert isinstance(caught.value.__context__, TimeoutError)
    assert from_outside(caught.value) is None


@pytest.mark.parametrize(
    "module", ["pymysql.connections", "mysql.connector.network", "sqlalchemy_holdfast.drivers.state"]
)
def test_what_a_driver_has_made_its_own_error_of_is_the_programs(module: str) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        handling_in(module)(of_the_program, of_the_driver)
    assert from_outside(caught.value) is caught.value.__context__


@pytest.mark.parametrize("module", FRAMES)
def test_what_the_system_refuses_is_known_while_another_error_is_handled(module: str, tmp_path: Path) -> None:
    with pytest.raises(SlotFileError):
        handling_in(module)(of_the_program, lambda: _ask(lambda: os.stat(tmp_path / "nowhere")))
