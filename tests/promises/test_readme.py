"""The README says what the code does, its pictures show what was measured, and it is short."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import URL, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SCREEN = 45
"""Lines that a reader sees before scrolling."""


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130
    assert len(README.encode()) <= 7500


@pytest.mark.parametrize(
    "words", ["MySQL server has gone away", "2006", "2013", "pool_recycle", "make demo", "make test"]
)
def test_what_people_search_for_is_on_the_first_screen(words: str) -> None:
    assert words in "\n".join(README.splitlines()[:SCREEN])


def test_the_generated_part_is_up_to_date() -> None:
    assert tool("readme").render(README) == README, "run python tools/readme.py"


def test_the_pictures_show_what_was_measured() -> None:
    pictures = tool("pictures")
    for name, draw in pictures.PICTURES.items():
        assert f"(docs/_static/{name})" in README
        assert (pictures.STATIC / name).read_text() == draw(), "run python tools/pictures.py"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_blocks_run(server: Server, block: str) -> None:
    """Against the lab's server, whose address is put in the place of the example's."""
    mine: URL = server.url("pymysql")
    address = mine.render_as_string(hide_password=False)
    written = "mysql+pymysql://user:password@host/database"
    assert written in block
    names: dict[str, Any] = {"app": Flask("readme")}
    exec(block.replace(written, address), names)
    with names["app"].app_context():
        engine = names["engine"] if "engine" in names else names["db"].engine
        assert holdfast.status(engine).active
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 'held'")) == "held"
        engine.dispose()


def test_no_code_is_left_out() -> None:
    """Every block of Python is one of those that run; the others are a shell's commands, or texts of errors."""
    assert len(BLOCKS) == len(re.findall(r"```\s*\{?py", README)) == 2
    assert re.findall(r"```(\w+)\n", README) == ["text", "python", "python"]
