"""The tables that the demonstration shows; the benchmarks show some of them too."""

from __future__ import annotations

from collections.abc import Sequence

from ...experiments.lost import CAUSES, Lost
from ...experiments.out_of_sync import Answer
from ...experiments.prefork import Answers
from ...experiments.waits import UNITS, Unit, Waits
from ..tables import Cell, Table

__all__ = ["lost_tables", "out_of_sync_tables", "prefork_tables", "waits_tables"]


def lost_tables(rows: Sequence[Lost]) -> list[Table]:
    """Show failed of requests, by driver and cause."""
    names = list(dict.fromkeys(row.contender for row in rows))
    found = {(row.driver, row.cause, row.contender): row for row in rows}
    table = Table("", ("driver", "before each request", *names), labels=2)
    for driver in dict.fromkeys(row.driver for row in rows):
        for cause in CAUSES:
            sites = [found.get((driver, cause.key, name)) for name in names]
            table.add(driver, cause.title, *(_failed(site) for site in sites))
    everything = [[row for row in rows if row.contender == name] for name in names]
    table.add("in all", "", *(_failed(_sum(those)) for those in everything))
    if any(0 < row.failed < row.requests for row in rows):
        table.notes.append("A request that fails leaves no idle connection behind, so the next one may be served.")
    for name in names:
        table.notes += _about_entries([row for row in rows if row.contender == name], name)
    for name in names:
        stuck = [row for row in rows if row.contender == name and row.later_failed]
        for driver in dict.fromkeys(row.driver for row in stuck):
            those = [row for row in stuck if row.driver == driver]
            failed, requests = sum(row.later_failed for row in those), sum(row.later_requests for row in those)
            table.notes.append(
                f"{driver}, {name}: {failed} of {requests} requests afterwards failed as well, with nothing broken "
                f"any more ({those[0].errors[-1]})."
            )
    return [table]


def _sum(rows: Sequence[Lost]) -> Lost | None:
    if not rows:
        return None
    total = Lost("", "", rows[0].contender)
    for row in rows:
        total.requests += row.requests
        total.failed += row.failed
        total.wrong += row.wrong
    return total


def _failed(site: Lost | None) -> Cell:
    if site is None:
        return Cell("")
    bad = site.failed + site.wrong
    words = f"{site.failed} of {site.requests} failed" if site.failed else f"all {site.requests} served"
    return Cell(words, "bad" if bad else "good")


def _about_entries(rows: Sequence[Lost], name: str) -> list[str]:
    """Compare what visitors were told with the book, over all requests of a contender: the table has a part of them."""
    signed, entries = sum(row.signed for row in rows), sum(row.entries for row in rows)
    struck = sum(row.requests for row in rows)
    calm = sum(1 + row.later_requests for row in rows)  # one before the first fault, some after the last
    verdict = "" if signed == entries else ", which is NOT the same"
    wrong = sum(row.wrong for row in rows)
    return [
        f"{name}: of {struck + calm} requests ({struck} as above, {calm} with nothing broken, before and after) "
        f"{signed} were told that they signed the book, which has {entries} entries{verdict}; {wrong} wrong answers."
    ]


def waits_tables(rows: Sequence[Waits], units: Sequence[Unit] = UNITS) -> list[Table]:
    """Show commands and waits per unit, by driver and unit."""
    names = list(dict.fromkeys(row.contender for row in rows))
    found = {(row.driver, row.unit, row.contender): row for row in rows}
    title = "Commands sent / round trips waited for, per unit, back to back on one connection"
    table = Table(title, ("driver", "unit of work", *names), labels=2)
    for driver in dict.fromkeys(row.driver for row in rows):
        for unit in units:
            those = [found[driver, unit.key, name] for name in names if (driver, unit.key, name) in found]
            fewest = min((row.waits for row in those), default=0.0)
            cells = [
                Cell(f"{row.commands:.3g} / {row.waits:.1f}", "good" if row.waits < fewest + 0.25 else "plain")
                for row in those
            ]
            table.add(driver, unit.title, *cells)
    return [table]


def out_of_sync_tables(rows: Sequence[Answer]) -> list[Table]:
    """Show what each visitor was told, and what is true."""
    tables = []
    titles = {
        "book": "After {interrupted}, visitors book seats. What are they told?",
        "read": "After {interrupted}, visitors look up who has a seat. What are they shown?",
    }
    for story, title in titles.items():
        those = [row for row in rows if row.story == story]
        if not those:
            continue
        names = list(dict.fromkeys(row.contender for row in those))
        found = {(row.asked, row.contender): row for row in those}
        heading = title.format(interrupted=_interrupted(those[0].timeouts))
        table = Table(heading, ("seat", "in fact", *names), labels=2 + len(names))
        for asked in dict.fromkeys(row.asked for row in those):
            answers = [found[asked, name] for name in names]
            facts = " or ".join(dict.fromkeys(answer.truth for answer in answers))
            table.add(asked, facts, *(_told(answer) for answer in answers))
        tables.append(table)
    return tables


def _interrupted(timeouts: int) -> str:
    return "one interrupted job" if timeouts == 1 else f"{timeouts} interrupted jobs"


def _told(answer: Answer) -> Cell:
    if answer.outcome == "right":
        return Cell(answer.told, "good")
    if answer.outcome == "error":
        return Cell(answer.told.removeprefix("error: "), "bad")
    return Cell(f"{answer.told} (WRONG)", "bad")


_COMMANDS = {"uwsgi": "uWSGI", "gunicorn": "gunicorn --preload (uWSGI is not installed)"}


def prefork_tables(rows: Sequence[Answers]) -> list[Table]:
    """Show what the clients of forked workers were answered, by driver."""
    if not rows:
        return []
    names = list(dict.fromkeys(row.contender for row in rows))
    found = {(row.driver, row.contender): row for row in rows}
    table = Table("", ("driver", *names), labels=1 + len(names))
    for driver in dict.fromkeys(row.driver for row in rows):
        table.add(driver, *(_answered(found[driver, name]) for name in names))
    table.notes.append(f"Under {_COMMANDS[rows[0].kind]}. WRONG: status 200, and not the answer to what was asked.")
    example = next((row for row in rows if row.wrong_answer), None)
    if example is not None:
        table.notes.append(f"{example.driver}, {example.contender}: {example.wrong_answer}.")
    if any(row.lost for row in rows):
        table.notes.append(
            "An entry is lost when the client was told that it is written, and the ledger does not have it."
        )
    if any(row.hangs for row in rows):
        table.notes.append("A worker that hangs answers nobody any more; the clients gave up.")
    return [table]


def _answered(row: Answers) -> Cell:
    if not row.bad:
        return Cell(f"all {row.sent} right", "good")
    counts = {
        "WRONG": row.wrong,
        "failed": row.errors,
        "not answered": row.hangs,
        f"{'entry' if row.lost == 1 else 'entries'} lost": row.lost,
        f"{'entry' if row.doubled == 1 else 'entries'} doubled": row.doubled,
    }
    words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return Cell(f"of {row.sent}: {words}", "bad")
