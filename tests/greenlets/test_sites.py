"""gunicorn's gevent workers and uWSGI's gevent loop, with each driver, against stock in the same run."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from sqlalchemy_holdfast.lab import LoadReport, Prefork, Question, Server, load

pytestmark = pytest.mark.slow

SITE = f"{Path(__file__).parent / 'sites' / 'bank.py'}:application"
KINDS = {
    "gunicorn": ("--worker-class=gevent",),
    "uwsgi": ("--gevent=50", "--gevent-monkey-patch", "--disable-logging"),
}
SECONDS = 3.0
CLIENTS = 12


@contextmanager
def serving(kind: str, url: URL) -> Iterator[Prefork]:
    site = Prefork(
        SITE,
        kind=kind,  # type: ignore[arg-type]
        workers=2,
        environment={"BANK_URL": url.render_as_string(hide_password=False)},
        options=KINDS[kind],
    )
    try:
        yield site.start()
    finally:
        site.kill()


def visit(site: Prefork, name: str) -> LoadReport:
    """Ask for as long as it takes; a third of the questions changes the row that all of them change."""
    until = time.monotonic() + SECONDS

    def questions() -> Iterator[Question]:
        for number in itertools.count():
            if time.monotonic() > until:
                return
            mine = f"{name}-{number}"
            yield Question(f"/{'read' if number % 3 else 'add'}/{mine}", mine)

    return load(site.url, questions(), clients=CLIENTS, timeout=15)


def urls(server: Server, driver: str) -> tuple[URL, URL]:
    stock = server.url(driver)
    if driver == "mysqlconnector":
        stock = stock.update_query_dict({"use_pure": "1"})
    return stock, stock.update_query_dict({"plugin": "holdfast"})


def entries(server: Server, name: str) -> int:
    found = server.execute(f"SELECT COUNT(*) FROM ledger WHERE name LIKE '{name}-%'", database="test")
    return int(found[0][0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_is_about_as_fast_as_without_and_never_wrong(bank: Server, driver: str, kind: str) -> None:
    stock, held = urls(bank, driver)
    with serving(kind, stock) as site:
        before = visit(site, "stock")
    with serving(kind, held) as site:
        report = visit(site, "held")
        log = site.log[-3000:]
    assert (report.wrong, report.errors, report.hangs) == (0, 0, 0), f"{report}\n{log}"
    print(f"\n{kind} {driver}: stock {before.right}, held {report.right}")
    assert report.right > before.right / 3, f"stock: {before}\nheld: {report}\n{log}"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_never_wrong_while_its_connections_are_killed(bank: Server, driver: str, kind: str) -> None:
    _, held = urls(bank, driver)
    over = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not over.wait(0.3):
            killed.append(bank.kill_connections("app"))

    killer = threading.Thread(target=kill)
    with serving(kind, held) as site:
        killer.start()
        try:
            report = visit(site, "killed")
        finally:
            over.set()
            killer.join()
        log = site.log[-3000:]
    print(f"\n{kind} {driver}: {report}")
    assert (report.wrong, report.hangs) == (0, 0), f"{report}\n{log}"
    assert report.errors <= sum(killed), f"no request but those whose connection was killed\n{report}\n{log}"
    assert report.right > report.errors, f"{report}\n{log}"
    (value,) = bank.execute("SELECT value FROM account WHERE id = 1", database="test")[0]
    assert int(value) == entries(bank, "killed"), "half of a unit was committed"
