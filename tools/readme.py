"""Write the generated parts of README.md: the settings table, and the figures that `make bench` printed.

Run by hand after either changed; tests/core/test_readme.py fails when it was forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path

from holdfast import SETTINGS, Setting

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


def figures(report: str) -> str:
    """The quoted tables, as `make bench` wrote them."""
    setting = re.findall(r"^- .*$", report, re.MULTILINE)
    parts = [
        "### Figures",
        "Printed by `make bench` ([all of them](bench/results/latest.md)), in one run on:",
        "\n".join(setting),
    ]
    for title in QUOTED:
        found = re.search(rf"^### {re.escape(title)}\n\n((?:\|.*\n)+)", report, re.MULTILINE)
        assert found, f"bench/results/latest.md has no table {title!r}; run make bench"
        parts += [f"**{title}**", found[1].strip()]
    return "\n\n".join(parts)


def replace_part(text: str, name: str, content: str) -> str:
    """Put generated content between a part's markers."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), f"README.md has no part {name}"
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def render(text: str) -> str:
    """Return the README with its generated parts brought up to date."""
    text = replace_part(text, "settings", settings_table())
    report = ROOT / "bench" / "results" / "latest.md"
    return replace_part(text, "figures", figures(report.read_text()))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
