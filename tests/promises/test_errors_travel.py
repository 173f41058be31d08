"""holdfast's errors can be pickled, as a task queue does with them."""

from __future__ import annotations

import pickle

import pytest
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory


@pytest.mark.parametrize(
    "error",
    [
        holdfast.HoldfastError("what"),
        holdfast.SettingError("what"),
        holdfast.DatabaseURLError("what"),
        holdfast.DriverNotInstalled("what", name="MySQLdb"),
        holdfast.ServerAway("what", ConnectionError("no answer"), 7.5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_holdfasts_can_be_pickled(error: holdfast.HoldfastError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert str(error).startswith("what")
    assert getattr(copy, "retry_after", None) == getattr(error, "retry_after", None)
    assert getattr(copy, "name", None) == getattr(error, "name", None)


def test_an_error_with_a_hint_can_be_pickled(server: Server, driver: str, held: EngineFactory) -> None:
    with pytest.raises(DBAPIError) as caught:
        held(server.url(driver, password="Kx7qZv9w")).connect()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value)
    assert "holdfast, connecting to" in str(copy)
