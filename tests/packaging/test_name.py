"""The package is installed as `sqlalchemy-holdfast` and imported as `sqlalchemy_holdfast`, and all texts say so.

The project, its plugin, settings, loggers and command are called holdfast. But the package of that name is another
project's: whoever installs or imports it gets code that is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, run

INSTALL = r"(?:\bpip[\d.]*\s+install|\buv\s+(?:pip\s+install|add)|\bpoetry\s+add|\bpipx\s+(?:install|run))"
SHORT_NAME = re.compile(
    rf"""
    \bimport\s+holdfast\b
    | \bfrom\s+holdfast[\w.]*\s+import\b
    | {INSTALL}(?:\s+-\S+)*\s+['"]?holdfast\b
    | \bpython[\d.]*\s+-m\s+holdfast\b
    | ["']-m["'],\s*["']holdfast\b
    """,
    re.VERBOSE,
)


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Every text file of the repository, those that are not committed yet as well, and what is in it."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    for name in listed.stdout.rstrip("\0").split("\0"):
        path: Path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                yield name, data.decode()


def test_nothing_imports_or_installs_the_short_name() -> None:
    texts = dict(tracked_texts())
    assert {"README.md", "docs/quickstart.md", "pyproject.toml", "src/sqlalchemy_holdfast/plugin.py"} <= texts.keys()
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts.items()
        for match in SHORT_NAME.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import {}",
        "    import {} as h",
        "import {}.lab",
        "from {}.flask import SQLAlchemy",
        "from {} import of",
        "pip install {}",
        "pip install '{}[flask]'",
        'pip3 install -U --pre "{}"',
        "uv add {}",
        "python -m {} demo",
        "python3.12 -m {}",
        '[sys.executable, "-m", "{}.cli"]',
    ],
)
def test_the_short_name_would_be_found(text: str) -> None:
    assert SHORT_NAME.search(text.format("holdfast"))
    assert not SHORT_NAME.search(text.format("sqlalchemy_holdfast"))
    assert not SHORT_NAME.search(text.format("sqlalchemy-holdfast"))


@pytest.mark.parametrize(
    "text",
    [
        "import sqlalchemy_holdfast as holdfast",
        "Take `SQLAlchemy` from holdfast. Everything else stays.",
        "pip install '.[flask]' # holdfast and Flask-SQLAlchemy",
        "holdfast url --check",
    ],
)
def test_the_projects_name_is_free_to_use(text: str) -> None:
    assert not SHORT_NAME.search(text)
