"""Where CONTRIBUTING says that something is, it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
TEXT = (TOP / "CONTRIBUTING.md").read_text()
ROWS = re.findall(r"^\| ([^|]+\?) \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)


def test_there_are_questions() -> None:
    assert len(ROWS) >= 12


@pytest.mark.parametrize(("question", "files", "names"), ROWS, ids=[row[0] for row in ROWS])
def test_a_newcomers_question_is_answered_by_two_files_at_the_most(question: str, files: str, names: str) -> None:
    paths = [TOP / link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", files)]
    assert 1 <= len(paths) <= 2
    texts = [path.read_text() for path in paths]
    wanted = re.findall(r"`(\w+)`", names.partition(":")[0])
    assert wanted
    for name in wanted:
        defined = re.compile(rf"^ *(def|class) {name}\b|^{name}\b.* = ", re.MULTILINE)
        assert any(defined.search(text) for text in texts), f"{name} is in none of {[path.name for path in paths]}"
