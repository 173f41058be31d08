"""The same requests through a prefork web server: forked workers of some threads each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Prefork, Question, load
from tests.budget.request import Outcome

TOP = Path(__file__).resolve().parents[2]
APPLICATION = "tests.budget.sites.served:application"


class Served:
    """A site under uWSGI.

    :param import_asks: the site asks the database something at import, and the master keeps that connection.
    """

    def __init__(
        self,
        url: URL,
        *,
        processes: int = 4,
        threads: int = 5,
        options: Mapping[str, Any] | None = None,
        import_asks: bool = False,
    ) -> None:
        environment = {
            "LIMITED_URL": url.render_as_string(hide_password=False),
            "LIMITED_OPTIONS": json.dumps(dict(options or {})),
            "LIMITED_IMPORT": "1" if import_asks else "",
        }
        self.counters: dict[int, dict[str, int]] = {}
        self.processes = processes
        self.clients = processes * threads
        self.site = Prefork(
            APPLICATION,
            workers=processes,
            directory=TOP,
            environment=environment,
            options=["--disable-logging", "--enable-threads", f"--threads={threads}"],
        )

    def __enter__(self) -> Served:
        self.site.start()
        return self

    def ask(self, numbers: Iterable[int]) -> list[Outcome]:
        """Have requests served, and return what came of them; a request without an answer is a failed one."""
        outcomes: list[Outcome] = []

        def keep(answer: str) -> bool:
            outcomes.append(Outcome.of_line(answer))
            return True

        questions = (Question(f"/{number}", keep) for number in numbers)
        report = load(self.site.url, questions, clients=self.clients, timeout=60)
        for failure in report.examples:
            outcomes.append(Outcome(int(failure.question.path[1:]), 0, failed=failure.kind, words=str(failure)[:300]))
        assert len(outcomes) == report.sent or len(report.examples) == 10, f"{report}\n{self.site.log[-2000:]}"
        return outcomes

    def finish(self) -> list[Outcome]:
        """Ask the processes for their counters, until every one has answered, and end the site."""

        def keep(answer: str) -> bool:
            found = json.loads(answer)
            self.counters[found["pid"]] = found["counters"]
            return True

        for _ in range(20):
            load(self.site.url, [Question("/counters", keep)] * self.clients, clients=self.clients)
            if len(self.counters) == self.processes:
                break
        self.site.kill()
        return []

    def __exit__(self, *about: object) -> None:
        self.site.kill()
