"""Write the generated parts of README.md: the settings table, and the figures that `make bench` printed.

Run by hand after either changed; tests/core/test_readme.py fails when it was forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy_holdfast import SETTINGS, Setting

ROOT = Path(__file__).resolve().parent.parent


def settings_table() -> str:
    """The settings as a Markdown table, in the order of the code."""
    rows = ["| setting | default | accepts | what it changes |", "|---|---|---|---|"]
    rows += [f"| `{s.key}` | {_default(s)} | {s.accepts} | {s.consequence} |" for s in SETTINGS]
    return "\n".join(rows)


def _default(setting: Setting) -> str:
    if isinstance(setting.default, bool):
        return str(setting.default).lower()
    if setting.default is None or isinstance(setting.default, str):
        return setting.default or "off"
    return f"{setting.default:g} s" if setting.unit == "seconds" else f"{setting.default:g}"


QUOTED = (
    "Commands sent / round trips waited for, per unit, back to back on one connection",
    "Units per second, and ratio to stock: 1 ms round trip",
    "Units per second, and ratio to stock: loopback, a core for each",
    "Units per second, and ratio to stock: loopback, one core for site and server",
    "CPU per checkout, SELECT 1 and return, in microseconds: a core for each",
    "CPU per checkout, SELECT 1 and return, in microseconds: one core for site and server",
    "Wrong answers / errors / hangs / lost / doubled entries per 100 requests",
)
"""The tables of `make bench` that the README quotes."""

_ROUND_TRIPS, _FAR_AWAY, _, _ONE_CORE = QUOTED[:4]
SHORT = (
    ("round trips that an ORM read waits for (mysqlclient)", _ROUND_TRIPS, "ORM read", r"/ (\S+)", min),
    ("round trips that an ORM write waits for", _ROUND_TRIPS, "ORM write", r"/ (\S+)", min),
    ("ORM reads per second, 1 ms from the server", _FAR_AWAY, "ORM read", r"^(\d+)", max),
    ("the same with both on one core, where only computing counts", _ONE_CORE, "ORM read", r"^(\d+)", max),
)
"""The short table's rows: what it calls them, the long table and its row, the figure in a cell, and which is best."""


def short_table(report: str) -> str:
    """Some rows of the long tables, for mysqlclient, which is the first driver in them; the best is set in bold."""
    lines: list[str] = []
    for label, title, unit, figure, best in SHORT:
        rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in _table(report, title).split("\n")]
        head = f"| | {' | '.join(rows[0][2:])} |"
        lines = lines or [head, "| :-- |" + " --: |" * len(rows[0][2:])]
        assert lines[0] == head, f"{title!r} has other columns than the tables before it"
        cells = next(row for row in rows if row[1] == unit)[2:]
        numbers = [round(float(re.search(figure, cell)[1])) for cell in cells]  # type: ignore[index]
        shown = [f"**{n}**" if n == best(numbers) else str(n) for n in numbers]
        lines.append(f"| {label} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _table(report: str, title: str) -> str:
    found = re.search(rf"^### {re.escape(title)}\n\n((?:\|.*\n)+)", report, re.MULTILINE)
    assert found, f"bench/results/latest.md has no table {title!r}; run make bench"
    return found[1].strip()


def figures(report: str) -> str:
    """The quoted tables, as `make bench` wrote them."""
    setting = re.findall(r"^- .*$", report, re.MULTILINE)
    parts = [
        "### Figures",
        "Printed by `make bench` ([all of them](bench/results/latest.md)), in one run on:",
        "\n".join(setting),
    ]
    for title in QUOTED:
        parts += [f"**{title}**", _table(report, title)]
    return "\n\n".join(parts)


def replace_part(text: str, name: str, content: str) -> str:
    """Put generated content between a part's markers."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), f"README.md has no part {name}"
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def render(text: str) -> str:
    """Return the README with its generated parts brought up to date."""
    text = replace_part(text, "settings", settings_table())
    report = (ROOT / "bench" / "results" / "latest.md").read_text()
    text = replace_part(text, "short table", short_table(report))
    return replace_part(text, "figures", figures(report))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
