"""A slot file, or a directory for it, that is broken or somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeout

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.budget import Budget
from sqlalchemy_holdfast.lab import Server
from tests.budget.cost import TOP
from tests.budget.crowd import Crowd
from tests.budget.host import USER, Host
from tests.conftest import EngineFactory, inside, read

NOBODY = 65534
Log = Callable[[], list[str]]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def symlink(path: Path) -> None:
    path.with_name("elsewhere").mkdir(0o700)
    path.symlink_to(path.with_name("elsewhere"))


def open_to_the_group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def somebody_elses(path: Path) -> None:
    path.mkdir(0o700)
    os.chown(path, NOBODY, NOBODY)


def not_a_directory(path: Path) -> None:
    path.write_text("")


UNSAFE_DIRECTORIES = [symlink, open_to_the_group, pytest.param(somebody_elses, marks=as_root), not_a_directory]


@pytest.mark.parametrize("make", UNSAFE_DIRECTORIES)
def test_an_unsafe_default_directory_costs_the_sharing_and_one_warning(
    small: Host,
    held: EngineFactory,
    log: Log,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
) -> None:
    make(tmp_path / "default")
    monkeypatch.setattr("sqlalchemy_holdfast.budget.slot_file.default_directory", lambda: str(tmp_path / "default"))
    engine = held(small.url("pymysql", held=False))
    for value in (1, 2):
        assert read(engine, value) == value
        engine.dispose()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1, log()
    assert "not shared out between the processes" in warnings[0]
    assert str(tmp_path / "default") in warnings[0]
    assert "holdfast_budget_directory" in warnings[0]


@pytest.mark.parametrize("make", UNSAFE_DIRECTORIES)
def test_an_unsafe_directory_that_was_asked_for_is_refused(
    small: Host, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "mine")
    assert_refused(small, tmp_path / "mine", "mine")


def test_a_directory_that_cannot_be_made_is_refused(small: Host, tmp_path: Path) -> None:
    assert_refused(small, tmp_path / "missing" / "mine", "missing")


def assert_refused(host: Host, directory: Path, *words: str) -> None:
    """The first connection fails, says why, and is not left behind."""
    engine = create_engine(sharing_url(host, directory))
    try:
        with pytest.raises(holdfast.BudgetUnavailable) as caught:
            engine.connect()
        for word in ("holdfast_budget_directory", *words):
            assert word in str(caught.value)
        assert "site:site" not in str(caught.value)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        engine.dispose()
    assert_nobody_is_left(host)


@pytest.mark.parametrize("budget", ["learned", 3])
def test_an_unsafe_directory_that_was_asked_for_is_refused_again_and_again(
    small: Host, tmp_path: Path, budget: str | int
) -> None:
    not_a_directory(tmp_path / "mine")
    engine = create_engine(sharing_url(small, tmp_path / "mine"), holdfast_budget=budget)
    try:
        for _ in range(3):
            with pytest.raises(holdfast.BudgetUnavailable):
                engine.connect()
    finally:
        engine.dispose()


def assert_nobody_is_left(host: Host) -> None:
    deadline = time.monotonic() + 60
    while (left := host.server.processlist(user=USER)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def sharing_url(host: Host, directory: Path) -> URL:
    return host.url("pymysql", held=True, holdfast_budget_directory=str(directory))


# -- the file itself -----------------------------------------------------------------------------------------------


@pytest.fixture
def slot_file(small: Host, tmp_path: Path) -> Path:
    """A slot file as another process left it."""
    with Crowd(sharing_url(small, tmp_path / "budget"), processes=1, threads=1) as crowd:
        crowd.ask(small.numbers(1))
        crowd.finish()
    (found,) = (tmp_path / "budget").glob("*.slots")
    return found


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def too_much(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"limit=3", b"limit=9"))


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [garbage, empty, too_much, deleted])
def test_a_broken_file_changes_nothing(
    small: Host, slot_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    harm(slot_file)
    engine = create_engine(sharing_url(small, tmp_path / "budget"), pool_timeout=0.2)
    assert_two_of_three(engine)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert b"limit=3 " in slot_file.read_bytes()


def test_a_file_that_is_deleted_in_use_is_made_again(small: Host, slot_file: Path, tmp_path: Path) -> None:
    engine = create_engine(sharing_url(small, tmp_path / "budget"), pool_timeout=0.2)
    with engine.connect():
        slot_file.unlink()
        with engine.connect():
            assert slot_file.exists()
            with pytest.raises(PoolTimeout, match="max_user_connections allows 3 connections"):
                engine.connect()
    engine.dispose()


def assert_two_of_three(engine: Engine) -> None:
    """Two connections can be had; the third place is left to the owner's console."""
    try:
        with engine.connect(), engine.connect(), pytest.raises(PoolTimeout, match="allows 3 connections"):
            engine.connect()
    finally:
        engine.dispose()


def its_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def hard_linked(path: Path) -> None:
    os.link(path, path.with_name("elsewhere"))


def given_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("harm", [its_symlink, fifo, hard_linked, pytest.param(given_away, marks=as_root)])
def test_a_file_that_is_not_ours_alone_is_refused(
    small: Host, slot_file: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    harm(slot_file)
    assert_refused(small, tmp_path / "budget", slot_file.name)


# -- where nothing can be written ----------------------------------------------------------------------------------

_MOUNTED = """
mount -t tmpfs -o size=4k,{options} tmpfs "$1" && {prepare} && exec "$2" -c "$3" "$4"
"""
_PROGRAM = """
import logging, sys
from sqlalchemy import create_engine, text
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
engine = create_engine(sys.argv[1], pool_timeout=0.2)
try:
    with engine.connect() as one, engine.connect() as two:
        print("read", one.scalar(text("SELECT 1")) + two.scalar(text("SELECT 1")))
        engine.connect()
except Exception as error:
    print(type(error).__name__, error)
"""


def in_a_mount(host: Host, directory: Path, options: str, prepare: str) -> str:
    """Connect twice and once more from a program for which the directory is a tiny file system of its own."""
    url = sharing_url(host, directory / "budget")
    script = _MOUNTED.format(options=options, prepare=prepare)
    words = [str(directory), sys.executable, _PROGRAM, url.render_as_string(hide_password=False)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *words], cwd=TOP, capture_output=True, text=True, timeout=60
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no mount of one's own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="mounts")
def test_on_a_full_disk_connections_are_shared_all_the_same(small: Host, tmp_path: Path) -> None:
    seen = in_a_mount(small, tmp_path, "mode=700", 'cat /dev/zero > "$1/fill" 2>/dev/null; test -s "$1/fill"')
    assert "read 2" in seen
    assert "allows 3 connections" in seen
    assert "WARNING" not in seen


@pytest.mark.skipif(sys.platform != "linux", reason="mounts")
def test_a_read_only_directory_is_refused(small: Host, tmp_path: Path) -> None:
    seen = in_a_mount(small, tmp_path, "mode=700", 'mount -o remount,bind,ro "$1"')
    assert "BudgetUnavailable" in seen
    assert "Read-only file system" in seen
    assert "holdfast_budget_directory" in seen


def test_a_file_that_a_smaller_server_has_left_at_this_address_is_not_believed(
    held: EngineFactory, tmp_path: Path
) -> None:
    """A port is used again, an account gets a larger limit: the server has said what it allows."""
    directory = str(tmp_path / "slots")
    with Server(options={"max_connections": 400}) as server:
        url = server.url("pymysql").update_query_dict({"holdfast_budget_directory": directory})
        engine = held(url, pool_size=6, pool_timeout=5)
        key = inside(engine)._limit.key
        assert key is not None
        Budget.shared(key, directory).set_limit(3, 0)
        connections = [engine.connect() for _ in range(6)]
        for connection in connections:
            connection.close()
        assert holdfast.status(engine).budget is None, "this server allows more than are counted"
        engine.dispose()
