"""Under real web servers: what needs no database is answered while the database is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from sqlalchemy_holdfast.lab import Server
from tests.outages.visitors import Visits, come
from tests.outages.web import uvicorn, uwsgi

AWAY = 3.0
RATES = {"/number/1": 20.0, "/static/style.css": 10.0, "/health": 10.0}
Web = Callable[..., AbstractContextManager[str]]
WEB: dict[str, tuple[Web, int]] = {
    "uWSGI with 2 processes of 4 threads": (lambda url, **rest: uwsgi(url, processes=2, threads=4, **rest), 6),
    "uWSGI with 1 process of 2 threads": (lambda url, **rest: uwsgi(url, processes=1, threads=2, **rest), 1),
    "FastAPI under uvicorn": (uvicorn, 30),
}
"""The web server, and how many of its threads may wait."""


def visits_while_away(web: Web, **environment: str) -> Visits:
    """Kill the server, start it again, and return the visits of the time in which it was away."""
    with Server() as server:
        url = server.url("pymysql").render_as_string(hide_password=False)
        times = [0.0, 0.0]

        def act() -> None:
            time.sleep(0.5)
            times[0] = time.monotonic()
            server.kill()
            time.sleep(AWAY)
            times[1] = time.monotonic()
            server.start()
            time.sleep(0.5)

        with web(url, **environment) as site:
            return come(site, RATES, act).between(*times)


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("name", WEB)
def test_what_needs_no_database_is_answered_and_a_few_pages_wait_for_it(name: str) -> None:
    web, may_wait = WEB[name]
    visits = visits_while_away(web)
    others, pages = visits.of("/static", "/health"), visits.of("/number")
    assert set(others.statuses) == {200}, str(others)
    assert others.longest < AWAY / 2, "it did not wait for the database, as busy as this machine may be"
    waited = [page for page in pages.all if page.status == 200 and page.seconds > AWAY / 2]
    assert 1 <= len(waited) <= may_wait, str(pages)
    turned_away = [page for page in pages.all if page.status == 503]
    assert len(turned_away) > len(pages.all) / 4, str(pages)
    assert all(int(page.retry_after or 0) >= 1 for page in turned_away)


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_without_the_limit_everything_waits_in_the_same_harness() -> None:
    web, _ = WEB["uWSGI with 1 process of 2 threads"]
    visits = visits_while_away(web, WAIT_ALL="1")
    assert visits.of("/static", "/health").longest > AWAY / 2
