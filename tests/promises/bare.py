"""A Python that has SQLAlchemy and holdfast installed, and no driver."""

from __future__ import annotations

import functools
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy
import typing_extensions

import sqlalchemy_holdfast as holdfast

SOURCE = Path(holdfast.__file__).parent


@functools.cache
def _site(packages: tuple[str, ...]) -> tempfile.TemporaryDirectory[str]:
    site = tempfile.TemporaryDirectory(prefix="holdfast-bare-")
    distribution = importlib.metadata.distribution("sqlalchemy-holdfast")._path  # type: ignore[attr-defined]
    targets = [SOURCE, Path(distribution), Path(sqlalchemy.__file__).parent, Path(typing_extensions.__file__)]
    for name in packages:
        found = importlib.import_module(name).__file__
        assert found is not None
        targets.append(Path(found).parent)
    for target in targets:
        (Path(site.name) / target.name).symlink_to(target)
    return site


def run_bare(code: str, *packages: str) -> str:
    """Run code in a Python that has SQLAlchemy, holdfast and these packages installed and nothing else."""
    site = _site(packages)
    code = f"import sys; sys.path.append({site.name!r})\n{code}"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
