"""`holdfast commits`: the table is made and pruned, and no password is shown."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.cli.commands import cli
from sqlalchemy_holdfast.lab import Server


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["commits", *arguments], env=environment)


@pytest.fixture
def url(server: Server) -> str:
    server.execute("DROP TABLE IF EXISTS holdfast_commits", database="test")
    return server.url("pymysql").render_as_string(hide_password=False)


def test_create_and_prune(server: Server, url: str) -> None:
    for _ in range(2):
        done = run("create", url)
        assert (done.exit_code, done.output) == (0, "The table holdfast_commits is there.\n")
    server.execute(
        "INSERT INTO holdfast_commits VALUES ('a', UTC_TIMESTAMP()), ('b', UTC_TIMESTAMP() - INTERVAL 3 DAY), "
        "('c', UTC_TIMESTAMP() - INTERVAL 5 HOUR)",
        database="test",
    )
    assert run("prune", DATABASE_URL=url).output == "1 rows deleted.\n"
    assert run("prune", url, "--older-than", "4h").output == "1 rows deleted.\n"
    assert server.execute("SELECT token FROM holdfast_commits", database="test")[0][0].startswith(b"a")


@pytest.mark.parametrize("age", ["1h", "soon", "-1d", "119m"])
def test_an_age_that_is_none_or_too_young_is_refused(url: str, age: str) -> None:
    done = run("prune", url, f"--older-than={age}")
    assert done.exit_code == 2
    assert "--older-than" in done.output


def test_what_goes_wrong_is_said_without_a_traceback_and_without_the_password(server: Server, url: str) -> None:
    done = run("prune", url)
    assert done.exit_code == 1
    assert "holdfast_commits" in done.output
    wrong = server.url("pymysql", password="s3cret").render_as_string(hide_password=False)
    for arguments in (("create", wrong), ("create", "mysql+pymysql://a:s3cret@b@host/db")):
        done = run(*arguments)
        assert done.exit_code == 1
        assert "s3cret" not in done.output
        assert page("errors/1045") in done.output or "database-url-error" in done.output, "what to do is said"
        assert "Traceback" not in done.output
