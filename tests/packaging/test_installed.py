"""The wheel, installed in an environment that has SQLAlchemy and nothing else."""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import sqlalchemy
import typing_extensions

import sqlalchemy_holdfast as holdfast
from tests.packaging.conftest import Built, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; SQLAlchemy is linked in, so that no index is asked."""
    folder = tmp_path_factory.mktemp("bare")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    information = Path(distribution("SQLAlchemy")._path)  # type: ignore[attr-defined]
    for target in (Path(sqlalchemy.__file__).parent, information, Path(typing_extensions.__file__)):
        (site / target.name).symlink_to(target)
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", built.wheel)
    assert done.returncode == 0, done.stderr
    return python.parent


def ask(bare: Path, code: str) -> str:
    done = run(bare / "python", "-I", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_environment_is_bare_and_has_the_wheel(bare: Path) -> None:
    """For the tests that rely on it."""
    names = "('click', 'rich', 'flask', 'flask_sqlalchemy', 'pymysql', 'MySQLdb', 'mysql', 'pip', 'greenlet')"
    assert ask(bare, f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])") == "[]"
    place = ask(bare, "import sqlalchemy_holdfast; print(sqlalchemy_holdfast.__file__)")
    assert Path(place).is_relative_to(bare.parent)


def test_it_is_imported_under_its_name_and_version(bare: Path) -> None:
    names = "holdfast.__version__, importlib.metadata.version('sqlalchemy-holdfast')"
    versions = ask(bare, f"import importlib.metadata, sqlalchemy_holdfast as holdfast; print({names})")
    assert versions == f"{holdfast.__version__} {holdfast.__version__}"


def test_the_plugin_is_found_and_steps_aside_for_another_database(bare: Path) -> None:
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s: %(message)s")
import sqlalchemy, sqlalchemy_holdfast
engine = sqlalchemy.create_engine("sqlite://?plugin=holdfast")
with engine.connect() as connection:
    print(connection.exec_driver_sql("select 7").scalar())
engine.dispose()
print(sqlalchemy_holdfast.status(engine).reason)
"""
    lines = ask(bare, code).splitlines()
    assert lines[-2:] == ["7", "sqlite is not MySQL or MariaDB"]
    assert [line.partition(":")[0] for line in lines[:-2]] == ["holdfast"]


def test_without_a_driver_an_engine_says_what_to_install(bare: Path) -> None:
    code = """
import sqlalchemy, sqlalchemy_holdfast
try:
    sqlalchemy.create_engine("mysql+pymysql://u:p@localhost/d?plugin=holdfast")
except sqlalchemy_holdfast.DriverNotInstalled as error:
    print(error)
"""
    assert "pip install PyMySQL" in ask(bare, code)


@pytest.mark.parametrize("command", [("holdfast",), ("python", "-m", "sqlalchemy_holdfast")], ids=" ".join)
def test_the_command_says_what_to_install(bare: Path, command: tuple[str, ...]) -> None:
    program, *arguments = command
    done = run(bare / program, *arguments, "--help")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "holdfast: the command line needs the package click, which is not installed: pip install click rich"
    ]


def test_the_types_are_there(bare: Path) -> None:
    file = "importlib.resources.files('sqlalchemy_holdfast').joinpath('py.typed')"
    assert ask(bare, f"import importlib.resources; print({file}.is_file())") == "True"
