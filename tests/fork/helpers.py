"""What tests of a child share: rows of the ledger, the clear error, and which sessions the server has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sqlalchemy_holdfast.lab import Server
from tests.fork.parents import TABLE, Parent


def insert(connection: Any, number: int) -> None:
    connection.execute(text(f"INSERT INTO {TABLE} VALUES ({number}, 9)"))


def refused(function: Callable[[], object], parent_pid: int) -> str:
    """Call something that must fail clearly; return the error's text."""
    with pytest.raises(OperationalError) as caught:
        function()
    message = str(caught.value)
    assert "2006" in message
    assert str(parent_pid) in message, "the parent's process id helps to find it"
    assert str(os.getpid()) in message
    return message


def listed(server: Server, ids: set[int]) -> set[int]:
    """Which of these sessions the server has, after a moment in which it may notice that some ended."""
    deadline = time.monotonic() + 60
    while True:
        left = {process.id for process in server.processlist()} & ids
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def outside(one: Parent, number: int) -> int:
    with one.outside.connect() as connection:
        sql = f"SELECT COUNT(*) FROM {TABLE} WHERE id = {number}"
        return int(connection.execute(text(sql)).scalar_one())
