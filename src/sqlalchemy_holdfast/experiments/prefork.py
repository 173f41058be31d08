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

from sqlalchemy_holdfast.lab import LoadReport, Prefork, Question, Server, ServerNotFound, load

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
    "context_pushed": "context left pushed",
    "connection_open": "connection held open",
    "uncommitted": "uncommitted write",
}
"""What the import leaves behind: the site's word for it, and ours."""

_PAGES = 4000
_IMPORT = "import"
"""The token that the import of ``uncommitted`` enters."""
_STARTS, _QUICK_STARTS = 4, 2
_REQUESTS, _QUICK_REQUESTS = 200, 100
_TIMEOUT, _LIMIT = 1.0, 1.5
"""Seconds that a client waits for a site which may hang, and after which nobody asks it any more."""
_PATIENT = 20.0
"""The same for holdfast's, which must not hang however busy the machine is."""


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


@dataclass
class Answers:
    """What one site answered, over all its starts."""

    driver: str
    kind: Kind
    """The prefork server."""
    variant: str
    """What the import left behind."""
    contender: str
    sent: int = 0
    right: int = 0
    wrong: int = 0
    """Answered with status 200, and with somebody else's answer."""
    errors: int = 0
    """Answered with another status, or cut off."""
    hangs: int = 0
    """Not answered in time."""
    lost: int = 0
    doubled: int = 0
    import_committed: int = 0
    """How often what the import had written and not committed was in the table after all."""
    wrong_answer: str = ""
    """The first of the wrong answers, in words."""

    @property
    def bad(self) -> int:
        """How many things were not as they should be."""
        return self.wrong + self.errors + self.hangs + self.lost + self.doubled + self.import_committed

    def add(self, seen: Visit, import_committed: bool) -> None:
        """Add what came of one start."""
        report = seen.report
        self.sent += report.sent
        self.right += report.right
        self.wrong += report.wrong
        self.errors += report.errors
        self.hangs += report.hangs
        self.lost += seen.lost
        self.doubled += seen.doubled
        self.import_committed += import_committed
        wrong = next((failure for failure in report.examples if failure.kind == "wrong"), None)
        if wrong is not None and not self.wrong_answer:
            number = wrong.question.path.split("/")[2]
            self.wrong_answer = f"a client asked for number {number} and was told {wrong.text!r}"


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
        "CREATE TABLE ledger (id INT PRIMARY KEY AUTO_INCREMENT, token VARCHAR(80) NOT NULL, KEY (token))",
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
    site: str, server: Server, requests: int, *, timeout: float = _PATIENT, limit: float = _PATIENT, name: str = "v"
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
    starts: int | None = None,
) -> list[Answers]:
    """Visit every site. Without a prefork server nothing is run.

    :param kinds: the prefork servers; by default the one that is :func:`available`.
    :param requests: how many each contender gets at each start.
    :param starts: how often each site is started. Stock's shared connection breaks after a few requests and is then
        replaced, so most of what goes wrong goes wrong right after a start.
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
                    row = Answers(driver, kind, variant, contender.name)
                    count = (requests or {}).get(contender.name, stage.rounds(_REQUESTS, _QUICK_REQUESTS))
                    for _ in range(starts or stage.rounds(_STARTS, _QUICK_STARTS)):
                        _start(stage.server, contender, count, row)
                    rows.append(row)
    return rows


def _start(server: Server, contender: Contender, requests: int, row: Answers) -> None:
    make_tables(server)
    url = contender.url(server.url(row.driver))
    site = Prefork(SITE, kind=row.kind, workers=WORKERS, environment=environment(url, row.variant))
    timeout, limit = (_TIMEOUT, _LIMIT) if contender is not HOLDFAST else (_PATIENT, _PATIENT)
    try:
        site.start()
        seen = visit(site.url, server, requests, timeout=timeout, limit=limit)
    finally:
        site.kill()  # uWSGI takes a second to stop, and what hangs does not
    row.add(seen, import_committed(server))
