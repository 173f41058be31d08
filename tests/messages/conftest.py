"""Servers for messages, and what an engine says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD, EngineFactory
from tests.messages.cases import SECRET, Case
from tests.urls.helpers import assert_kept_secret, said

Message = Callable[..., str]


@pytest.fixture(scope="session")
def plain_mysql() -> Iterator[Server]:
    """Oracle's MySQL without TLS, for itself: accounts are made and plugins changed."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD) as server:
        yield server


@pytest.fixture(scope="session")
def plain_mariadb() -> Iterator[Server]:
    """MariaDB without TLS, for itself."""
    with Server() as server:
        yield server


def prepared(server: Server, case: Case) -> Server:
    for sql in case.sql:
        server.execute(sql)
    return server


def check(case: Case, message: str) -> None:
    """Compare a message with what its case says of it."""
    words = " ".join(message.split())
    for sentence in case.sentences:
        assert sentence in words, f"not said: {sentence}\n{message}"
    for sentence in case.never:
        assert sentence not in words, f"said: {sentence}\n{message}"
    assert f"{page(case.page)})" in words, message
    assert any(str(number) in words for number in case.numbers)


@pytest.fixture
def message(held: EngineFactory) -> Message:
    """What is said when a URL cannot be connected to. It has no piece of the password."""

    def connect(url: URL, **options: object) -> str:
        engine = held(url, **options)
        with pytest.raises(DBAPIError) as caught:
            engine.connect()
        assert_kept_secret(SECRET, *said(caught.value))
        return str(caught.value)

    return connect
