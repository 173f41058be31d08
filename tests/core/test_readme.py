"""The README says what the code does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from sqlalchemy_holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FILES = {block.split()[1]: block for block in PYTHON if re.match(r"# \w+\.py\n", block)}
"""The blocks that begin with the name of a file."""
BLOCKS = [block for block in PYTHON if block not in FILES.values()]


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_parts_are_up_to_date() -> None:
    assert generator().render(README) == README, "run python tools/readme.py"


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_blocks_run(server: Server, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the lab's server, whose address is put in the place of the example's."""
    mine: URL = server.url("pymysql")
    address = mine.render_as_string(hide_password=False)
    block = re.sub(r"mysql\+pymysql://user:password@[a-z]+/[a-z]+", address, block)
    exec(block, {})
    if "'held'" in block:
        stock, held = capsys.readouterr().out.splitlines()
        assert stock in ("OperationalError 2006", "OperationalError 2013")
        assert held == "held"


@pytest.mark.slow
def test_the_test_of_a_site_passes_as_a_reader_runs_it(tmp_path: Path) -> None:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:ddtrace", "test_shop.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
