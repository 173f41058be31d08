"""Sites that asked the database something while they were imported, under real prefork servers.

Each client asks for its own number and knows the answer; the ledger is counted afterwards. The site is that of the
demonstration: with stock SQLAlchemy it gives wrong answers, see the last test, ``make demo`` and ``make bench``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sqlalchemy_holdfast.experiments import prefork
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, STOCK, Contender
from sqlalchemy_holdfast.experiments.prefork import KINDS, VARIANTS, WORKERS, Kind, Visit
from sqlalchemy_holdfast.lab import Prefork, Question, Server, load

pytestmark = pytest.mark.slow

REQUESTS = 2000 if os.environ.get("HOLDFAST_CHAOS") else 400
LATE_HOOK = f"{Path(__file__).parent / 'sites' / 'late_hook.py'}:application"
IN_A_TRANSACTION = set(VARIANTS) - {"session_closed"}
RIGHT = (0, 0, 0, 0, 0)
"""Wrong answers, errors, hangs, lost and doubled entries."""


@pytest.fixture(scope="module")
def tables(server: Server) -> Iterator[Server]:
    """The shared server, with the site's tables."""
    prefork.make_tables(server)
    yield server
    server.execute("DROP TABLE ledger, page", database="test")


@contextmanager
def serving(
    server: Server,
    driver: str,
    kind: Kind,
    variant: str,
    contender: Contender = HOLDFAST,
    app: str = prefork.SITE,
    in_order: bool = False,
) -> Iterator[Prefork]:
    """Serve the site. Stopping uWSGI in order takes a second; killing it does not."""
    environment = prefork.environment(contender.url(server.url(driver)), variant)
    options = ["--disable-logging"] if kind == "uwsgi" else []
    site = Prefork(app, kind=kind, workers=WORKERS, environment=environment, options=options)
    try:
        yield site.start()
        if in_order:
            assert site.stop(), site.log
    finally:
        site.kill()


def visit(site: Prefork, server: Server, name: str, requests: int = REQUESTS) -> Visit:
    """Visit a site; the name is part of what is entered, and no other test's."""
    seen = prefork.visit(site.url, server, requests, name=name)
    assert seen.report.sent == requests
    return seen


def assert_right(seen: Visit, site: Prefork, variant: str) -> None:
    """Nothing is wrong, lost or doubled, and nothing fails, with one exception: where the import has left a write in
    the session, a worker's first request is a part of that transaction, which it cannot commit."""
    if variant != "uncommitted":
        assert seen.figures == RIGHT, words(seen, site)
        return
    assert (seen.report.wrong, seen.report.hangs, seen.lost, seen.doubled) == RIGHT[1:], words(seen, site)
    assert seen.report.errors <= WORKERS, words(seen, site)
    assert all("parent process began this transaction" in failure.text for failure in seen.report.examples)


def words(seen: Visit, site: Prefork) -> str:
    """What to say when it was not right."""
    return f"{seen}\n{site.log[-4000:]}"


def who(site: Prefork, workers: int = WORKERS) -> tuple[dict[int, set[int]], int]:
    """Ask until so many workers have answered: the connections of each, and that of the import."""
    connections: dict[int, set[int]] = {}
    imported_on: set[int] = set()

    def keep(text: str) -> bool:
        pid, own, parents = map(int, text.split())
        connections.setdefault(pid, set()).add(own)
        imported_on.add(parents)
        return True

    deadline = time.monotonic() + 60
    while len(connections) < workers and time.monotonic() < deadline:
        report = load(site.url, [Question("/who", keep)] * 40, clients=prefork.CLIENTS)
        assert report.right == report.sent, report
    assert len(connections) >= workers, f"only {sorted(connections)} ever answered"
    assert len(imported_on) == 1
    return connections, imported_on.pop()


def transactions(server: Server) -> set[int]:
    """The connections that have a transaction open which did something."""
    return {id for (id,) in server.execute("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")}


def import_goes_on(site: Prefork, server: Server, variant: str) -> bool:
    """Say whether the master's connection is there, with its transaction if it was left in one."""
    _, imported_on = who(site, workers=1)
    if imported_on not in {process.id for process in server.processlist()}:
        return False
    return variant not in IN_A_TRANSACTION or imported_on in transactions(server)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_client_gets_its_own_answer_and_every_entry_is_made_once(
    tables: Server, driver: str, kind: Kind, variant: str
) -> None:
    with serving(tables, driver, kind, variant, in_order=variant == "uncommitted") as site:
        seen = visit(site, tables, f"{kind}-{variant}-{driver}")
        assert_right(seen, site, variant)
        assert import_goes_on(site, tables, variant), "the master's transaction belongs to the master"
        assert not prefork.import_committed(tables)
    assert not prefork.import_committed(tables), "what nobody committed is not there when everything has ended"
    assert variant == "uncommitted" or "Traceback" not in site.log
    warnings = site.log.count("not part of this process's transaction")
    assert warnings == (WORKERS if variant == "uncommitted" else 0), site.log


@pytest.mark.parametrize("variant", VARIANTS)
def test_where_uwsgis_hook_was_overwritten_the_process_id_is_enough(tables: Server, driver: str, variant: str) -> None:
    with serving(tables, driver, "uwsgi", variant, app=LATE_HOOK) as site:
        assert "overwritten: sqlalchemy_holdfast.fork" in site.log
        seen = visit(site, tables, f"late-{variant}-{driver}", 200)
        assert_right(seen, site, variant)
        assert import_goes_on(site, tables, variant)
    assert not prefork.import_committed(tables)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_processes_share_a_connection_and_a_killed_workers_place_is_taken(
    tables: Server, driver: str, kind: Kind
) -> None:
    with serving(tables, driver, kind, "session_open") as site:
        before, imported_on = who(site)
        assert_not_shared(before, imported_on)
        killed = site.workers[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in site.workers and len(site.workers) == WORKERS)
        after, still_imported_on = who(site)
        assert still_imported_on == imported_on
        assert killed in before
        assert killed not in after
        assert_not_shared(after, imported_on)
        seen = visit(site, tables, f"killed-{kind}-{driver}", 100)
        assert seen.figures == RIGHT, words(seen, site)
        assert import_goes_on(site, tables, "session_open")


def assert_not_shared(connections: dict[int, set[int]], imported_on: int) -> None:
    every = [id for own in connections.values() for id in own]
    assert len(every) == len(set(every)), connections
    assert imported_on not in every


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_with_stock_sqlalchemy_clients_get_each_others_answers(tables: Server) -> None:
    """What all of this is about, and that these tests would see it. A matter of chance: most starts show it."""
    for attempt in range(15):
        for driver in ("mysqldb", "pymysql"):
            with serving(tables, driver, "uwsgi", "session_open", STOCK) as site:
                seen = prefork.visit(site.url, tables, 100, timeout=1, limit=3, name=f"stock-{attempt}-{driver}")
            if seen.report.wrong:
                assert seen.report.statuses[200] >= seen.report.wrong
                return
    pytest.fail("no wrong answer was seen")
