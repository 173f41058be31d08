"""What cannot be meant is refused when the engine is made, and no value is shown."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import SettingError

NOWHERE = "mysql+pymysql://app@127.0.0.1:1/test?plugin=holdfast"
SECRET = "zyxwvq"


def ask() -> str:
    return SECRET


def refused(url: str = NOWHERE, **options: Any) -> str:
    with pytest.raises(SettingError) as caught:
        create_engine(url, **options)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("other", ["file", "command"])
def test_two_sources(other: str) -> None:
    said = refused(f"{NOWHERE}&holdfast_password_{other}=/tmp/{other}", holdfast_password=ask)
    assert f"holdfast_password and holdfast_password_{other} contradict each other" in said


def test_how_long_to_keep_a_password_that_comes_from_nowhere() -> None:
    assert "holdfast_password_ttl has no effect alone" in refused(holdfast_password_ttl=60)
    create_engine(f"{NOWHERE}&holdfast_password_ttl=60", holdfast_password=ask)
    create_engine("sqlite://?plugin=holdfast", holdfast_password_ttl=60)


def test_a_password_in_the_url() -> None:
    said = refused(f"mysql+pymysql://app:{SECRET}@127.0.0.1:1/test?plugin=holdfast", holdfast_password=ask)
    assert "the URL has one, too" in said
    said = refused(f"{NOWHERE}&password={SECRET}", holdfast_password_file="/tmp/file")
    assert "holdfast_password_file" in said
    assert "argument password is given, too" in said


@pytest.mark.parametrize("name", ["password", "passwd"])
def test_a_password_among_the_drivers_arguments(name: str) -> None:
    assert f"argument {name} is given" in refused(connect_args={name: SECRET}, holdfast_password=ask)


def test_connections_that_sqlalchemy_does_not_make() -> None:
    said = refused(creator=lambda: sqlite3.connect(":memory:"), holdfast_password=ask)
    assert "holdfast_password has no effect with creator=" in said
    pool = NullPool(lambda: sqlite3.connect(":memory:"))  # type: ignore[arg-type]
    assert "has no effect with pool=" in refused(pool=pool, holdfast_password=ask)


@pytest.mark.parametrize("given", [SECRET, 5, [SECRET], b"zyxwvq", functools.partial(ask)()])
def test_a_password_in_place_of_a_function(given: Any) -> None:
    said = refused(holdfast_password=given)
    assert "takes a function, as a keyword argument" in said
    assert "holdfast_password_file" in said
    if isinstance(given, str):
        assert "takes a function" in refused(f"{NOWHERE}&holdfast_password={given}")


def test_a_function_that_is_defined_as_async() -> None:
    async def ask() -> str:
        return SECRET

    assert "not one that is defined as async" in refused(holdfast_password=ask)


@pytest.mark.parametrize("given", ["", " ", "echo 'zyxwvq", ["echo", 5], [], 5, b"echo", "echo\0zyxwvq"])
def test_what_is_no_command(given: Any) -> None:
    assert "holdfast_password_command takes a command line" in refused(holdfast_password_command=given)


@pytest.mark.parametrize("given", ["echo zyxwvq | rev", "a && b", "a > zyxwvq", "a ; b", "a 2>&1"])
def test_a_command_that_needs_a_shell(given: str) -> None:
    said = refused(holdfast_password_command=given)
    assert "only a shell understands" in said
    assert "sh -c" in said
    create_engine(NOWHERE, holdfast_password_command=["sh", "-c", given])


@pytest.mark.parametrize("given", ["relative", "", 5, b"/tmp/file"])
def test_a_file_is_an_absolute_path(given: Any) -> None:
    assert "the absolute path of a file" in refused(holdfast_password_file=given)
    engine = create_engine(NOWHERE, holdfast_password_file=Path("/tmp/file"))
    assert holdfast.status(engine).settings.password_file == "/tmp/file"


def test_two_different_ones_are_not_shown() -> None:
    said = refused(f"{NOWHERE}&holdfast_password_command=echo+{SECRET}", holdfast_password_command="echo 5")
    assert "given twice" in said


def test_a_url_cannot_have_a_function() -> None:
    with pytest.raises(SettingError, match="a URL is text"):
        holdfast.url("app", holdfast_password=ask)
    built = holdfast.url("app", holdfast_password_command=["cat", "/run/my secret"], driver="pymysql")
    engine = create_engine(built)
    assert holdfast.status(engine).settings.password_command == "cat '/run/my secret'"


def test_another_database_has_no_use_for_it() -> None:
    """One configuration for MySQL, and for SQLite in development."""
    engine = create_engine("sqlite://?plugin=holdfast", holdfast_password=ask)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 7")).scalar() == 7
