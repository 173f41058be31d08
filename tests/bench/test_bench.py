"""The benchmarks run, and write what they say they write. What they measure is nobody's promise on a busy machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=110)


def test_chosen_sections_are_measured_shown_and_written(tmp_path: Path) -> None:
    done = bench("--quick", "--only", "waits,connect,silence,prefork", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "latest.md").read_text(encoding="utf-8")
    for title in ("What a unit of work waits for", "Connecting", "Silent peers", "Forked workers"):
        assert title in done.stdout
        assert f"## {title}" in text
    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")
    assert str(TOP) not in text, "no path of this machine"
    assert str(tmp_path) not in text


def test_an_unknown_section_is_refused_with_the_known_ones() -> None:
    done = bench("--only", "weights")
    assert done.returncode == 2
    assert "waits" in done.stderr
