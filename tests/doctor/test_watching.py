"""An application is imported as a web server imports it, and one that cannot be is reported in plain words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.facts import ApplicationFacts, Failure
from sqlalchemy_holdfast.doctor.application.importing import NotThere, Target
from sqlalchemy_holdfast.doctor.application.watching import watch
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.lab._ports import bind, free_port
from tests.conftest import read as read_from
from tests.doctor.conftest import SITES, environment

CANARY = "canary/4711 +s3cret"
SITE = SITES.parents[2]

pytestmark = pytest.mark.slow


def failing(server: Server, ends: str, seconds: float = 60, **more: str) -> ApplicationFacts:
    more = {"SITE_ENDS": ends, "SITE_WORD": CANARY, "SITE_PORT": str(server.port), **more}
    return watch("failing", directory=SITES, environ=environment(server, **more), seconds=seconds).facts


def failure(facts: ApplicationFacts) -> Failure:
    assert facts.failure is not None
    return facts.failure


@pytest.mark.parametrize(
    ("ends", "says", "cure"),
    [
        ("hard exit", "os._exit() or the like (exit code 4)", "must not exit"),
        ("error", "RuntimeError: no such account: *** (failing.py line 49)", "Repair this first"),
        ("signal", "ended by the signal SIGKILL", "a library of C code"),
    ],
)
def test_an_import_that_fails_is_told_in_plain_words(server: Server, ends: str, says: str, cure: str) -> None:
    facts = failing(server, ends)
    assert says in failure(facts).happened
    assert cure in failure(facts).cure
    assert failure(facts).output[0] == "starting with ***"
    assert CANARY not in repr(facts)
    assert "canary" not in repr(facts)


_FAILS = """
import os, sys
from pathlib import Path
from sqlalchemy_holdfast.doctor.application.importing import Target, load
from sqlalchemy_holdfast.doctor.application.wording import failure_of
for os.environ["SITE_ENDS"] in sys.argv[1:]:
    try:
        load(Target("failing"), Path.cwd(), lambda: None)
    except BaseException as error:
        failure = failure_of(error, Path(os.path.realpath(os.getcwd())))
        print("FAILED", failure.happened, "|", failure.cure)
    sys.modules.pop("failing", None)
"""


def test_each_kind_of_failure_has_its_words(server: Server) -> None:
    """All in one process: what is raised is caught there."""
    expected = {
        "exit": ("ends the process: it calls sys.exit() (failing.py line 45), with code 3", "must not exit"),
        "module": ("imports no_such_module_at_all (failing.py line 51), which is not installed", "the Python, and in"),
        "uwsgi": ("imports uwsgi (failing.py line 53)", "except ImportError"),
        "database": ("uses the database (failing.py line 39), and that failed: OperationalError", "holdfast doctor"),
    }
    done = subprocess.run(
        [sys.executable, "-c", _FAILS, *expected],
        cwd=SITES,
        env=environment(server, SITE_WORD=CANARY, SITE_PORT=str(server.port)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    for line, (says, cure) in zip(lines, expected.values(), strict=True):
        assert says in line.partition("|")[0]
        assert cure in line.partition("|")[2]
        assert CANARY not in line


@pytest.mark.parametrize(("ends", "line"), [("server", 20), ("asgi server", 27)])
def test_an_import_that_starts_a_server_is_ended_and_named(server: Server, ends: str, line: int) -> None:
    port = free_port("127.0.0.1")
    began = time.monotonic()
    facts = failing(server, ends, seconds=100, SITE_FREE_PORT=str(port))
    assert time.monotonic() - began < 90, "it does not wait for the limit"
    assert f"starts a server on port {port} at failing.py line {line}" in failure(facts).happened
    assert 'if __name__ == "__main__"' in failure(facts).cure
    assert not any("\x1b" in line or "[31m" in line for line in failure(facts).output), "its colours are left out"


def test_an_import_that_starts_a_server_where_the_site_runs_already_is_named_as_well(server: Server) -> None:
    with bind("127.0.0.1") as taken:
        taken.listen()
        port = taken.getsockname()[1]
        facts = failing(server, "server", SITE_FREE_PORT=str(port))
    assert f"starts a server on port {port} at failing.py line 20" in failure(facts).happened
    assert CANARY not in repr(facts)


def test_an_import_that_opens_a_port_in_passing_is_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os, socket, time\n"
        "metrics = socket.create_server(('127.0.0.1', int(os.environ['SITE_FREE_PORT'])))\n"
        "time.sleep(1.2)  # longer than it takes to be recognised as a server\n"
    )
    env = environment(server, SITE_FREE_PORT=str(free_port("127.0.0.1")))
    assert watch("shop", directory=tmp_path, environ=env).facts.failure is None


def test_an_import_that_does_not_end_is_ended(server: Server) -> None:
    """It catches whatever is raised into it, so that its process has to be killed."""
    facts = failing(server, "wait", seconds=1)
    assert "did not end within 1 s" in failure(facts).happened
    assert "--app-timeout" in failure(facts).cure


def test_nothing_of_it_lives_on(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        "open('pid', 'w').write(str(child.pid))\n"
    )
    watch("shop", directory=tmp_path, environ=environment(server))
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "its child lives on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("target", "directory", "file"),
    [
        ("packaged/web.py:application", SITES, "packaged/database.py"),
        ("flask_held:create_app(3, debug=False)", SITES, "flask_held.py"),
        (f"{SITES / 'held.py'}:app", SITE, "tests/doctor/sites/held.py"),
    ],
)
def test_the_spellings_of_web_servers_are_understood(server: Server, target: str, directory: Path, file: str) -> None:
    facts = watch(target, directory=directory, environ=environment(server)).facts
    assert facts.failure is None, facts.failure
    (engine,) = facts.engines
    assert engine.made is not None
    assert engine.made.file == file
    if "3" in target:
        assert engine.pool.size == 3


_LOADS = """
import sys
from pathlib import Path
from sqlalchemy_holdfast.doctor.application.importing import NotThere, Target, load
for text in sys.argv[1:]:
    try:
        loaded = load(Target(text), Path.cwd(), lambda: None)
        print(type(loaded).__name__)
    except NotThere as error:
        print(error.happened, "|", error.cure)
"""


def test_names_are_understood_and_what_is_not_there_is_named(server: Server) -> None:
    """All in one process: what an import leaves behind is of no account here."""
    expected = {
        "packaged.web:application": "Engine",
        "flask_held:create_app": "Flask",
        "flask_held.py": "Flask",
        "hold:app": "There is no module hold in",
        "packaged.wep:application": "There is no module packaged.wep",
        "held.app": "There is no module held.app. Did you mean held:app?",
        "held:ap": "The module held has no ap. Did you mean held:app?",
    }
    done = subprocess.run(
        [sys.executable, "-c", _LOADS, *expected],
        cwd=SITES,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(expected), done.stdout
    for line, says in zip(lines, expected.values(), strict=True):
        assert line.startswith(says)
        assert "|" not in line or line.partition("|")[2].strip(), "and says what to do"


def test_a_target_is_read_without_importing_it() -> None:
    target = Target("shop.web:create_app('a', size=2)")
    assert (target.module, target.name, target.arguments, target.keywords) == (
        "shop.web",
        "create_app",
        ["a"],
        {"size": 2},
    )


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no/such.py", "There is no file no/such.py"),
        ("held:app()()", "does not name an application"),
        ("held:create_app(os.environ)", "does not name an application"),
        (":app", "does not name a module"),
        ("1shop", "does not name a module"),
        (f"mysql://user:{CANARY}@host/shop", "That is a URL"),
    ],
)
def test_a_text_that_can_be_no_target_is_refused(target: str, says: str) -> None:
    with pytest.raises(NotThere, match=says) as refused:
        Target(target)
    assert refused.value.cure
    assert CANARY not in str(refused.value)


def test_its_engines_can_be_made_again_to_connect_as_it_does(server: Server) -> None:
    watched = watch("several", directory=SITES, environ=environment(server))
    (engine,) = watched.engines()
    try:
        assert read_from(engine, 7) == 7
    finally:
        engine.dispose()
    assert ":app@" not in repr(watched)


def test_the_database_sees_only_what_the_import_does(server: Server) -> None:
    def statements() -> int:
        return int(server.execute("SHOW GLOBAL STATUS LIKE 'Com_insert'")[0][1]) + int(
            server.execute("SHOW GLOBAL STATUS LIKE 'Com_commit'")[0][1]
        )

    def connections() -> int:
        return int(server.execute("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])

    wrote, first, second = statements(), connections(), connections()
    watch("stock", directory=SITES, environ=environment(server))
    assert connections() - second == second - first, "the asking itself"
    assert statements() == wrote


def test_the_environment_is_not_this_processs_when_another_is_given(server: Server) -> None:
    assert "SITE_ENDS" not in os.environ
    assert "KeyError" in failure(watch("failing", directory=SITES, environ=environment(server)).facts).happened
