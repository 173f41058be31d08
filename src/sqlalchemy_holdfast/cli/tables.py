"""A table of results, and the two ways it is shown: on a terminal and as Markdown.

What was measured decides what is in a cell and whether that is good or bad; how it looks is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

__all__ = ["Cell", "Mood", "Table", "indented", "make_console", "markdown", "show"]

Mood = Literal["plain", "good", "bad", "dim"]

_STYLES: dict[Mood, str] = {"plain": "", "good": "bold green", "bad": "bold red", "dim": "dim"}
_NARROWEST, _WIDEST = 80, 100


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table."""

    text: str
    mood: Mood = "plain"


@dataclass
class Table:
    """A table, with a heading above and notes below it."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    labels: int = 1
    """How many columns at the left are words; the others are right-aligned."""
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Cell | str) -> None:
        """Append a row. A first cell equal to the one above it is shown once."""
        self.rows.append(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells))

    def groups(self) -> Iterable[tuple[bool, tuple[Cell, ...]]]:
        """Yield each row with whether it begins a new group: rows whose first cell is the same."""
        above: str | None = None
        for row in self.rows:
            yield row[0].text != above, row
            above = row[0].text


def make_console() -> Console:
    """Return a console 80 to 100 columns wide, whatever it writes to."""
    console = Console(highlight=False)
    console.width = min(max(console.width, _NARROWEST), _WIDEST) if console.is_terminal else _WIDEST
    return console


def show(console: Console, table: Table) -> None:
    """Print a table."""
    rich = RichTable(box=box.SIMPLE_HEAD, title=None, pad_edge=False, padding=(0, 1), show_edge=False)
    for number, column in enumerate(table.columns):
        words = number < table.labels
        rich.add_column(column, justify="left" if words else "right", overflow="fold")
    groups = list(table.groups())
    grouped = not all(first for first, _ in groups)
    for first, row in groups:
        if first and grouped and rich.row_count:
            rich.add_section()
        shown = row if first else (Cell(""), *row[1:])
        rich.add_row(*(Text(cell.text, style=_STYLES[cell.mood]) for cell in shown))
    console.print()
    if table.title:
        console.print(f"[bold]{escape(table.title)}[/bold]")
    console.print(indented(rich))
    for note in table.notes:
        console.print(indented(Text(note, style="dim")))


def indented(what: RenderableType) -> Padding:
    """Indent as tables are."""
    return Padding(what, (0, 0, 0, 2), expand=False)


def markdown(table: Table) -> str:
    """Return a table as Markdown: what is good or bad is in bold."""
    lines = [f"### {table.title}", ""] if table.title else []
    rule = [":--" if number < table.labels else "--:" for number in range(len(table.columns))]
    lines += [_line(table.columns), _line(rule)]
    for first, row in table.groups():
        shown = row if first else (Cell(""), *row[1:])
        lines.append(_line([f"**{_safe(cell.text)}**" if cell.mood == "good" else _safe(cell.text) for cell in shown]))
    for note in table.notes:
        lines += ["", note]
    return "\n".join([*lines, ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
