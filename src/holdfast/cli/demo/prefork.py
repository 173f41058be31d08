"""A site that asked the database something while it was imported, under a prefork server: who gets whose answer?

The server imports the site once and forks its workers from that process, so all of them have the import's connection
and each believes it to be its own. Every client asks for a number of its own and knows the right answer; every other
one has a token entered into a table, which is counted afterwards.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

from holdfast.lab import LoadReport, Prefork, Question, Server, ServerNotFound, load

from .contenders import HOLDFAST, STOCK, Contender
from .stage import Stage

__all__ = [
    "CLIENTS",
    "KINDS",
    "SESSION_OPEN",
    "SITE",
    "VARIANTS",
    "WORKERS",
    "Answers",
    "Kind",
    "Visit",
    "available",
    "environment",
    "make_tables",
    "run",
    "visit",
]

Kind = Literal["uwsgi", "gunicorn"]
KINDS: tuple[Kind, ...] = ("uwsgi", "gunicorn")
SITE = f"{Path(__file__).parent / 'sites' / 'ledger.py'}:application"
WORKERS = 4
CLIENTS = 16

SESSION_OPEN = "session_open"
VARIANTS = {
    "session_closed": "session closed",
    SESSION_OPEN: "session left open",
    "context_pushed": "application context left pushed",
    "connection_open": "connection held open",
    "uncommitted": "a write left uncommitted",
}
"""What the import leaves behind: the site's word for it, and ours."""

_PAGES = 4000
_IMPORT = "import"
"""The token that the import of ``uncommitted`` enters."""
_REQUESTS, _QUICK_REQUESTS = 600, 300
_TIMEOUT, _LIMIT = 1.5, 3.0


@dataclass(frozen=True)
class Visit:
    """What came of many requests at once, each with an answer of its own."""

    report: LoadReport
    lost: int
    """Entries that a client was told are written, and are not in the table."""
    doubled: int
    """Entries that are in the table more than once."""

    @property
    def figures(self) -> tuple[int, int, int, int, int]:
        """Wrong answers, errors, hangs, lost and doubled entries."""
        return self.report.wrong, self.report.errors, self.report.hangs, self.lost, self.doubled


@dataclass(frozen=True)
class Answers:
    """What one site answered."""

    driver: str
    kind: Kind
    """The prefork server."""
    variant: str
    """What the import left behind."""
    contender: str
    sent: int
    right: int
    wrong: int
    """Answered with status 200, and with somebody else's answer."""
    errors: int
    """Answered with another status, or cut off."""
    hangs: int
    """Not answered in time."""
    lost: int
    doubled: int
    import_committed: bool
    """What the import had written and not committed was in the table when the server had stopped."""
    example: str
    """The first answer that was not right."""

    @property
    def bad(self) -> int:
        """How many things were not as they should be."""
        return self.wrong + self.errors + self.hangs + self.lost + self.doubled + self.import_committed


def available() -> Kind | None:
    """Return the prefork server to use: uWSGI, else gunicorn, else ``None``."""
    for kind in KINDS:
        try:
            Prefork(SITE, kind=kind)
        except ServerNotFound:
            continue
        return kind
    return None


def make_tables(server: Server) -> None:
    """Make the site's tables: the pages, and an empty ledger in which nothing keeps a token from being twice."""
    for sql in (
        "DROP TABLE IF EXISTS ledger, page",
        "CREATE TABLE ledger (id INT PRIMARY KEY AUTO_INCREMENT, token VARCHAR(40) NOT NULL, KEY (token))",
        "CREATE TABLE page (id INT PRIMARY KEY, words VARCHAR(40) NOT NULL)",
        f"INSERT INTO page VALUES {', '.join(f'({n}, {_words(n)!r})' for n in range(1, _PAGES + 1))}",
    ):
        server.execute(sql, database="test")


def _words(number: int) -> str:
    return f"page {number}"


def environment(url: URL, variant: str) -> Mapping[str, str]:
    """Return what the site has to be told."""
    return {"LEDGER_URL": url.render_as_string(hide_password=False), "LEDGER_LEAVES": variant}


def visit(
    site: str, server: Server, requests: int, *, timeout: float = 20.0, limit: float = 60.0, name: str = "v"
) -> Visit:
    """Ask a site so many questions, 16 at a time, and look into the ledger.

    :param timeout: seconds that one request may take.
    :param limit: seconds after which no further question is asked.
    :param name: begins the tokens; no two visits of the same tables may have the same.
    """
    thanked: set[str] = set()
    deadline = time.monotonic() + limit

    def questions() -> Iterator[Question]:
        for n in range(1, requests + 1):
            if time.monotonic() > deadline:
                return
            number = (n - 1) % _PAGES + 1
            yield _write(number, f"{name}-{n}", thanked) if n % 2 else Question(f"/read/{number}", _told(number))

    report = load(site, questions(), clients=CLIENTS, timeout=timeout)
    rows = Counter(token for (token,) in server.execute("SELECT token FROM ledger", database="test"))
    mine = {token: count for token, count in rows.items() if token.startswith(f"{name}-")}
    return Visit(report, len(thanked - mine.keys()), sum(count > 1 for count in mine.values()))


def _told(number: int) -> str:
    return f"{number} {_words(number)}"


def _write(number: int, token: str, thanked: set[str]) -> Question:
    def is_right(text: str) -> bool:
        if text.endswith(" written"):
            thanked.add(token)
        return text == f"{_told(number)} written"

    return Question(f"/write/{number}/{token}", is_right, method="POST")


def import_committed(server: Server) -> bool:
    """Say whether the ledger has what the import wrote and did not commit."""
    return bool(server.execute("SELECT 1 FROM ledger WHERE token = %s", (_IMPORT,), database="test"))


def run(
    stage: Stage,
    contenders: Sequence[Contender] = (STOCK, HOLDFAST),
    *,
    variants: Sequence[str] = (SESSION_OPEN,),
    kinds: Sequence[Kind] | None = None,
    requests: Mapping[str, int] | None = None,
) -> list[Answers]:
    """Visit every site. Without a prefork server nothing is run.

    :param kinds: the prefork servers; by default the one that is :func:`available`.
    :param requests: how many each contender gets.
    """
    if kinds is None:
        kind = available()
        kinds = (kind,) if kind is not None else ()
    stage.let_connections_idle()
    rows = []
    for kind in kinds:
        for variant in variants:
            for driver in stage.drivers:
                for contender in contenders:
                    stage.say(f"{kind}, {VARIANTS[variant]}: {driver}, {contender.name}")
                    count = (requests or {}).get(contender.name) or stage.rounds(_REQUESTS, _QUICK_REQUESTS)
                    rows.append(_answers(stage.server, kind, variant, driver, contender, count))
    return rows


def _answers(server: Server, kind: Kind, variant: str, driver: str, contender: Contender, requests: int) -> Answers:
    make_tables(server)
    url = contender.url(server.url(driver))
    site = Prefork(SITE, kind=kind, workers=WORKERS, environment=environment(url, variant))
    patient = contender is HOLDFAST
    try:
        site.start()
        seen = visit(site.url, server, requests, timeout=20 if patient else _TIMEOUT, limit=60 if patient else _LIMIT)
    finally:
        site.kill()  # uWSGI takes a second to stop, and what hangs does not
    report = seen.report
    return Answers(
        driver,
        kind,
        variant,
        contender.name,
        report.sent,
        report.right,
        report.wrong,
        report.errors,
        report.hangs,
        seen.lost,
        seen.doubled,
        import_committed(server),
        str(report.examples[0]) if report.examples else "",
    )
