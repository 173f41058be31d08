"""A directory for the slot file, and workers in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.budget.workers import Workers


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that is safe for a slot file."""
    with tempfile.TemporaryDirectory(prefix="slots-") as name:
        yield Path(name)


@pytest.fixture
def workers(directory: Path) -> Iterator[Workers]:
    made = Workers(directory)
    yield made
    made.close()
