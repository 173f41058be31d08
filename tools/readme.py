"""Write the generated part of README.md: what holdfast costs, as `make bench` measured it.

Run by hand after the figures changed; tests/promises/test_readme.py fails when it was forgotten.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import report  # noqa: E402

_CPU = "CPU per checkout, SELECT 1 and return, in microseconds: "
_THROUGHPUT = "Units per second, and ratio to stock: "
_TOGETHER, _APART = "one core for site and server", "a core for each"


def price(text: str) -> str:
    """Say in three sentences what holdfast costs and what it saves, with mysqlclient.

    :param text: the report of `make bench`.
    """
    together, apart = (
        report.figures(text, _CPU + where, "mysqldb", "tcp", r"^(\d+)$", columns=("stock", "holdfast"))
        for where in (_TOGETHER, _APART)
    )
    near, far = (
        report.figures(text, _THROUGHPUT + where, "mysqldb", "ORM read", r"([\d.]+)x")["holdfast"]
        for where in ("loopback, " + _TOGETHER, "1 ms round trip")
    )
    cost = "{0[holdfast]:.0f} µs instead of {0[stock]:.0f} µs"
    return (
        "**The price is CPU time.** With mysqlclient, a request with one `SELECT 1` takes "
        f"{cost.format(together)} when site and server share one core, and {cost.format(apart)} when each has a "
        f"core. A site on one core with its server does {_compared(near)} ORM reads per second than with stock "
        f"SQLAlchemy. A site that is 1 ms away from its server does {_compared(far)}. "
        "[All measurements](docs/measurements.md)."
    )


def _compared(ratio: float) -> str:
    """Say a ratio to stock SQLAlchemy in words."""
    return f"{abs(ratio - 1):.0%} {'more' if ratio > 1 else 'fewer'}".replace("%", " %")


def replace_part(text: str, name: str, content: str) -> str:
    """Put generated content between a part's markers."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), f"README.md has no part {name}"
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def render(text: str) -> str:
    """Return the README with its generated part brought up to date."""
    return replace_part(text, "price", price(report.REPORT.read_text()))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
