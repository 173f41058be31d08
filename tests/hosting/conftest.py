"""The small host of the page: an account, its database username$guests, and an idle limit, scaled down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.hosting.host import IDLE_LIMIT, make_host


@pytest.fixture(scope="module")
def host() -> Iterator[Server]:
    with Server(options={"wait_timeout": IDLE_LIMIT, "interactive_timeout": IDLE_LIMIT}) as server:
        make_host(server)
        yield server
