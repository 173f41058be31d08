"""`python -m tests.budget` prints what came of each case: more threads than connections, killed processes, restarts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import click

from sqlalchemy_holdfast.cli.tables import Cell, Table, make_console, show
from tests.budget import cases, cost
from tests.budget.cases import SHAPES, Seen
from tests.budget.host import REFUSALS, limited
from tests.conftest import DRIVERS


def _who(stock: bool) -> Iterator[tuple[str, bool]]:
    if stock:
        yield "stock", False
    yield "holdfast", True


def _failed(seen: Seen) -> Cell:
    return Cell(f"{len(seen.failed)} of {len(seen.outcomes)}", "bad" if seen.failed else "good")


def _server(seen: Seen) -> list[Cell | str]:
    return [
        f"{seen.most_used} of {seen.limit}",
        f"{seen.refused_at_first} + {seen.refused}",
        f"{seen.lost}/{seen.doubled}",
    ]


def limits(driver: str, requests: int, stock: bool, round_trip: float, chosen: tuple[str, ...]) -> Table:
    """Case 1."""
    table = Table(
        f"{driver}: 4 processes x 5 threads x pool 5 + 10 against a limit of 5 (10 for 1040), "
        f"{1000 * round_trip:g} ms away",
        (
            *("refused with", "site", "", "failed", "used", "refused", "lost/doubled"),
            *("most/least", "waits", "longest s", "ratio", "turns within"),
        ),
        labels=3,
        notes=[
            "used: the most connections at once; above the limit it counts those that were about to be refused",
            "refused: while the processes came up + afterwards",
            "most/least: requests served by the process that served most, against least; waits: the same of mean waits",
            "ratio: requests a second against stock tuned by hand to the limit, in turns; 8 of 10 turns within",
        ],
    )
    for kind, number in REFUSALS.items():
        if kind not in (chosen or REFUSALS):
            continue
        for shape in SHAPES:
            for name, held in _who(stock):
                found = cases.against_tuned(driver, requests, held=held, kind=kind, shape=shape, round_trip=round_trip)
                seen, ratios = found.seen, sorted(found.ratios)
                tenth = len(ratios) // 10
                table.add(
                    *(str(number), shape, name),
                    *(_failed(seen), *_server(seen)),
                    *(f"{seen.evenness:.2f}", f"{seen.wait_evenness:.2f}", f"{seen.longest_wait:.2f}"),
                    *(f"{found.ratio:.2f}", f"{ratios[tenth]:.2f} to {ratios[-1 - tenth]:.2f}"),
                )
                _note(table, f"{number}, {shape}, {name}", seen)
                if found.tuned.failed:
                    table.notes.append(f"tuned by hand, {number}, {shape}: {found.tuned.kinds}")
    return table


def crowded(driver: str, requests: int, stock: bool) -> Table:
    """Case 2."""
    table = Table(
        f"{driver}: 8 processes x 3 threads on 3 connections",
        ("", "failed", "used", "refused", "lost/doubled", "served by each process", "longest s"),
    )
    for name, held in _who(stock):
        seen = cases.many_on_few(driver, requests, held=held, processes=8, threads=3, limit=3)
        served = ", ".join(str(count) for count in sorted(seen.served.values()))
        table.add(name, _failed(seen), *_server(seen), served, f"{seen.longest_wait:.2f}")
        _note(table, name, seen)
    return table


def killed(driver: str, seconds: float, stock: bool) -> Table:
    """Case 3."""
    table = Table(
        f"{driver}: a process killed every 200 ms for {seconds:g} s; 4 processes x 3 threads, limit 5",
        ("", "kills", "failed", "taken along", "used", "refused", "lost/doubled", "longest s", "places left"),
        notes=[
            "taken along: requests that killed processes had begun; places left: connections one new process gets then"
        ],
    )
    for name, held in _who(stock):
        found = cases.killed(driver, seconds, held=held)
        seen = found.seen
        table.add(
            *(name, str(found.kills)),
            *(_failed(seen), str(found.unanswered), *_server(seen)),
            *(f"{seen.longest_wait:.2f}", f"{found.places} of {seen.limit}"),
        )
        _note(table, name, seen)
    return table


def restarted(driver: str, times: int, stock: bool, repeat: bool) -> Table:
    """Case 4."""
    table = Table(
        f"{driver}: the server away {times} times for 1 to 3 s; 4 processes x 3 threads, limit 5",
        ("server ended by", "", "failed", "cut off", "others", "lost/doubled", "unknown", "longest wait s"),
        labels=2,
        notes=[
            "cut off: failed requests that had their connection before the server was down; "
            "unknown: entries that are there though the client got an error",
            "stock has the pool that fits, 1 + 0 a process",
        ],
    )
    hows: tuple[cases.How, ...] = ("stop", "kill")
    for how in hows:
        for name, held in _who(stock):
            found = cases.restarted(driver, how, held=held, repeat=repeat and held, times=times)
            seen = found.seen
            table.add(
                *("SIGTERM" if how == "stop" else "SIGKILL", name),
                _failed(seen),
                *(str(len(found.cut_off)), Cell(str(len(found.others)), "bad" if found.others else "good")),
                *(f"{seen.lost}/{seen.doubled}", str(seen.unknown), f"{seen.longest_wait:.2f}"),
            )
            _note(table, f"{how}, {name}", seen)
    return table


def costs(driver: str) -> Table:
    """Case 6."""
    table = Table(f"{driver}: a checkout and its return", ("", "system calls", "us of CPU"))
    with limited() as host:
        calls = cost.system_calls_of(host, driver)
    times = cost.microseconds(driver)
    for name, spent in times.items():
        each = ", ".join(f"{count / 1000:g} {call}" for call, count in sorted(calls.get(name, {}).items()))
        table.add(name, each or "not counted", f"{spent:.1f}")
    return table


def _note(table: Table, row: str, seen: Seen) -> None:
    if seen.failed:
        table.notes.append(f"{row}: {seen.kinds}")
    if counted := +seen.counters:
        table.notes.append(f"{row}: {', '.join(f'{name} {count}' for name, count in counted.items())}")


@click.command()
@click.option("--driver", "drivers", multiple=True, type=click.Choice(DRIVERS), help="Default: each.")
@click.option(
    "--case",
    "chosen",
    multiple=True,
    type=click.Choice(["limits", "crowded", "killed", "restarted", "cost"]),
    help="Default: all.",
)
@click.option("--requests", default=20_000, show_default=True, help="Of limits and crowded, each site.")
@click.option("--seconds", default=60.0, show_default=True, help="Of killed.")
@click.option("--times", default=5, show_default=True, help="Of restarted.")
@click.option("--limit", "limit_kinds", multiple=True, type=click.Choice(list(REFUSALS)), help="Of limits.")
@click.option("--round-trip", default=0.0, show_default=True, help="Of limits: milliseconds to the server and back.")
@click.option("--stock", is_flag=True, help="Stock SQLAlchemy's row as well.")
@click.option("--run", "repeat", is_flag=True, help="restarted: holdfast's entries are made by holdfast.run.")
def main(
    drivers: tuple[str, ...],
    chosen: tuple[str, ...],
    requests: int,
    seconds: float,
    times: int,
    limit_kinds: tuple[str, ...],
    round_trip: float,
    stock: bool,
    repeat: bool,
) -> None:
    """Print what came of many requests on few connections."""
    console = make_console()
    console.width = 160
    tables: dict[str, Callable[[str], Table]] = {
        "limits": lambda driver: limits(driver, requests, stock, round_trip / 1000, limit_kinds),
        "crowded": lambda driver: crowded(driver, requests, stock),
        "killed": lambda driver: killed(driver, seconds, stock),
        "restarted": lambda driver: restarted(driver, times, stock, repeat),
        "cost": costs,
    }
    for driver in drivers or DRIVERS:
        for case in chosen or tables:
            begun = time.monotonic()
            show(console, tables[case](driver))
            console.print(f"[dim]  {time.monotonic() - begun:.0f} s[/dim]")


if __name__ == "__main__":
    main(prog_name="python -m tests.budget")
