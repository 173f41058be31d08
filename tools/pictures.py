"""Draw the two pictures of README.md, as docs/_static/*.svg.

    .venv/bin/python tools/pictures.py        both, from results that are there already
    .venv/bin/python tools/pictures.py demo   run the demonstration (a minute or two), keep its results, then draw

The results of the demonstration are kept in bench/results/demo.json: only a real run of it writes that file. The other
picture shows figures of bench/results/latest.md, which `make bench` wrote. A test fails when a picture does not
show what the results say.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import pictures  # noqa: E402
import report  # noqa: E402

DEMO = ROOT / "bench" / "results" / "demo.json"
STATIC = ROOT / "docs" / "_static"

UNITS = ("ORM read", "ORM write", "Flask read")
"""The units of work whose round trips are shown."""


def run_demo() -> None:
    """Run the demonstration as `make demo` does, and keep what the picture shows of it."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "demo.json"
        command = [sys.executable, "-m", "sqlalchemy_holdfast", "demo", "--json", str(results)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            raise SystemExit("the demonstration found a failure of holdfast: no picture is made of it")
        DEMO.write_text(json.dumps(_summary(json.loads(results.read_text())), indent=1) + "\n")


def _summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Add up what the picture shows: a row for each part of the demonstration, a side for each contender."""
    told = next(rows for key, rows in results.items() if key.startswith("out_of_"))
    return {
        "surroundings": results["surroundings"],
        "rows": [
            _row(
                "The database closed idle connections",
                results["lost"],
                lambda rows: _of([("failed", _sum(rows, "failed"))], _sum(rows, "requests"), "requests served"),
            ),
            _row(
                "A time limit interrupted a statement",
                told,
                lambda rows: _of(
                    [
                        ("wrong", sum(row["outcome"] == "wrong" for row in rows)),
                        ("failed", sum(row["outcome"] == "error" for row in rows)),
                    ],
                    len(rows),
                    "answers right",
                ),
            ),
            _row(
                "The web server forked its workers",
                results["prefork"],
                lambda rows: _of(
                    [
                        ("wrong", _sum(rows, "wrong")),
                        ("failed", _sum(rows, "errors")),
                        ("not answered", _sum(rows, "hangs")),
                        ("lost", _sum(rows, "lost")),
                    ],
                    _sum(rows, "sent"),
                    "answers right",
                ),
            ),
        ],
    }


def _row(question: str, rows: Iterable[Mapping[str, Any]], say: Any) -> dict[str, str]:
    rows = list(rows)
    sides = {side: [row for row in rows if row["contender"] == side] for side in ("stock", "holdfast")}
    return {"question": question, "before": say(sides["stock"]), "after": say(sides["holdfast"])}


def _sum(rows: Iterable[Mapping[str, Any]], key: str) -> int:
    return sum(int(row[key]) for row in rows)


def _of(counts: list[tuple[str, int]], total: int, right: str) -> str:
    """Say how many of all went wrong, and how."""
    bad = ", ".join(f"{count} {what}".replace(" ", "\N{NO-BREAK SPACE}") for what, count in counts if count)
    thing, _, verdict = right.partition(" ")
    return f"of {total} {thing}: {bad}" if bad else f"all {total} {thing} {verdict}"


def demo_picture() -> str:
    """Draw what the demonstration found, before and after."""
    results = json.loads(DEMO.read_text())
    around = results["surroundings"]
    rows = [pictures.Comparison(**row) for row in results["rows"]]
    drivers = ", ".join(around["drivers"].values())
    return pictures.before_and_after(
        "make demo: one small site, run twice",
        rows,
        [
            "wrong: the page was served, but what it said was not true",
            "lost: the visitor was told that it was saved, and it was not",
            f"{around['server']}, SQLAlchemy {around['sqlalchemy']}",
            drivers,
        ],
    )


def round_trips_picture() -> str:
    """Draw how many round trips a unit of work waits for, with mysqlclient."""
    text = report.REPORT.read_text()
    title = "Commands sent / round trips waited for, per unit, back to back on one connection"
    groups = {unit: report.figures(text, title, "mysqldb", unit, r"/ (\S+)") for unit in UNITS}
    return pictures.bars("How long a request waits", "network round trips, with mysqlclient; less is better", groups)


PICTURES = {"demo.svg": demo_picture, "round-trips.svg": round_trips_picture}

if __name__ == "__main__":
    if sys.argv[1:] == ["demo"]:
        run_demo()
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    STATIC.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (STATIC / name).write_text(draw())
