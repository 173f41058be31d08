"""holdfast url: asks, builds, checks and tries; the password is seen nowhere but in the URL."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from sqlalchemy_holdfast.cli.commands import cli
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.urls import URL_VARIABLES, VARIABLES
from sqlalchemy_holdfast.urls.providers import PROVIDERS

SECRET = "Kx7q@Zv9w"
ESCAPED = "Kx7q%40Zv9w"
PA = "me.mysql.pythonanywhere-services.com"

WELL_WRITTEN = "Nothing is wrong with the way the URL is written."
UNTRIED = "It was not tried: --connect does that."

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in (*URL_VARIABLES, *(name for names in VARIABLES.values() for name in names)):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str, typed: str = "", **environ: str) -> Result:
        done = CliRunner().invoke(cli, ["url", *arguments], input=typed, env=environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert SECRET not in done.output
        assert "Kx7q" not in done.stderr
        return done

    return invoke


def test_it_asks_for_what_is_missing_and_prints_only_the_url(run: Run) -> None:
    done = run("--driver", "pymysql", typed=f"me\ndb.example.org\nshop\n{SECRET}\n")
    assert done.exit_code == 0
    assert done.stdout == f"mysql+pymysql://me:{ESCAPED}@db.example.org/shop?plugin=holdfast\n"
    for question in ("User name", "Host", "Database", "Password (not shown)"):
        assert question in done.stderr


def test_it_does_not_ask_for_what_follows_from_the_provider(run: Run) -> None:
    done = run("--at", "pythonanywhere", "-u", "me", "-d", "shop", "--driver", "pymysql", typed=f"{SECRET}\n")
    assert done.stdout == f"mysql+pymysql://me:{ESCAPED}@{PA}/me$shop?plugin=holdfast\n"
    assert "Host" not in done.stderr


def test_a_host_that_does_not_follow_is_asked_for(run: Run) -> None:
    done = run("--at", "azure", "-u", "me", "-d", "shop", typed=f"server\n{SECRET}\n")
    assert make_url(done.stdout.strip()).host == "server.mysql.database.azure.com"
    assert "refuses connections without TLS" in done.stderr, "advice"
    assert done.exit_code == 0


def test_a_wrong_provider_ends_it_before_it_asks(run: Run) -> None:
    done = run("--at", "pythonanwhere")
    assert done.exit_code == 2
    assert "Did you mean pythonanywhere?" in done.stderr
    assert "User name" not in done.stderr


def test_the_password_may_come_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    for source, typed in ((str(file), ""), ("-", f"{SECRET}\n")):
        done = run("-u", "me", "--host", "h", "--driver", "pymysql", "--password-file", source, typed=typed)
        assert make_url(done.stdout.strip()).password == SECRET
        assert "names no database" in done.stderr


def test_the_parts_may_come_from_the_environment(run: Run) -> None:
    done = run(
        "--environ", "--set", "charset=utf8mb4", "--set", "holdfast_pipeline=no", MYSQL_USER="me", MYSQL_HOST="h"
    )
    assert dict(make_url(done.stdout.strip()).query) == {
        "charset": "utf8mb4",
        "holdfast_pipeline": "no",
        "plugin": "holdfast",
    }
    nothing = run("--environ")
    assert nothing.exit_code == 2
    assert "the environment has none of DATABASE_URL" in nothing.stderr


def test_the_parts_may_come_from_an_option_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f'[client]\nuser=me\n[shop]\ndatabase=shop\npassword="{SECRET}"\n')
    done = run("--my-cnf", str(file), "--group", "shop", "--driver", "mysqldb")
    assert done.stdout == f"mysql+mysqldb://me:{ESCAPED}@localhost/shop?plugin=holdfast\n"
    missing = run("--my-cnf", str(file), "--group", "shpo")
    assert missing.exit_code == 2
    assert "has no group [shpo]. It has [client], [shop]." in missing.stderr


def test_a_wrong_use_of_the_command_is_2(run: Run) -> None:
    for wrong in (("--driver", "psycopg", "-u", "me", "--host", "h", "-d", "d"), ("--my-cnf", "/nofile")):
        done = run(*wrong, typed=f"{SECRET}\n")
        assert done.exit_code == 2, wrong
        assert SECRET not in done.stderr


@pytest.mark.parametrize("pair", ["charset", "holdfast_pipelne=1"])
def test_a_wrong_pair_is_refused(run: Run, pair: str) -> None:
    assert run("-u", "me", "--host", "h", "-d", "d", "--set", pair, typed=f"{SECRET}\n").exit_code != 0


@pytest.mark.parametrize("from_stdin", [True, False])
def test_a_wrong_url_is_explained(run: Run, from_stdin: bool) -> None:
    given = f"mysql+pymysql://me:{ESCAPED}@{PA}/shop"
    done = run("--check", typed=f"{given}\n") if from_stdin else run("--check", given)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "wrong: On PythonAnywhere" in done.stderr
    assert "write me$shop in place of shop" in done.stderr
    assert "not tried" not in done.stderr, "nobody asked for it"


def test_a_good_url_is_called_good_with_what_is_known_of_its_host(run: Run) -> None:
    done = run("--check", typed=f"mysql+pymysql://me:{ESCAPED}@{PA}/me$shop?plugin=holdfast\n")
    assert done.exit_code == 0
    assert f"{WELL_WRITTEN} {UNTRIED}\n" in done.stderr
    assert "idle for 300 s (https://help.pythonanywhere.com/" in done.stderr


def test_advice_is_no_failure(run: Run) -> None:
    done = run("--check", typed=f"mysql://me:{ESCAPED}@h/d\n")
    assert done.exit_code == 0
    assert "note: mysql:// names no driver" in done.stderr
    assert f"No certain mistake, and 2 notes: see above. {UNTRIED}\n" in done.stderr
    assert "Nothing is wrong" not in done.stderr


def test_another_database_is_named(run: Run) -> None:
    done = run("--check", "sqlite:///here.db")
    assert done.exit_code == 0
    assert "A sqlite URL: holdfast holds MySQL and MariaDB" in done.stderr
    assert UNTRIED in done.stderr
    for connect in ((), ("--connect",)):
        unknown = run("--check", "oracl://here", *connect)
        assert unknown.exit_code == 1
        assert "wrong: SQLAlchemy knows no database called oracl." in unknown.stderr
        assert "steps aside" not in unknown.stderr


@pytest.mark.parametrize("driver", ["mariadbconnector", "aiomysql"])
def test_a_driver_whose_connections_are_not_held_is_named(run: Run, driver: str) -> None:
    done = run("--check", f"mysql+{driver}://me@h/d")
    assert done.exit_code == 0
    assert f"note: holdfast does not know the driver {driver}, and leaves its connections as they are." in done.stderr
    assert "Add ?plugin=holdfast" not in done.stderr, "it would change nothing"


def test_options_that_build_a_url_are_refused_beside_check(run: Run) -> None:
    done = run("--check", "mysql+pymysql://me@h/d", "-u", "you", "--at", "pythonanywhere")
    assert done.exit_code == 2
    assert "--check reads a whole URL, and has no use for --username, --at." in done.stderr


@pytest.mark.parametrize("options", [(), ("--connect",), ("--check", "--connect")])
def test_a_url_in_the_wrong_place_is_refused_without_repeating_it(run: Run, options: tuple[str, ...]) -> None:
    done = run(*options, f"mysql+pymysql://me:{ESCAPED}@h/d")
    assert done.exit_code == 2
    assert "holdfast url --check URL --connect" in done.stderr


def test_the_providers_are_listed_with_their_sources(run: Run) -> None:
    done = run("--hosts")
    assert done.exit_code == 0
    for known in PROVIDERS:
        assert known.name in done.stdout
        for source in known.sources.values():
            assert source.address in done.stdout


# -- connecting --------------------------------------------------------------------------------------------------------


def test_a_url_that_connects_says_who_answered(run: Run, server: Server, driver: str) -> None:
    given = server.url(driver, query={"plugin": "holdfast"}).render_as_string(hide_password=False)
    done = run("--check", "--connect", typed=f"{given}\n")
    assert done.exit_code == 0, done.stderr
    assert f"{WELL_WRITTEN}\nConnected to " in done.stderr
    ((idle,),) = server.execute("SELECT @@GLOBAL.wait_timeout")
    assert f"as app@%, database test; the server closes a connection that is idle for {idle} s." in done.stderr


def test_a_built_url_is_tried_too(run: Run, server: Server) -> None:
    place = ["--host", f"127.0.0.1:{server.port}", "-d", "test", "--driver", "pymysql", "--connect"]
    assert run("-u", "app", *place, typed="app\n").exit_code == 0
    done = run("-u", "app", *place, typed=f"{SECRET}\n")
    assert done.exit_code == 1
    assert "The connection failed: (1045" in done.stderr
    assert "the server refused the account or its password" in done.stderr, "the hint"


@pytest.mark.parametrize(
    ("database", "query", "sentence"),
    [
        ("nodb", {}, "there is no database nodb on this server"),
        ("test", {"colour": "red"}, "colour in the URL is no option of PyMySQL"),
        ("test", {"ssl_ca": "/no/such/file"}, "ssl_ca in the URL is the path of a file that is not there"),
        ("test", {"connect_timeout": "soon"}, "connect_timeout=soon in the URL cannot be used"),
    ],
)
def test_what_fails_is_explained(run: Run, server: Server, database: str, query: dict[str, str], sentence: str) -> None:
    given = server.url(database=database, query=query).render_as_string(hide_password=False)
    done = run("--check", given, "--connect")
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert ("not tried" in done.stderr) is bool(query), "what is known to be wrong is not tried"


def test_a_wrong_url_is_not_tried(run: Run, server: Server) -> None:
    given = server.url(query={"pool_recycle": "280"}).render_as_string(hide_password=False)
    done = run("--check", given, "--connect")
    assert done.exit_code == 1
    assert done.stderr.endswith("It was not tried: correct it first.\n")


def test_the_url_s_own_timeout_is_kept(run: Run, server: Server) -> None:
    """The command would give it ten seconds."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        given = server.url("mysqldb", port=silent.getsockname()[1], query={"connect_timeout": "1"})
        done = run("--check", given.render_as_string(hide_password=False), "--connect")
    assert done.exit_code == 1
    assert "accepts connections" in done.stderr


def test_another_database_is_tried_as_well(run: Run) -> None:
    done = run("--check", "sqlite://", "--connect")
    assert done.exit_code == 0
    assert "Connected." in done.stderr


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (f"sqlite://me:{ESCAPED}@host/x", "SQLAlchemy refuses the URL: Invalid SQLite URL"),
        ("sqlite:////no/such/folder/x.db", "The connection failed: unable to open database file"),
        ("mysql+aiomysql://me@h/d", "The URL was not tried: mysql+aiomysql is an asyncio driver"),
        ("mysql+pyodbc://me@h/d", "What the URL's driver needs is not installed: No module named 'pyodbc'."),
    ],
)
def test_what_cannot_be_tried_is_said(run: Run, given: str, sentence: str) -> None:
    done = run("--check", given, "--connect")
    assert done.exit_code == 1
    assert f"wrong: {sentence}" in done.stderr
