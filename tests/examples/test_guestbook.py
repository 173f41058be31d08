"""The guestbook runs as its README says: on SQLite with no configuration, on MariaDB with one variable, under uWSGI."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Prefork, Question, Server, load
from tests.examples.running import EXAMPLES, address, environment, eventually, run, served, visit

pytestmark = pytest.mark.slow

README = (EXAMPLES / "guestbook" / "README.md").read_text()
SHELL = [line.strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
WSGI_FILE = "\n".join(line.strip() for line in re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0].splitlines())
UPGRADE = "flask --app guestbook db upgrade"
IDLE_LIMIT_SECONDS = 2
WORKERS = 2

DATABASE_USED_AT_IMPORT = """
from guestbook import Entry, db
application.app_context().push()
db.session.query(Entry).count()
"""
"""What the provider's page warns of: the workers are forked from a process with an open session."""


THERE_AND_BACK = """
from flask_migrate import check, downgrade, upgrade
from guestbook import app
with app.app_context():
    upgrade()
    check()
    downgrade(revision="base")
    upgrade(sql=True)
"""


@pytest.fixture
def guestbook(tmp_path: Path) -> Path:
    """A fresh copy."""
    ignored = shutil.ignore_patterns("instance", ".venv", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / "guestbook", tmp_path / "guestbook", ignore=ignored))


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """One that ends connections after two idle seconds."""
    with Server(options={"wait_timeout": IDLE_LIMIT_SECONDS}) as server:
        yield server


def sign(site: str, name: str, message: str) -> None:
    answer = visit(site, form={"name": name, "message": message})
    assert (answer.status, answer.location) == (303, "/"), answer


def test_the_readme_has_the_commands_that_are_run_here() -> None:
    assert SHELL.count(UPGRADE) == 4
    assert SHELL.count("flask --app guestbook run") == 3
    assert SHELL.count('export DATABASE_URL="$DATABASE_URL?holdfast_enabled=false"') == 1
    assert len(README.splitlines()) < 110, "soon read"


def test_it_runs_on_sqlite_with_no_configuration(guestbook: Path) -> None:
    env = environment(FLASK_RUN_PORT="0")
    run(UPGRADE, guestbook, env)
    with served(["flask", "--app", "guestbook", "run"], guestbook, env) as site:
        assert "Nobody has written anything yet." in visit(site).text
        sign(site, "Ada", "Hello,\n  world 🎉")
        sign(site, "<b>Bob</b>", "<script>alert('1')</script> & so on")
        page = visit(site).text
        assert page.index("&lt;b&gt;Bob") < page.index("Ada"), "the latest first"
        assert "Hello, world 🎉" in page
        assert "<script>" not in page
        assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; so on" in page
        assert visit(site, "/static/style.css").status == 200
        for form, words in (
            ({"name": " ", "message": "<i>kept</i>"}, "Please fill in"),
            ({"name": "Eve"}, "Please fill in"),
            ({"name": "x" * 61, "message": "<i>kept</i>"}, "too long"),
        ):
            answer = visit(site, form=form)
            assert answer.status == 400
            assert words in answer.text
            assert ("&lt;i&gt;kept&lt;/i&gt;</textarea>" in answer.text) == ("message" in form), "what was typed"
        assert visit(site).text == page
    assert (guestbook / "instance" / "guestbook.db").exists()


def test_the_migrations_make_what_the_models_say_and_can_be_undone(guestbook: Path, server: Server) -> None:
    server.create_database("migrated")
    for env in (environment(), environment(address(server, "pymysql", "migrated"))):
        printed = run([sys.executable, "-c", THERE_AND_BACK], guestbook, env)
        assert "No new upgrade operations detected" in printed
        assert "ALTER TABLE entry ADD COLUMN written_at DATETIME" in printed
    assert server.execute("SHOW TABLES", database="migrated") == [("alembic_version",)]


@pytest.mark.parametrize(("query", "statuses"), [({}, (200, 200)), ({"holdfast_enabled": "false"}, (500, 200))])
def test_its_connections_are_killed_and_the_page_is_loaded_again(
    guestbook: Path, server: Server, query: dict[str, str], statuses: tuple[int, int]
) -> None:
    server.execute("CREATE OR REPLACE DATABASE killed CHARACTER SET utf8mb4")
    env = environment(address(server, "pymysql", "killed", **query), FLASK_RUN_PORT="0")
    run(UPGRADE, guestbook, env)
    with served(["flask", "--app", "guestbook", "run"], guestbook, env) as site:
        sign(site, "Ada", "Hello")
        assert "Ada" in visit(site).text
        server.execute("KILL USER app")
        eventually(lambda: not server.processlist(user="app"))
        assert (visit(site).status, visit(site).status) == statuses


@contextmanager
def under_uwsgi(guestbook: Path, server: Server, driver: str, wsgi_file: str, **query: str) -> Iterator[Prefork]:
    """Deploy it: an empty database, the migrations, the server with its workers."""
    database = f"you${driver}"
    server.execute(f"CREATE OR REPLACE DATABASE `{database}` CHARACTER SET utf8mb4")
    query |= {"use_pure": "1"} if driver == "mysqlconnector" else {}
    url = address(server, driver, database, **query)
    run(UPGRADE, guestbook, environment(url))
    if wsgi_file == "wsgi.py":
        site = Prefork("wsgi.py:application", directory=guestbook, workers=WORKERS, environment={"DATABASE_URL": url})
    else:
        lines = WSGI_FILE.replace("/home/you/holdfast/examples/guestbook", str(guestbook))
        lines = re.sub(r'"mysql[^"]*"', repr(url), lines)
        assert str(guestbook) in lines
        assert url in lines
        (guestbook.parent / "you_pythonanywhere_com_wsgi.py").write_text(lines + DATABASE_USED_AT_IMPORT)
        site = Prefork("you_pythonanywhere_com_wsgi.py:application", directory=guestbook.parent, workers=WORKERS)
    try:
        yield site.start()
    finally:
        site.kill()


def has_all(names: list[str], page: str) -> bool:
    return all(name in page for name in names)


def visit_with_pauses(site: str, server: Server, visitors: int = 8) -> None:
    """Sign and read, wait until the server has ended every idle connection, do it again; no request may fail."""
    for day in ("Monday", "Tuesday"):
        if day != "Monday":
            assert server.processlist(user="app")
            eventually(lambda: not server.processlist(user="app"))
        with ThreadPoolExecutor(visitors) as threads:
            forms = [{"name": f"{day} {number}", "message": "Grüße"} for number in range(visitors)]
            answers = list(threads.map(lambda form: visit(site, form=form), forms))
        assert [answer.status for answer in answers] == [303] * visitors
        names = [form["name"] for form in forms]
        report = load(site, [Question("/", partial(has_all, names))] * 20, clients=4)
        assert report.right == report.sent, report


@pytest.mark.parametrize(
    ("driver", "wsgi_file"),
    [("pymysql", "wsgi.py"), ("mysqldb", "PythonAnywhere's"), ("mysqlconnector", "PythonAnywhere's")],
)
def test_under_uwsgi_no_request_fails_after_the_idle_limit(
    guestbook: Path, strict_server: Server, driver: str, wsgi_file: str
) -> None:
    with under_uwsgi(guestbook, strict_server, driver, wsgi_file) as site:
        visit_with_pauses(site.url, strict_server)
        assert "Error" not in site.log
    written = strict_server.execute("SELECT name FROM entry", database=f"you${driver}")
    assert len(written) == len(set(written)) == 16


def test_without_holdfast_requests_fail_there(guestbook: Path, strict_server: Server) -> None:
    """So the test above can fail."""
    with (
        under_uwsgi(guestbook, strict_server, "pymysql", "wsgi.py", holdfast_enabled="false") as site,
        pytest.raises(AssertionError, match="500"),
    ):
        visit_with_pauses(site.url, strict_server)
