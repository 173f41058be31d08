"""Running the page's site under a prefork server, with requests that come more seldom than the idle limit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy_holdfast.lab import Prefork, Question, Server, load

IDLE_LIMIT = 2
"""Seconds, for the 300 of the page."""
SITE = f"{Path(__file__).parent / 'sites' / 'guests.py'}:application"
USER, PASSWORD, DATABASE = "username", "secret", "username$guests"
BLOCKS = ("SQLAlchemy(app)", "init_app", "older", "sqlalchemy", "nothing")
"""The page's configuration blocks: pool_recycle in SQLALCHEMY_ENGINE_OPTIONS, initialised in both ways; in
SQLALCHEMY_POOL_RECYCLE; in create_engine; and not at all."""


def make_host(server: Server) -> None:
    server.create_database(DATABASE)
    server.create_account(USER, PASSWORD, databases=[DATABASE])
    server.execute("CREATE TABLE guests (token VARCHAR(80), KEY (token)) ENGINE=InnoDB", database=DATABASE)


def environment(server: Server, driver: str, block: str, **more: str) -> Mapping[str, str]:
    return {
        "DRIVER": driver,
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
        "HOSTNAME": f"{server.host}:{server.port}",
        "DATABASENAME": DATABASE,
        "BLOCK": block,
        "RECYCLE": "280",
        **more,
    }


@dataclass
class Visits:
    """What came of the requests to one site."""

    site: Prefork
    name: str
    sent: int = 0
    wrong: int = 0
    failed: int = 0
    signed: int = 0
    entries: int = 0

    @property
    def lost_or_doubled(self) -> int:
        return self.entries - self.signed


def visit(
    server: Server, sites: Iterable[Visits], *, bursts: int, size: int, clients: int = 4, timeout: float = 20
) -> None:
    """Send each site some bursts of requests, with pauses longer than the idle limit, and count what came of them."""
    sites = list(sites)
    for burst in range(bursts):
        for one in sites:
            questions: list[Question] = []
            answers: list[str] = []

            def signed(answer: str, answers: list[str] = answers) -> bool:
                answers.append(answer)
                return answer == "signed"

            for number in range(burst * size, (burst + 1) * size):
                if number % 2:
                    questions.append(Question(f"/sign/{one.name}-{number}", signed, method="POST"))
                else:
                    questions.append(Question(f"/number/{number}", str(number)))
            before = entries(server, one.name)
            report = load(one.site.url, questions, clients=clients, timeout=timeout)
            one.sent += report.sent
            one.wrong += report.wrong
            one.failed += report.errors + report.hangs
            one.signed += answers.count("signed")
            one.entries += entries(server, one.name) - before
        if burst + 1 < bursts:
            time.sleep(IDLE_LIMIT * 1.3)


def entries(server: Server, name: str) -> int:
    rows = server.execute("SELECT COUNT(*) FROM guests WHERE token LIKE %s", (f"{name}-%",), database=DATABASE)
    return int(rows[0][0])


def serve(
    stack: ExitStack, server: Server, driver: str, block: str, *, options: Sequence[str] = (), **more: str
) -> Visits:
    """Start a site.

    :param options: for uWSGI.
    :param more: for the site's environment.
    """
    name = f"{driver}-{block}".replace("(", "").replace(")", "") + "".join(f"-{key}" for key in more)
    site = Prefork(SITE, workers=4, environment=environment(server, driver, block, **more), options=options)
    stack.callback(site.kill)
    return Visits(site.start(), name)
