"""A Prefork serves an application as uWSGI and gunicorn do, says why when it cannot, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sqlalchemy_holdfast.lab import LoadReport, Prefork, Question, ServerFailed, ServerNotFound, _ports, load
from sqlalchemy_holdfast.lab.site import _web
from sqlalchemy_holdfast.lab.site._web import Kind
from tests.lab.helpers import environment, eventually, exists, python

pytestmark = pytest.mark.slow

KINDS: tuple[Kind, ...] = ("uwsgi", "gunicorn")

APP = """
import json, os, sys, time

import sqlalchemy  # of the virtual environment

IMPORTED_BY = os.getpid()
HOOKS = []
os.register_at_fork(after_in_child=lambda: HOOKS.append("register_at_fork"))
try:
    import uwsgi
except ImportError:
    pass
else:
    uwsgi.post_fork_hook = lambda: HOOKS.append(f"post_fork_hook in {os.getpid()}")
print("imported")


def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        print("hanging")
        time.sleep(60)
    elif environ["PATH_INFO"] == "/slow":
        time.sleep(0.01)
    elif environ["PATH_INFO"] == "/who":
        time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({
        "imported_by": IMPORTED_BY, "worker": os.getpid(), "parent": os.getppid(), "hooks": HOOKS,
        "directory": os.getcwd(), "colour": os.environ.get("COLOUR"), "stray": os.environ.get("WEB_CONCURRENCY"),
        "prefix": sys.prefix, "executable": sys.executable,
    }).encode()]
"""

OWNER = """
import sys
from sqlalchemy_holdfast.lab import Prefork
site = Prefork("shop.py:application", kind={kind!r}, workers=2, directory={directory!r}).start()
print(site.pid, *site.workers, flush=True)
sys.stdin.read()
"""


@contextmanager
def started(site: Prefork) -> Iterator[Prefork]:
    """Start it and kill it: a uWSGI takes a second to stop."""
    try:
        yield site.start()
    finally:
        site.kill()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    (directory / "shop.py").write_text(APP)
    (directory / "broken.py").write_text("import no_such_module_anywhere\n")
    (directory / "slow.py").write_text("import time\nprint('loading')\ntime.sleep(60)\n")
    return directory


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, directory: Path) -> Iterator[Prefork]:
    """One of each kind, with three workers; not to be stopped."""
    with started(Prefork("shop:application", kind=request.param, workers=3, directory=directory)) as site:
        yield site


def ask(site: Prefork, path: str = "/") -> Any:
    with urllib.request.urlopen(site.url + path, timeout=60) as answer:
        return json.load(answer)


def ask_all_workers(site: Prefork) -> list[Any]:
    """Ask until two workers have answered; return all answers."""
    answers: list[Any] = []

    def keep(text: str) -> bool:
        answers.append(json.loads(text))
        return True

    report = load(site.url, [Question("/who", keep)] * 12, clients=6)
    assert report.right == 12, report
    return answers


def living(pids: tuple[int, ...]) -> list[int]:
    """Those that run; what has ended and waits for whoever is process 1 to notice does not."""
    return [pid for pid in pids if exists(pid) and runs(pid)]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self/stat").exists()


def test_the_application_is_imported_once_in_the_master_and_answers_from_the_workers(site: Prefork) -> None:
    answers = ask_all_workers(site)
    workers = {answer["worker"] for answer in answers}
    assert {answer["imported_by"] for answer in answers} == {site.pid}
    assert {answer["parent"] for answer in answers} == {site.pid}
    assert len(workers) > 1
    assert workers <= set(site.workers)


def test_workers_are_the_masters_children_and_as_many_as_were_asked_for(site: Prefork) -> None:
    assert len(site.workers) == 3
    assert living(site.workers) == list(site.workers)
    assert site.pid not in site.workers


def test_an_application_runs_in_its_directory_with_this_environments_packages(site: Prefork, directory: Path) -> None:
    answer = ask(site)
    assert answer["directory"] == str(directory)
    assert os.path.realpath(answer["prefix"]) == os.path.realpath(sys.prefix)


def test_uwsgi_forks_without_pythons_fork_hooks_and_gunicorn_with_them(site: Prefork) -> None:
    """What a site under them has to live with, and the reason for testing it under both."""
    for answer in ask_all_workers(site):
        own = f"post_fork_hook in {answer['worker']}"
        assert answer["hooks"] == ([own] if site.kind == "uwsgi" else ["register_at_fork"])


def test_what_the_application_prints_is_in_the_log(site: Prefork) -> None:
    assert site.log.count("imported") == 1


def test_many_clients_at_once_are_all_answered(site: Prefork) -> None:
    report = load(site.url, [Question("/slow", lambda text: "imported_by" in text)] * 100, clients=16)
    assert (report.sent, report.right) == (100, 100), report


def test_its_representation_says_what_it_runs_and_where(site: Prefork, directory: Path) -> None:
    assert repr(site) == f"<Prefork {site.kind} shop:application http://127.0.0.1:{site.port} pid {site.pid}>"
    unused = Prefork("shop.py:application", directory=directory)
    assert repr(unused) == "<Prefork uwsgi shop:application http://127.0.0.1:0 stopped>"
    assert (unused.running, unused.pid, unused.workers, unused.log) == (False, None, (), "")
    assert unused.stop() is True


@pytest.mark.parametrize("kind", KINDS)
def test_environment_and_options_are_handed_on_and_those_of_the_machine_are_not(
    kind: Kind, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--no-such-option")
    monkeypatch.setenv("UWSGI_PROCESSES", "7")
    app = str(directory / "shop.py") + ":application"
    with started(Prefork(app, kind=kind, workers=1, environment={"COLOUR": "red"}, options=["--workers=2"])) as site:
        answer = ask(site)
        assert (answer["colour"], answer["stray"], answer["directory"]) == ("red", None, str(directory))
        eventually(lambda: len(site.workers) == 2)


def test_options_that_leave_fewer_workers_do_not_keep_it_from_being_started(directory: Path) -> None:
    with started(Prefork("shop:application", workers=2, directory=directory, options=["--cheaper=1"])) as site:
        assert len(site.workers) == 1
        assert ask(site)["imported_by"] == site.pid


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_system_does_not_tell_the_log_says_when_it_is_ready(
    kind: Kind, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_web, "workers_in_place", lambda kind, pid: None)
    monkeypatch.setattr(_web, "children", lambda pid: ())
    with started(Prefork("shop:application", kind=kind, workers=3, directory=directory)) as site:
        assert len(_web.WORKER_STARTED[kind].findall(site.log)) == 3
        assert site.workers == ()
        assert ask(site)["imported_by"] == site.pid


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_ends_master_and_workers_and_starting_again_has_the_same_address(kind: Kind, directory: Path) -> None:
    with Prefork("shop:application", kind=kind, workers=2, directory=directory) as site:
        pid, workers, url = site.pid, site.workers, site.url
        assert pid is not None
        assert site.start().pid == pid, "starting twice does nothing"
        assert site.stop() is True
        assert (site.running, site.pid, site.workers) == (False, None, ())
        assert living((pid, *workers)) == []
        site.start()
        assert site.url == url
        assert ask(site)["imported_by"] == site.pid != pid
        assert site.log.count("imported") == 2, "the log is of all starts"
        site.kill()
    assert site.log.count("imported") == 2, "and outlives the server"


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_hangs_does_not_keep_it_from_being_stopped(kind: Kind, directory: Path) -> None:
    reports: list[LoadReport] = []
    with Prefork("shop:application", kind=kind, workers=2, directory=directory) as site:
        workers = site.workers
        asking = threading.Thread(target=lambda: reports.append(load(site.url, [Question("/hang", "")], timeout=30)))
        asking.start()
        assert ask(site)["worker"] in workers
        eventually(lambda: "hanging" in site.log)
        # uWSGI cuts a request off, gunicorn waits for it
        assert site.stop(timeout=0.5 if kind == "gunicorn" else 50.0) is (kind == "uwsgi")
        assert living(workers) == []
    asking.join(60)
    assert [report.errors for report in reports] == [1], "the client was told"


@pytest.mark.parametrize("kind", KINDS)
def test_workers_whose_master_was_killed_go_with_the_next_stop(kind: Kind, directory: Path) -> None:
    site = Prefork("shop:application", kind=kind, workers=2, directory=directory).start()
    pid, workers = site.pid, site.workers
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not site.running)
    site.kill()
    eventually(lambda: living(workers) == [], 5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_survives_when_the_owner_is_killed(kind: Kind, directory: Path) -> None:
    owner = subprocess.Popen(
        python(OWNER.format(kind=kind, directory=str(directory))),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pids = tuple(map(int, owner.stdout.readline().split()))
        assert len(pids) == 3
        assert living(pids) == list(pids)
        owner.kill()
        eventually(lambda: living(pids) == [], 5)


def test_a_forked_child_that_ends_leaves_the_server_alone(site: Prefork) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            site.stop()
            site.kill()
            try:
                site.start()
            except ServerFailed:
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(site)["imported_by"] == site.pid


@pytest.mark.parametrize("kind", KINDS)
def test_an_application_that_cannot_be_imported_is_an_error_with_its_traceback(kind: Kind, directory: Path) -> None:
    site = Prefork("broken:application", kind=kind, directory=directory)
    with pytest.raises(ServerFailed, match="ended while starting") as raised:
        site.start()
    message = str(raised.value)
    assert "broken.py" in message
    assert "No module named 'no_such_module_anywhere'" in message
    assert (site.running, site.port) == (False, 0)
    assert "no_such_module_anywhere" in site.log


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_application_that_is_not_loaded_in_time_is_an_error_and_is_killed(kind: Kind, directory: Path) -> None:
    site = Prefork("slow:application", kind=kind, directory=directory, start_timeout=4)
    with pytest.raises(ServerFailed, match=r"did not start within 4 s[\s\S]*loading"):
        site.start()
    assert not site.running


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_somebody_else_was_faster_to_take_is_replaced_by_another(
    kind: Kind, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports, free_port = iter([taken]), _ports.free_port
        monkeypatch.setattr(_ports, "free_port", lambda host: next(ports, None) or free_port(host))
        with started(Prefork("shop:application", kind=kind, workers=1, directory=directory)) as site:
            assert site.port != taken
            assert ask(site)["imported_by"] == site.pid


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_was_taken_while_it_was_stopped_is_an_error(kind: Kind, directory: Path) -> None:
    site = Prefork("shop:application", kind=kind, workers=1, directory=directory).start()
    site.kill()
    with (
        socket.create_server((site.host, site.port)),
        pytest.raises(ServerFailed, match=rf"127\.0\.0\.1:{site.port}, found its port taken"),
    ):
        site.start()
    assert not site.running


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_environment_and_application_may_lie_in_a_folder_with_any_name(
    kind: Kind, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI alone would not find a virtual environment there."""
    folder = tmp_path / "Zoë's $HOME"
    folder.mkdir()
    (folder / "shop.py").write_bytes((directory / "shop.py").read_bytes())
    (folder / "venv").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(folder / "venv"))
    with started(Prefork("shop:application", kind=kind, workers=1, directory=folder)) as site:
        answer = ask(site)
        assert answer["directory"] == str(folder)
        assert os.path.realpath(answer["prefix"]) == os.path.realpath(sys.prefix)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_is_not_installed_is_named_with_what_to_install(
    kind: Kind, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerNotFound, match=f"pip install {_web.PACKAGES[kind]}"):
        Prefork("shop:application", kind=kind, directory=directory)


def test_a_program_next_to_the_interpreter_comes_before_those_on_the_path(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("own", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "uwsgi").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "own" / "python"))
    assert _web.find("uwsgi") == tmp_path / "own" / "uwsgi"
    (tmp_path / "own" / "uwsgi").unlink()
    assert _web.find("uwsgi") == tmp_path / "path" / "uwsgi"


def test_what_cannot_be_meant_is_refused_at_once(directory: Path) -> None:
    (directory / "inner").mkdir()
    (directory / "inner" / "page.py").touch()
    for app in ("shop", "shop:", ":application", "shop.py"):
        with pytest.raises(ValueError, match="write it as"):
            Prefork(app, directory=directory)
    with pytest.raises(ValueError, match="none of uwsgi, gunicorn"):
        Prefork("shop:application", kind="waitress", directory=directory)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        Prefork("shop:application", workers=0, directory=directory)
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.py"):
        Prefork("absent.py:application", directory=directory)
    with pytest.raises(FileNotFoundError, match="no directory"):
        Prefork("shop:application", directory=directory / "nowhere")
    with pytest.raises(ValueError, match="not in the directory"):
        Prefork(f"{directory / 'shop.py'}:application", directory=directory / "inner")
    inner = Prefork("inner/page.py:application", directory=directory)
    assert (inner.app, inner.directory) == ("inner.page:application", directory)
