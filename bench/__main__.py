"""``python -m bench``: measures, prints, and writes ``results/latest.md`` and ``results/latest.png``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console

from sqlalchemy_holdfast.cli.tables import make_console, markdown, show
from sqlalchemy_holdfast.experiments.contenders import installed_drivers, missing_drivers
from sqlalchemy_holdfast.experiments.stage import Stage
from sqlalchemy_holdfast.experiments.surroundings import Surroundings, look_around
from sqlalchemy_holdfast.lab import LabError, Server

from . import connect, cpu, prefork, recovery, silence, throughput, waits
from .section import Bars, Result, Section

SECTIONS = (
    waits.SECTION,
    throughput.SECTION,
    cpu.SECTION,
    connect.SECTION,
    recovery.SECTION,
    silence.SECTION,
    prefork.SECTION,
)
RESULTS = Path(__file__).parent / "results"


def _chosen(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[Section, ...]:
    if value is None:
        return SECTIONS
    known = {section.key: section for section in SECTIONS}
    keys = [key.strip() for key in value.split(",") if key.strip()]
    if not keys or any(key not in known for key in keys):
        raise click.BadParameter(f"the sections are {', '.join(known)}")
    return tuple(section for section in SECTIONS if section.key in keys)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", callback=_chosen, metavar="SECTION,…", help=f"Of {', '.join(s.key for s in SECTIONS)}.")
@click.option("--quick", is_flag=True, help="Few rounds: to see that it runs, not to measure.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for latest.md and latest.png. Default: bench/results for a whole run, else bench/scratch.",
)
def main(only: tuple[Section, ...], quick: bool, output: Path | None) -> None:
    """Measure holdfast against stock SQLAlchemy, side by side on this machine. Takes about eight minutes."""
    console = make_console()
    whole = only == SECTIONS and not quick
    folder = output or (RESULTS if whole else RESULTS.parent / "scratch")
    try:
        _run(console, only, quick, folder)
    except LabError as error:
        raise click.ClickException(str(error)) from error


def _run(console: Console, sections: tuple[Section, ...], quick: bool, folder: Path) -> None:
    drivers = tuple(installed_drivers())
    if not drivers:
        raise click.ClickException(f"no MySQL driver is installed: {' or '.join(missing_drivers().values())}")
    text: list[str] = ["# Benchmarks", ""]
    bars: list[Bars] = []
    start = time.monotonic()
    with Server(options={"max_connections": 151}) as server:  # forked workers have a hundred
        surroundings = look_around(server)
        for line in _head(surroundings):
            console.print(line, soft_wrap=True)
            text += [f"- {line}"]
        text += ["", "Written by `make bench`; every figure was measured in that one run.", ""]
        for section in sections:
            result, seconds = _section(console, section, Stage(server, drivers, quick))
            text += [f"## {section.title}", "", section.words, ""]
            text += [markdown(table) for table in result.tables]
            bars += result.bars
            console.print(f"[dim]  {seconds:.0f} s[/dim]")
    folder.mkdir(parents=True, exist_ok=True)
    if bars:
        from .chart import draw

        draw(bars, "; ".join(_head(surroundings)), folder / "latest.png")
        text.insert(len(_head(surroundings)) + 5, "![waits and throughput](latest.png)\n")
    (folder / "latest.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    console.print(f"\n{time.monotonic() - start:.0f} s. Written: {folder.parent.name}/{folder.name}/latest.md", end="")
    console.print(" and latest.png." if bars else ".")


def _section(console: Console, section: Section, stage: Stage) -> tuple[Result, float]:
    console.print()
    console.rule(f"[bold]{section.title}", align="left", style="dim")
    console.print(section.words)
    start = time.monotonic()
    status = console.status("") if console.is_terminal else None
    with status or nullcontext():
        if status is not None:
            stage = Stage(stage.server, stage.drivers, stage.quick, lambda words: status.update(f"[dim]{words}[/dim]"))
        result = section.run(stage)
    for table in result.tables:
        show(console, table)
    return result, time.monotonic() - start


def _head(surroundings: Surroundings) -> list[str]:
    drivers = ", ".join(f"{what} ({name})" for name, what in surroundings.drivers.items())
    return [
        f"holdfast {surroundings.holdfast}, SQLAlchemy {surroundings.sqlalchemy}, {surroundings.python}, "
        f"{surroundings.cores} cores",
        f"server: {surroundings.server}, on the same machine",
        f"drivers: {drivers}",
    ]


if __name__ == "__main__":
    main(prog_name="python -m bench")
