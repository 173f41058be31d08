"""The command line itself: help, version, and what it says when a package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sqlalchemy_holdfast as holdfast

COMMAND = "from sqlalchemy_holdfast.cli import main; main()"
MODULE = "import runpy; runpy.run_module('sqlalchemy_holdfast', run_name='__main__')"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_help_names_the_commands() -> None:
    done = run("-m", "sqlalchemy_holdfast", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: holdfast ")
    assert "demo" in done.stdout


@pytest.mark.slow
def test_version() -> None:
    assert holdfast.__version__ in run("-m", "sqlalchemy_holdfast", "--version").stdout


@pytest.mark.slow
@pytest.mark.parametrize("package", ["click", "rich"])
@pytest.mark.parametrize("start", [COMMAND, MODULE], ids=["holdfast", "python -m sqlalchemy_holdfast"])
def test_a_missing_package_is_named_with_what_to_install(start: str, package: str) -> None:
    done = run("-c", f"import sys; sys.modules['{package}'] = None\n{start}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert package in done.stderr
    assert "pip install click rich" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_driver_at_all_is_said_in_words() -> None:
    hide = "import sys, sqlalchemy_holdfast.drivers as d; d.is_installed = lambda driver: False\n"
    done = run("-c", f"{hide}from sqlalchemy_holdfast.cli import main\nsys.argv[1:] = ['demo']\nmain()")
    assert done.returncode == 1
    assert "pip install mysqlclient or pip install PyMySQL or pip install mysql-connector-python" in done.stderr
