"""The README says what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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
