"""A server that allows few connections, and what must be as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Proxy
from tests.budget.host import Host, limited


@pytest.fixture(scope="module")
def small() -> Iterator[Host]:
    """A server that allows the site's account three connections."""
    with limited("account", 3) as host, Proxy.for_server(host.server) as proxy:
        host.proxy = proxy
        yield host
