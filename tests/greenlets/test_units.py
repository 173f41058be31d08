"""gevent and eventlet in one process: whatever was patched when, a unit of work is not left in its middle.

Each test runs a program of its own (``program.py``), for a process is patched once and for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Proxy, Server

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[2]
LIBRARIES = ("gevent", "eventlet")
ORDERS = (
    ("gevent", "first"),
    ("gevent", "after the import"),
    ("gevent", "after the engine"),
    ("eventlet", "first"),
    ("eventlet", "after the import"),  # later, it breaks the locks of SQLAlchemy's pool
)
library = pytest.mark.parametrize("library", LIBRARIES)


def program(url: URL, **given: Any) -> subprocess.Popen[str]:
    if url.get_driver_name() == "mysqlconnector":
        url = url.update_query_dict({"use_pure": "1"})
    given = {"greenlets": 5, "each": 20, "seconds": 30, "patched": "first", **given}
    given["options"] = {"holdfast_budget": "off", **given.get("options", {})}  # others use the same account
    given["url"] = url.update_query_dict({"plugin": "holdfast"}).render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.greenlets.program", json.dumps(given)],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(running: subprocess.Popen[str], seconds: float = 60) -> dict[str, Any]:
    try:
        output, errors = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        raise
    assert running.returncode == 0, errors
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


@pytest.mark.parametrize(("library", "patched"), ORDERS)
def test_greenlets_that_change_one_row_all_come_through(bank: Server, driver: str, library: str, patched: str) -> None:
    """A look that switched to another greenlet with the row locked let a driver in C wait for that lock for ever."""
    if driver != "mysqldb" and patched == "after the engine":
        pytest.skip("the sockets that were open before the process was patched block as before")
    found = outcome(program(bank.url(driver), library=library, patched=patched, what="units"))
    assert (found["done"], found["outcomes"]) == (5, {"right": 100}), found["outcomes"]
    ((value,),) = bank.execute("SELECT value FROM account WHERE id = 1", database="test")
    assert int(value) == 100


@library
def test_a_unit_that_is_cut_short_anywhere_leaves_nothing_to_the_next(bank: Server, driver: str, library: str) -> None:
    running = program(bank.url(driver), library=library, what="timeouts", greenlets=20, each=15, seconds=60)
    found = outcome(running, 90)
    outcomes = found["outcomes"]
    assert found["done"] == 20, outcomes
    assert "wrong" not in outcomes
    assert outcomes["right"] > 100
    assert outcomes.get("cut", 0) > 0 or driver == "mysqldb", "what blocks the process is not cut short"
    # mysql-connector takes whatever is raised while it puts parameters into a statement for a wrong parameter, and
    # what is raised while it opens a socket for an error of its own, with the text that it had: none.
    its_own = ("error ProgrammingError Failed processing pyformat-parameters", "error InterfaceError Unknown error")
    assert not [text for text in outcomes if text.startswith("error") and not text.startswith(its_own)], outcomes
    kept = {str(name) for (name,) in bank.execute("SELECT name FROM ledger", database="test")}
    ((value,),) = bank.execute("SELECT value FROM account WHERE id = 1", database="test")
    assert set(found["acknowledged"]) <= kept <= set(found["tried"])
    assert int(value) == len(kept), "half of a unit was committed"


@library
def test_a_connection_that_was_closed_is_seen_to_be(bank: Server, driver: str, library: str) -> None:
    """eventlet takes select.poll away, gevent's does not know that the other side has hung up."""
    settings = {"holdfast_probe_after_idle": "off"}
    running = program(bank.url(driver, query=settings), library=library, what="probes", greenlets=1)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    bank.kill_connections("app")
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()
    found = outcome(running)
    assert not [text for text in found["outcomes"] if text.startswith("error")], found["outcomes"]
    assert found["replaced"] == {"closed by the server": 1}


@library
def test_a_probe_lets_the_other_greenlets_go_on(bank: Server, driver: str, library: str) -> None:
    with Proxy.for_server(bank) as proxy:
        settings = {"holdfast_probe_after_idle": "0", "holdfast_probe_timeout": "1"}
        url = bank.url(driver, host=proxy.host, port=proxy.port, query=settings)
        running = program(url, library=library, what="probes", greenlets=1)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        proxy.lose_packets()
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()
        found = outcome(running)
    assert found["replaced"] == {"silent": 1}
    assert found["outcomes"]["ticks"] > 20, found
    assert found["outcomes"]["longest gap, ms"] < 900, found


FEW = {
    "slots of the budget": {"holdfast_budget": 2},
    "slots, and no pool": {"holdfast_budget": 2, "pool_size": 0},
    "places in the pool": {"pool_size": 2},
}


@pytest.mark.parametrize("few", FEW)
@pytest.mark.parametrize(("library", "patched"), [("gevent", "after the engine"), ("eventlet", "first")])
def test_greenlets_that_wait_for_a_connection_let_those_who_have_one_go_on(
    bank: Server, driver: str, library: str, patched: str, few: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {**FEW[few]}
    if "holdfast_budget" in options:
        options["holdfast_budget_directory"] = str(tmp_path)
    if options.get("pool_size") != 0:
        options["pool_timeout"] = 20
    given = {"library": library, "patched": patched, "what": "waits", "greenlets": 8, "each": 5}
    found = outcome(program(bank.url(driver), **given, options=options))
    assert (found["done"], found["outcomes"]) == (8, {"right": 40}), found["outcomes"]
    assert found["seconds"] < 15
    assert not found["slots"], "slots of connections that nobody has"


@pytest.mark.parametrize(("library", "patched"), ORDERS)
def test_a_unit_that_pauses_before_it_is_begun_again_lets_the_others_go_on(
    bank: Server, library: str, patched: str
) -> None:
    given = {"library": library, "patched": patched, "what": "pauses", "greenlets": 1, "each": 6}
    found = outcome(program(bank.url("mysqldb"), **given))
    assert found["done"] == 1
    assert found["outcomes"].get("ticks", 0) >= 3, found
