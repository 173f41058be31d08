"""``holdfast demo``: plays the parts one after another and shows each as soon as it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sqlalchemy_holdfast.lab import LabError, Server

from ...experiments.contenders import HOLDFAST, installed_drivers, missing_drivers
from ...experiments.stage import IDLE_LIMIT, Stage
from ...experiments.surroundings import Surroundings, look_around
from ..tables import indented, make_console, show
from .parts import PARTS, Part

__all__ = ["demo"]

_INTERRUPTED = 130


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds: about a third of the time.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Also write all results to FILE.",
)
def demo(quick: bool, json_file: Path | None) -> None:
    """Break connections in front of you, without and with holdfast.

    Everything happens on this machine, on a private database server that is thrown away at the end. Takes a minute
    or two. The exit status is 1 when holdfast failed a request or gave a wrong answer.
    """
    console = make_console()
    try:
        results = _play(console, quick)
    except KeyboardInterrupt:
        console.print("\nInterrupted; the private server is gone.")
        raise SystemExit(_INTERRUPTED) from None
    except LabError as error:
        raise click.ClickException(str(error)) from error
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(1 if results["holdfast_failures"] else 0)


def _play(console: Console, quick: bool) -> dict[str, Any]:
    """Run and show every part; return all results, ready for JSON."""
    installed = installed_drivers()
    if not installed:
        raise click.ClickException(f"no MySQL driver is installed: {' or '.join(missing_drivers().values())}")
    with Server(options={"wait_timeout": IDLE_LIMIT}) as server:
        surroundings = look_around(server)
        _head(console, surroundings)
        played: dict[str, Sequence[Any]] = {}
        start = time.monotonic()
        for number, part in enumerate(PARTS, 1):
            played[part.key] = _part(console, number, part, server, tuple(installed), quick)
        seconds = time.monotonic() - start
    failures = sum(row.bad for rows in played.values() for row in rows if row.contender == HOLDFAST.name)
    _foot(console, played, failures, seconds)
    return {
        "surroundings": asdict(surroundings),
        "quick": quick,
        "seconds": round(seconds, 1),
        "holdfast_failures": failures,
        **{key: [asdict(row) for row in rows] for key, rows in played.items()},
    }


def _part(
    console: Console, number: int, part: Part, server: Server, drivers: tuple[str, ...], quick: bool
) -> Sequence[Any]:
    console.print()
    console.rule(f"[bold]{number}. {part.title}", align="left", style="dim")
    console.print(part.words)
    status = console.status("") if console.is_terminal else None
    with status or nullcontext():
        say = (lambda words: status.update(f"[dim]{words}[/dim]")) if status is not None else (lambda words: None)
        rows = part.run(Stage(server, drivers, quick, say))
    if not rows:
        console.print(f"\n  left out: it needs {part.needs}", markup=False)
    for table in part.show(rows):
        show(console, table)
    return rows


def _head(console: Console, surroundings: Surroundings) -> None:
    console.print(
        f"[bold]holdfast {surroundings.holdfast}[/bold]: the same application twice, with stock SQLAlchemy and with "
        "[bold]?plugin=holdfast[/bold] in the URL. Nothing else differs."
    )
    console.print()
    rows: dict[str, str] = {
        "server": f"{surroundings.server}, private, thrown away at the end; wait_timeout = {IDLE_LIMIT} s",
        "drivers": "\n".join(f"{name}: {what}" for name, what in surroundings.drivers.items()),
        **{f"no {name}": f"not installed: {cure}" for name, cure in missing_drivers().items()},
        "SQLAlchemy": f"{surroundings.sqlalchemy} on {surroundings.python}",
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(Text(name, style="dim"), value)
    console.print(indented(grid))
    console.print()
    console.print(f"{len(PARTS)} parts, in a minute or two:")
    for number, part in enumerate(PARTS, 1):
        console.print(f"  {number}. {part.title}: {part.question}")


def _foot(console: Console, played: dict[str, Sequence[Any]], failures: int, seconds: float) -> None:
    console.print()
    console.rule("[bold]That was all", align="left", style="dim")
    counted = next((row.counters for row in played["lost"] if row.counters), "")
    if counted:
        console.print(
            "What holdfast counted on the first of these engines, as sqlalchemy_holdfast.status(engine) tells it:"
        )
        console.print(indented(Text(counted)))
    if failures:
        console.print(f"[bold red]holdfast failed {failures} times.[/bold red] That is a bug: please report it.")
    console.print(
        f"{seconds:.0f} s. In your own application: add [bold]?plugin=holdfast[/bold] to the database URL. "
        "More figures: make bench."
    )
