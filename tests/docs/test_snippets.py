"""Every Python block of the documentation runs, and prints what the page says it prints.

The blocks of one page run one after another and share their names, as a reader would type them in. A block in an HTML
comment runs too; it checks what the page claims. A block that begins with a file's name in a comment is put into that
file. A block of plain text right behind a Python block is what that prints, with … for what differs from run to run.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import itertools
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")
ADDRESS = re.compile(
    r"mysql\+(\w+)://(?:user(?::password)?@host/database"
    r"|username:password@username\.mysql\.pythonanywhere-services\.com/username\$name)"
)
"""How the pages write a database's address: the lab's takes its place."""
SAME = doctest.OutputChecker().check_output


@dataclass(frozen=True)
class Block:
    """One piece of Python on a page."""

    line: int
    code: str
    output: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        yield Block(text.count("\n", 0, found.start("code")), found["code"], found["output"])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs").with_suffix(""))


@pytest.fixture(scope="module")
def pages_server() -> Iterator[Server]:
    """A server for the pages alone: what one leaves open when it fails, no other test waits for."""
    with Server() as server:
        yield server


@pytest.fixture
def place(pages_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """An empty folder to run in, and an empty database: gives its URL for a driver."""
    monkeypatch.chdir(tmp_path)
    database = f"page_{next(_numbers)}"
    pages_server.create_database(database)
    with logging_as_it_was():
        yield lambda driver: pages_server.url(driver, database=database).render_as_string(hide_password=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # PyMySQL's, when it is collected before its connection
        gc.collect()  # engines that a page left open


_numbers = itertools.count()


@contextlib.contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Undo what pages do to logging, and what Flask-Migrate's env.py does: it disables every logger there is."""
    root, ours = logging.getLogger(), logging.getLogger("holdfast")
    loggers = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    disabled = {logger: logger.disabled for logger in loggers}
    states = [(logger, logger.level, list(logger.handlers)) for logger in (root, ours)]
    yield
    for logger, was in disabled.items():
        logger.disabled = was
    for logger, level, handlers in states:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@contextlib.contextmanager
def staying_one_process() -> Iterator[None]:
    """A child that a page forked ends here if it raised, and does not go on as a second pytest."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=name_of)
def test_the_blocks_run(page: Path, place: Callable[[str], str]) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if file := FILE.match(block.code):
            Path(file[1]).write_text(block.code)
            continue
        code = ADDRESS.sub(lambda found: lab_address(found, place(found[1])), block.code)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), staying_one_process():
            exec(compile("\n" * block.line + code, page, "exec", dont_inherit=True), names)
        if block.output is not None:
            wanted = block.output.replace("…", "...")
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert SAME(wanted, printed.getvalue(), flags), f"{page}:{block.line} printed {printed.getvalue()}"


def lab_address(found: re.Match[str], address: str) -> str:
    """Without the password, if the page has none there."""
    return address if ":password@" in found[0] else re.sub(r":[^:@]*@", "@", address, count=1)


def test_no_block_is_left_out() -> None:
    """A block that is indented, or marked py, would not run."""
    for page in PAGES:
        text = page.read_text()
        assert len(re.findall(r"```\s*\{?py", text)) == len(list(blocks(page))), page
        assert ">>> " not in text, page


def test_pages_of_other_formats_have_no_code() -> None:
    for page in (ROOT / "docs").rglob("*.rst"):
        assert "code-block:: python" not in page.read_text(), page
