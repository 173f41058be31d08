"""holdfast doctor: what it prints in each format, its exit status, its options; no password is in any output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.cli.commands import cli
from sqlalchemy_holdfast.doctor.checks import CHECKS
from sqlalchemy_holdfast.lab import Server

pytestmark = pytest.mark.slow

CANARY = "zy%7Cxw"
PASSWORD = "zy|xw"
PIECES = ("zy|", "|xw", "zy%7C", "%7Cxw")
DATABASE = "doctors"
FORMATS = ("table", "json", "github", "junit")

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def address(server: Server) -> Iterator[str]:
    """The URL of a database that has something to be found in."""
    server.create_database(DATABASE)
    server.execute("CREATE TABLE visits (id INT) ENGINE=MyISAM", database=DATABASE)
    server.create_account("doctored", PASSWORD)
    yield f"mysql+pymysql://doctored:{CANARY}@127.0.0.1:{server.port}/{DATABASE}?plugin=holdfast"
    server.execute(f"DROP DATABASE {DATABASE}")
    server.execute("DROP USER doctored@'%'")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, typed: str = "", **environ: str) -> Result:
        done = CliRunner().invoke(cli, ["doctor", *arguments], input=typed, env=environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        for piece in PIECES:
            assert piece not in done.output, done.output
        return done

    return invoke


def configure(text: str) -> None:
    Path("pyproject.toml").write_text(text)


# -- where the URL comes from, and what is printed ---------------------------------------------------------------------


def test_the_url_comes_from_the_argument_the_environment_or_the_standard_input(run: Run, address: str) -> None:
    by_argument = run("--only", "HF505", address)
    by_environment = run("--only", "HF505", DATABASE_URL=address)
    by_input = run("--only", "HF505", typed=f"{address}\n")
    by_dash = run("--only", "HF505", "-", typed=f"{address}\n", DATABASE_URL="mysql://elsewhere/")
    for done in (by_argument, by_environment, by_input, by_dash):
        assert done.exit_code == 1
        assert "visits (MyISAM)" in done.output


def test_without_a_url_it_could_not_run(run: Run) -> None:
    done = run()
    assert done.exit_code == 2
    assert "There is no URL." in done.output


def test_people_get_a_table_of_80_columns(run: Run, address: str) -> None:
    done = run(address)
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Examined mysql+pymysql://127.0.0.1:")
    finding = next(number for number, line in enumerate(lines) if line.startswith("warning   HF505   Tables have no"))
    assert "1 of 1 tables: visits (MyISAM)." in lines[finding + 1]
    assert "Cure: ALTER TABLE" in lines[finding + 2]
    assert "\x1b[" not in done.output, "no colour where there is no terminal"


def test_the_summary_counts_and_verbose_says_what_was_not_looked_at(run: Run, address: str) -> None:
    short, verbose = run(address), run(address, "-v")
    words = " ".join(short.output.split())
    assert re.search(r"\d+ checks have run, \d+ need --app or other options; \d+ statements, ", words), words
    assert "could not" not in words, "nothing is wrong with the server"
    assert "HF205  not known: how many processes there are (--processes)" in verbose.output
    assert "HF205" not in short.output
    assert "HF205" not in run(address, "-v", "--processes", "2").output


def test_an_address_is_one_line_and_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in (False, True):
        with monkeypatch.context() as patched:
            if hidden:
                patched.setitem(sys.modules, "rich", None)
                patched.delitem(sys.modules, "sqlalchemy_holdfast.cli.doctor.shown", raising=False)
            lines = run("mysql+pymysql://me:word@127.0.0.1:1/shop?plugin=holdfast").output.splitlines()
        (address,) = [line.strip() for line in lines if "://" in line and "Examined" not in line]
        assert address == page("errors/2003")
        assert [line for line in lines if len(line.rstrip()) > 80 and "://" not in line] == []


def test_programs_get_json(run: Run, address: str) -> None:
    done = run("--format", "json", address)
    (examined,) = json.loads(done.output)["examined"]
    found = next(finding for finding in examined["findings"] if finding["id"] == "HF505")
    assert (found["severity"], found["group"]) == ("warning", "server")
    assert found["evidence"] == "1 of 1 tables: visits (MyISAM)."
    assert found["page"].endswith("doctor/HF505.md")
    assert "HF401" in examined["checks"]
    assert 0 < examined["statements"] <= 25


def test_github_gets_annotations(run: Run, address: str) -> None:
    done = run("--format", "github", "--only", "HF505", address)
    assert done.output.startswith("::warning title=HF505 Tables have no transactions::1 of 1 tables: visits (MyISAM).")
    assert len(done.output.splitlines()) == 1


def test_junit_has_a_case_for_each_check(run: Run, address: str) -> None:
    suites = ElementTree.fromstring(run("--format", "junit", "--only", "server", address).output)
    (suite,) = suites
    cases = {str(case.get("name")).partition(" ")[0]: case for case in suite}
    assert set(cases) == {check.id for check in CHECKS if check.group == "server"}
    assert suite.get("failures") == "1"
    failure = cases["HF505"].find("failure")
    assert failure is not None
    assert failure.get("message") == "1 of 1 tables: visits (MyISAM)."
    assert cases["HF504"].find("failure") is None
    note = ElementTree.fromstring(run("--format", "junit", "--only", "HF514", address).output)[0][0]
    assert note.find("failure") is None, "below the fail level"
    assert "innodb_flush_log_at_trx_commit" in (note.findtext("system-out") or "")


# -- the exit status ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "only", "status"),
    [
        ("warning", "HF505", 1),
        ("error", "HF505", 0),
        ("never", "HF505", 0),
        ("note", "HF514", 1),
        ("warning", "HF514", 0),
        ("warning", "HF401", 0),
    ],
)
def test_the_exit_status_is_1_from_the_fail_level_on(
    run: Run, address: str, level: str, only: str, status: int
) -> None:
    assert run("--fail-level", level, "--only", only, address).exit_code == status


def test_a_connection_that_fails_is_a_finding(run: Run, address: str) -> None:
    wrong = address.replace(CANARY, CANARY + "y")
    for form in FORMATS:
        done = run("--format", form, wrong)
        assert done.exit_code == 1
        assert "HF105" in done.output
    nowhere = run("--format", "json", address.replace(f"/{DATABASE}", "/nowhere"))
    assert [finding["id"] for finding in json.loads(nowhere.output)["examined"][0]["findings"]] == ["HF106"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://me:{}@h@127.0.0.1/shop",
        "mysql+pymysql://me:a/{}@127.0.0.1/shop",
        "mysql+pymsql://me:{}@127.0.0.1/shop",
        "mysql+pymysql://me:{}@127.0.0.1:1/shop?passwd={}&ssl_key_password={}",
        "mysql+pymysql://me:{}@127.0.0.1:1/shop?holdfast_pipelne=1",
        "jdbc:mysql://me:{}@127.0.0.1/shop",
        "{}",
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_a_wrong_url_is_a_finding_and_shows_no_password(run: Run, url: str, form: str) -> None:
    assert run("--format", form, url.replace("{}", CANARY)).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sqlite:///here.db",), "This is the URL of a sqlite database."),
        (("mysql+aiomysql://me@h/d",), "mysql+aiomysql is an asyncio driver"),
        (("shop:app",), "This is no URL: it has no ://. If it is an application, write --app in front of it"),
        (("here:app",), "This is no URL. Did you mean --app here:app?"),
        (("here.py",), "This is no URL. Did you mean --app here.py?"),
        (("--processes", "many"), "'many' is not a whole number from 1 on. Give one, such as 4."),
        (("--web-timeout", "0"), "'0' is not a number of seconds from 0.1 on."),
        (("--only", "sesion"), "there is no check or group called sesion"),
        (("--ignore", "HF999"), "there is no check or group called HF999"),
        (("--explain", "HF999"), "There is no check 'HF999'"),
        (("--format", "yaml"), "'yaml' is not one of"),
        (("mysql://one/", f"mysql://me:{CANARY}@two/"), "There is more than one URL."),
    ],
)
def test_what_cannot_run_has_status_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    Path("here.py").write_text("raise SystemExit('it is not to be imported')")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert words in done.output


# -- explaining, choosing, configuring ---------------------------------------------------------------------------------


def test_a_check_is_explained_without_a_url(run: Run) -> None:
    for check in CHECKS:
        done = run("--explain", check.id.lower())
        assert done.exit_code == 0
        words = " ".join(done.output.split())
        assert f"{check.id} {check.title}" in words
        assert check.explanation in words
        assert f"Cure: {' '.join(check.cure.split())}" in words


def test_the_checks_are_listed(run: Run) -> None:
    lines = run("--list").output.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == [check.id for check in CHECKS]
    assert max(map(len, lines)) <= 80


def test_checks_and_groups_are_chosen(run: Run, address: str) -> None:
    def checks(*options: str) -> set[str]:
        (examined,) = json.loads(run("--format", "json", *options, address).output)["examined"]
        return {*examined["checks"], *(skipped["id"] for skipped in examined["skipped"])}

    assert checks("--only", "HF401,HF505") == checks("--only", "HF401", "--only", "HF505") == {"HF401", "HF505"}
    assert checks("--only", "hf401,Hf505") == {"HF401", "HF505"}
    session = {check.id for check in CHECKS if check.group == "session"}
    assert checks("--only", "session", "--ignore", "HF401") == session - {"HF401"}


def test_options_may_stand_in_pyproject(
    run: Run, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure('[tool.holdfast.doctor]\nonly = ["server"]\nignore = ["HF514"]\nfail-level = "error"\nprocesses = 2\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    done = run("--format", "json", address)
    assert done.exit_code == 0, done.output
    (examined,) = json.loads(done.output)["examined"]
    assert {finding["id"] for finding in examined["findings"]} - {"HF510"} == {"HF505"}
    assert run("--fail-level", "warning", address).exit_code == 1, "the command line goes first"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.holdfast.doctor]\nfail_levl = 'error'\n", "Did you mean fail-level?"),
        (f"[tool.holdfast.doctor]\nurl = 'mysql://me:{CANARY}@h/d'\n", "does not belong into a file like this"),
        ("[tool.holdfast.doctor]\nonly = 3\n", "is a list of ids and groups"),
        (
            "[tool.holdfast.doctor]\nfail-level = 'eror'\n",
            "fail-level under [tool.holdfast.doctor] has a value that it cannot have: 'eror' is not one of",
        ),
        ("[tool.holdfast.doctor]\nprocesses = 'many'\n", "'many' is not a whole number from 1 on"),
        (
            "[tool.holdfast.doctor]\nonly = ['HF401,HF9']\n",
            "only under [tool.holdfast.doctor]: there is",
        ),
        ("[tool.holdfast.doctor\n", "cannot be read"),
    ],
)
def test_a_mistake_in_pyproject_is_explained(run: Run, text: str, words: str) -> None:
    configure(text)
    done = run("--list")
    assert done.exit_code == 2, done.output
    assert "--fail-level" not in done.output, "nobody has typed it in"
    assert words in " ".join(done.output.split())


def test_a_pyproject_of_something_else_is_left_alone(run: Run) -> None:
    configure("[project]\nname = 'holdfast-user'\n")
    assert run("--list").exit_code == 0


def test_it_runs_as_a_program_and_its_environment_and_arguments_do_not_come_back(address: str, tmp_path: Path) -> None:
    environ = {**os.environ, "DATABASE_URL": address, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "sqlalchemy_holdfast", "doctor", "--verbose"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "HF505" in done.stdout
    assert not any(piece in done.stdout for piece in PIECES)
