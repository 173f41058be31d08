"""Sharing costs nothing where nobody waits: a process within its share makes no system call for it."""

from __future__ import annotations

import shutil

import pytest

from tests.budget.cost import system_calls_of
from tests.budget.host import Host

pytestmark = pytest.mark.slow

COUNT = 1000


@pytest.mark.skipif(shutil.which("strace") is None, reason="system calls are counted with strace")
def test_a_checkout_within_the_share_makes_no_system_call_more(small: Host, driver: str) -> None:
    calls = system_calls_of(small, driver, COUNT)
    on, off = calls["budget on"], calls["budget off"]
    assert on["poll"] == off["poll"] == 2 * COUNT, "looked at when handed out and when returned"
    # Every 50 ms it is looked at whether others wait, and whether the file is still there; strace makes that often.
    assert on.total() - off.total() < COUNT / 20, f"{on}\n{off}"
