"""Who is compared with whom."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from sqlalchemy_holdfast import drivers
from sqlalchemy_holdfast.experiments.contenders import (
    CONTENDERS,
    HOLDFAST,
    Contender,
    installed_drivers,
    missing_drivers,
)


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_one_contender_alone_names_the_plugin(contender: Contender) -> None:
    url = contender.url(make_url("mysql+pymysql://me@h/d"))
    assert (url.query.get("plugin") == "holdfast") is (contender is HOLDFAST)


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_every_contender_has_the_same_implementation_of_a_driver(contender: Contender) -> None:
    assert contender.url(make_url("mysql+mysqlconnector://me@h/d")).query["use_pure"] == "1"


def test_a_driver_that_is_not_installed_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "is_installed", lambda driver: driver.url_name != "pymysql")
    assert "pymysql" not in installed_drivers()
    assert missing_drivers() == {"pymysql": "pip install PyMySQL"}
