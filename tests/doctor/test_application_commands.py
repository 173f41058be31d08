"""`holdfast doctor --app` and `flask holdfast doctor`, as they are typed in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.cli.commands import cli
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.urls import EXAMPLE
from tests.doctor.conftest import SITES, environment

pytestmark = pytest.mark.slow

CANARY = "canary-4711-s3cret"
SCRIPTS = Path(sys.executable).parent
GUESTBOOK = Path(__file__).resolve().parents[2] / "examples" / "guestbook"


@pytest.fixture(scope="module")
def canary(server: Server) -> Any:
    """The URL of an account whose password may be seen nowhere."""
    server.execute(f"CREATE OR REPLACE USER canary IDENTIFIED BY '{CANARY}'")
    server.execute("GRANT SELECT ON test.* TO canary")
    url = server.url("pymysql").set(username="canary", password=CANARY)
    yield url.render_as_string(hide_password=False)
    server.execute("DROP USER canary")


def run(server: Server, *command: str, directory: Path = SITES, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=directory,
        env=environment(server, **more),
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def holdfast(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command `holdfast` in this process, in the sites' folder."""

    def run_here(*arguments: str, directory: Path = SITES, **more: str) -> Result:
        monkeypatch.chdir(directory)
        for name, value in environment(server, **more).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(cli, arguments)

    return run_here


def findings(done: Result | subprocess.CompletedProcess[str], group: str) -> set[str]:
    if isinstance(done, Result):
        assert done.exit_code in (0, 1), done.output
    else:
        assert done.returncode in (0, 1), done.stderr
    reports = json.loads(done.stdout)["examined"]
    return {finding["id"] for report in reports for finding in report["findings"] if finding["group"] == group}


def test_an_application_and_its_database_are_examined_in_one_go(holdfast: Callable[..., Result], canary: str) -> None:
    done = holdfast("doctor", "--app", "touched", "--format", "json", DATABASE_URL=canary)
    assert findings(done, "application") == {"HF702"}
    assert findings(done, "prefork") == {"HF301"}
    (report,) = json.loads(done.stdout)["examined"]
    assert "MariaDB" in report["server"]
    assert report["where"].startswith("touched, mysql+pymysql://")
    assert "HF401" in report["checks"], "the server was asked, too"
    assert CANARY not in done.stdout + done.stderr


def test_the_table_names_the_line_to_change(holdfast: Callable[..., Result], canary: str) -> None:
    done = holdfast("doctor", "--app", "touched", "--only", "prefork,application", DATABASE_URL=canary)
    assert done.exit_code == 1
    words = " ".join(done.stdout.split())
    assert "opened at touched.py line 13, in read_settings()" in words
    assert "Cure: Add ?plugin=holdfast to this engine's URL" in words
    assert CANARY not in done.stdout + done.stderr


def test_a_name_that_leads_nowhere_ends_with_status_2(holdfast: Callable[..., Result]) -> None:
    done = holdfast("doctor", "--app", "held:ap")
    assert done.exit_code == 2
    assert "Did you mean held:app?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_url_in_place_of_an_application_is_not_repeated(holdfast: Callable[..., Result], canary: str) -> None:
    done = holdfast("doctor", "--app", canary)
    assert done.exit_code == 2
    assert "without --app" in done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_an_import_that_fails_is_a_finding_with_what_it_wrote(holdfast: Callable[..., Result]) -> None:
    command = ("doctor", "--app", "failing", "--only", "HF701")
    done = holdfast(*command, SITE_ENDS="error", SITE_WORD=CANARY, SITE_PORT="1")
    assert done.exit_code == 1
    words = " ".join(done.stdout.split())
    assert "RuntimeError: no such account: *** (failing.py line 49)" in words
    assert "starting with ***" in words
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["mysql+pymysql://me:p@ss@127.0.0.1/shop", " "])
def test_a_wrong_url_is_told_with_its_page_and_what_one_looks_like(holdfast: Callable[..., Result], url: str) -> None:
    done = holdfast("doctor", "--app", "flask_held", "--only", "HF701", DATABASE_URL=url)
    words = " ".join(done.stdout.split())
    assert f" {page('errors/database-url-error')} " in words
    assert "Cure: Correct the database URL" in words
    assert "..." not in words
    if not url.strip():
        assert EXAMPLE in words
    assert "p@ss" not in words


def test_an_application_without_mysql_is_not_examined(holdfast: Callable[..., Result], server: Server) -> None:
    words = "No engine leads to MySQL or MariaDB"
    done = holdfast("doctor", "--app", "flask_held", DATABASE_URL="sqlite://")
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    in_flask = run(server, "flask", "--app", "flask_held", "holdfast", "doctor", DATABASE_URL="sqlite://")
    assert (in_flask.returncode, in_flask.stdout) == (2, "")
    assert words in in_flask.stderr


def test_flasks_command_has_nothing_to_say_of_the_guestbook(server: Server) -> None:
    done = run(server, "flask", "--app", "guestbook", "holdfast", "doctor", "--format", "json", directory=GUESTBOOK)
    assert findings(done, "application") | findings(done, "prefork") == set()
    assert done.returncode == 0


def test_both_commands_read_their_options_from_one_table_and_examine_the_applications_engines(
    server: Server, holdfast: Callable[..., Result], canary: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text((SITES / "flask_stock.py").read_text())
    (tmp_path / "pyproject.toml").write_text(
        '[tool.holdfast.doctor]\napp = "shop:app"\nonly = ["application", "session", "connect"]\n'
        'ignore = "HF707"\nformat = "json"\n'
    )
    assert findings(holdfast("doctor", directory=tmp_path, DATABASE_URL=canary), "application") == {"HF706"}
    done = run(server, "flask", "--app", "shop", "holdfast", "doctor", directory=tmp_path, DATABASE_URL=canary)
    assert findings(done, "application") == {"HF706"}
    assert "HF401" in json.loads(done.stdout)["examined"][0]["checks"]
    assert "plugin=holdfast" not in done.stdout, "one advice, everywhere"
    assert CANARY not in done.stdout + done.stderr


def test_flasks_command_needs_no_rich(server: Server, canary: str, tmp_path: Path) -> None:
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\", name='rich')")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = ("flask", "--app", "flask_stock", "holdfast", "doctor")
    done = run(server, *command, DATABASE_URL=canary, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    assert "warning  HF706  The engines of Flask-SQLAlchemy are not held" in done.stdout
    assert "Cure: Import SQLAlchemy from sqlalchemy_holdfast.flask" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert CANARY not in done.stdout + done.stderr


def test_flasks_other_commands_import_nothing_of_it() -> None:
    code = (
        "import sys, sqlalchemy_holdfast.cli.in_flask as module; module.holdfast.list_commands(None); "
        "print([name for name in ('rich', 'flask_sqlalchemy', 'sqlalchemy_holdfast.doctor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
