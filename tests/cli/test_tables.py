"""One table, shown on a terminal and as Markdown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sqlalchemy_holdfast.cli.tables import Cell, Table, make_console, markdown, show


@pytest.fixture
def table() -> Table:
    table = Table("Fruit", ("tree", "kind", "weight"), labels=2, notes=["in grams"])
    table.add("apple", "red", Cell("120", "good"))
    table.add("apple", "green|yellow", "130")
    table.add("pear", "", Cell("90", "bad"))
    return table


def test_markdown(table: Table) -> None:
    assert markdown(table).splitlines() == [
        "### Fruit",
        "",
        "| tree | kind | weight |",
        "| :-- | :-- | --: |",
        "| apple | red | **120** |",
        r"|  | green\|yellow | 130 |",
        "| pear |  | 90 |",
        "",
        "in grams",
    ]


def test_what_is_in_square_brackets_is_shown_as_it_is(table: Table) -> None:
    table.notes = ["pip install 'sqlalchemy-holdfast[cli]'"]
    table.add("[dim]", "", "")
    file = io.StringIO()
    show(Console(file=file, width=80), table)
    assert "holdfast[cli]" in file.getvalue()
    assert "[dim]" in file.getvalue()


def test_a_console_is_as_wide_as_a_page_when_it_is_no_terminal() -> None:
    assert make_console().width == 100
