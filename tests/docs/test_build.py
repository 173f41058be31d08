"""The documentation builds, and every cross-reference in it leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytest.importorskip("sphinx")


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    strict = ("-W", "-n", "--keep-going", "-q", "-d", str(tmp_path / "doctrees"))
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", *strict, str(DOCS), str(tmp_path / "html")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert built.returncode == 0, built.stdout
    assert "holdfast_probe_timeout" in (tmp_path / "html" / "settings.html").read_text()
