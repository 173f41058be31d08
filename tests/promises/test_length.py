"""No file under tests is longer than one sitting."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LINES = 500


def test_no_file_under_tests_is_longer_than_500_lines() -> None:
    lengths = {path.relative_to(TESTS): len(path.read_text().splitlines()) for path in TESTS.rglob("*.py")}
    assert len(lengths) > 100, "they were found"
    assert {str(path): length for path, length in lengths.items() if length > LINES} == {}
