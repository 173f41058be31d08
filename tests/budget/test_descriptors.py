"""Descriptors do not grow with the accounts that a process has ever used."""

from __future__ import annotations

import gc
import os

from sqlalchemy import create_engine

from sqlalchemy_holdfast.lab import Server
from tests.conftest import read


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_file_of_an_account_is_closed_with_its_last_engine(driver: str) -> None:
    with Server(options={"max_connections": 20}) as server:
        for number in range(8):
            server.create_account(f"tenant{number}", "secret")
        query = {"plugin": "holdfast", **({"use_pure": "1"} if driver == "mysqlconnector" else {})}
        first = create_engine(server.url(driver, query=query))
        read(first)  # opens what a process opens once, whoever's test comes first
        first.dispose()
        del first
        gc.collect()
        before = descriptors()
        for number in range(8):
            url = server.url(driver, user=f"tenant{number}", password="secret", query=query)
            one, other = create_engine(url), create_engine(url)
            assert (read(one, 1), read(other, 2)) == (1, 2)
            one.dispose()
            other.dispose()
            del one
            gc.collect()
            assert descriptors() == before + 1, "the other engine may go on"
            assert read(other, 3) == 3
            del other
            gc.collect()
            assert descriptors() == before
