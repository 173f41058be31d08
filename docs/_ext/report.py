"""Reads what `make bench` wrote, bench/results/latest.md: its tables, and the figures in them."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

__all__ = ["DRIVERS", "REPORT", "figures", "head", "sections", "table"]

REPORT = Path(__file__).resolve().parents[2] / "bench" / "results" / "latest.md"

DRIVERS = {"mysqldb": "mysqlclient", "pymysql": "PyMySQL", "mysqlconnector": "mysql-connector-python"}
"""What the report calls a driver, and what its users call it."""

_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)


def head(report: str) -> list[str]:
    """Return what the report says of the machine, the server and the versions: one text a line."""
    return re.findall(r"^- (.*)$", report, re.MULTILINE)


def table(report: str, title: str) -> list[list[str]]:
    """Return a table's rows of cells, its heading first, without the marks for bold; an empty first cell is filled in.

    :raises LookupError: when the report has no table of that title.
    """
    found = re.search(rf"^###? {re.escape(title)}\n(?:\n(?!\||#).*)*\n*((?:\|.*\n)+)", report, re.MULTILINE)
    if not found:
        raise LookupError(f"bench/results/latest.md has no table {title!r}; run make bench")
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in _ROW.findall(found[1])]
    del rows[1]  # the rule between heading and rows
    above = ""
    for row in rows[1:]:
        above = row[0] = row[0] or above
    return rows


def figures(
    report: str, title: str, driver: str, unit: str, pattern: str, *, columns: Container[str] | None = None
) -> dict[str, float]:
    """Return one row's figures by contender.

    :param driver: the first cell of the row.
    :param unit: its second cell.
    :param pattern: what finds the figure in a cell, as a group.
    :param columns: the contenders to return; all columns when it is not given.
    """
    rows = table(report, title)
    row = next((row for row in rows if row[:2] == [driver, unit]), None)
    if row is None:
        raise LookupError(f"bench/results/latest.md has no row {driver}, {unit} in {title!r}; run make bench")
    found: dict[str, float] = {}
    for contender, cell in zip(rows[0][2:], row[2:], strict=True):
        if columns is not None and contender not in columns:
            continue
        figure = re.search(pattern, cell)
        if figure is None:
            raise LookupError(f"bench/results/latest.md has no figure in {cell!r} of {title!r}")
        found[contender] = float(figure[1])
    return found


def sections(report: str) -> list[tuple[str, str]]:
    """Return the title and the text of each section, in order."""
    parts = re.split(r"^## (.*)\n", report, flags=re.MULTILINE)[1:]
    return [(title, text.strip()) for title, text in zip(parts[::2], parts[1::2], strict=True)]
