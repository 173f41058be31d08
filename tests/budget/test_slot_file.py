"""The slot file in hostile places, and its header as no more than a hint."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sqlalchemy_holdfast.budget.slot_file import SlotFile, default_directory
from sqlalchemy_holdfast.errors import BudgetUnavailable
from tests.budget.workers import KEY, Workers

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def refused(directory: Path, why: str) -> None:
    """The place is refused, and the message says what is wrong, where, and which setting helps."""
    with pytest.raises(BudgetUnavailable) as caught:
        SlotFile(KEY, str(directory)).open()
    for words in (why, str(directory), "holdfast_budget_directory"):
        assert words in str(caught.value)
    assert KEY not in str(caught.value)


def path_of(directory: Path) -> Path:
    return directory / SlotFile(KEY).name


def test_a_directory_that_is_a_symbolic_link_is_refused(directory: Path) -> None:
    (directory / "real").mkdir(0o700)
    (directory / "link").symlink_to(directory / "real")
    refused(directory / "link", "symbolic link")


def test_a_directory_that_is_a_file_is_refused(directory: Path) -> None:
    (directory / "file").touch()
    refused(directory / "file", "not a directory")


@as_root
def test_a_directory_of_somebody_else_is_refused(directory: Path) -> None:
    os.chown(directory, NOBODY, NOBODY)
    refused(directory, "belongs to user 65534")


@pytest.mark.parametrize("mode", [0o770, 0o701, 0o777, 0o1777, 0o740])
def test_a_directory_that_others_may_use_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    refused(directory, f"mode {mode:04o}")


def test_a_missing_directory_is_made_for_this_user_alone(directory: Path) -> None:
    before = os.umask(0)
    try:
        SlotFile(KEY, str(directory / "new")).open()
    finally:
        os.umask(before)
    assert (directory / "new").stat().st_mode & 0o777 == 0o700
    assert path_of(directory / "new").stat().st_mode & 0o777 == 0o600


def test_a_missing_parent_is_an_error_that_says_so(directory: Path) -> None:
    refused(directory / "not" / "here", "No such file or directory")


def test_a_file_that_is_a_symbolic_link_is_refused_and_not_followed(directory: Path) -> None:
    (directory / "precious").write_text("precious")
    path_of(directory).symlink_to(directory / "precious")
    refused(directory, "symbolic link")
    assert (directory / "precious").read_text() == "precious"


def test_a_file_with_another_name_is_refused(directory: Path) -> None:
    (directory / "precious").write_text("precious")
    os.link(directory / "precious", path_of(directory))
    refused(directory, "2 names")


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file_is_refused_without_waiting(directory: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path_of(directory), 0o600)
    else:
        path_of(directory).mkdir()
    refused(directory, "not a regular file")


@as_root
def test_a_file_of_somebody_else_is_refused(directory: Path) -> None:
    path_of(directory).touch(0o600)
    os.chown(path_of(directory), NOBODY, NOBODY)
    refused(directory, "belongs to user 65534")


def test_a_file_that_is_deleted_while_it_is_opened_is_made_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = os.open
    deleted: list[str] = []

    def opens(path: str, *arguments: Any, **options: Any) -> int:
        descriptor = open_(path, *arguments, **options)
        if str(path).endswith(".slots") and not deleted:
            deleted.append(path)
            path_of(directory).unlink()
        return descriptor

    monkeypatch.setattr(os, "open", opens)
    file = SlotFile(KEY, str(directory))
    file.open()
    assert deleted
    assert file.intact()


def test_a_refusal_leaves_no_descriptor_open(directory: Path) -> None:
    directory.chmod(0o770)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        refused(directory, "mode 0770")
    assert os.listdir("/proc/self/fd") == before


@as_root
def test_a_directory_that_cannot_be_written_is_an_error_that_says_so(directory: Path) -> None:
    (directory / "read-only").mkdir(0o500)
    os.chown(directory / "read-only", NOBODY, NOBODY)
    os.chown(directory, NOBODY, NOBODY)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setuid(NOBODY)
            refused(directory / "read-only", "Permission denied")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_the_default_directory_is_named_after_the_effective_user() -> None:
    directory = default_directory()
    assert directory.endswith(f"holdfast-{os.geteuid()}")
    assert os.path.dirname(directory) in ("/dev/shm", tempfile.gettempdir())


def test_the_key_is_not_in_the_files_name(directory: Path) -> None:
    name = SlotFile("secret@server").name
    assert name.endswith(".slots")
    assert "secret" not in name
    assert name != SlotFile("secret@other").name


def test_the_limit_that_one_process_learned_is_a_hint_for_the_next(workers: Workers) -> None:
    workers(7, headroom=2)
    seen = workers().do("snapshot")
    assert (seen.limit, seen.headroom, seen.usable) == (7, 2, 5)
    assert workers.file.read_text().startswith("holdfast slots 1 limit=7 headroom=2 ")
    assert workers.file.stat().st_size < 4096


GARBAGE = {
    "empty": b"",
    "noise": os.urandom(300),
    "zeros": bytes(5000),
    "cut off": b"holdfast slots 1 limit=7 headroom=1 ",
    "another version": b"holdfast slots 2 limit=7 headroom=1 00000000\n",
    "wrong checksum": b"holdfast slots 1 limit=7 headroom=1 00000000\n",
    "huge": b"holdfast slots 1 limit=" + b"9" * 200,
    "large": b"x" * 300_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_limit_and_changes_no_count(workers: Workers, garbage: bytes) -> None:
    knows = workers(3)
    assert [knows.do("try_take"), knows.do("try_take")] == [0, 1]
    workers.file.write_bytes(garbage)
    newcomer = workers()
    seen = newcomer.do("snapshot")
    assert (seen.limit, seen.taken) == (None, 2)
    assert newcomer.do("try_take") == 2, "whoever does not know the limit has to ask the server for it"
    assert knows.do("try_take") is None
    workers(3)
    assert newcomer.do("snapshot").limit == 3, "written again by the next that knows"


def test_a_full_disk_costs_the_hint_and_nothing_else(directory: Path) -> None:
    file = SlotFile(KEY, str(directory))
    file.open()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        file.write_hint(3, 1)
        assert file.lock(1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_hint() is None
    file.write_hint(3, 1)
    assert file.read_hint() == (3, 1)


FULL = """
import os, sys
from sqlalchemy_holdfast.budget import Budget
directory = sys.argv[1]
os.mkdir(directory + "/slots", 0o700)
filler = os.open(directory + "/filler", os.O_CREAT | os.O_WRONLY)
try:
    while os.write(filler, bytes(4096)):
        pass
except OSError:
    pass
budget = Budget.shared("key", directory + "/slots")
budget.set_limit(3)
one, two = budget.try_take(), budget.try_take()
assert (one.index, two.index, budget.try_take()) == (0, 1, None)
assert os.stat(budget._file.path).st_size == 0
print("done")
"""


@as_root
def test_slots_need_no_space_on_a_full_disk(directory: Path) -> None:
    script = f'mount -t tmpfs -o size=64k,mode=700 none "{directory}" && exec "{sys.executable}" -c "$0" "{directory}"'
    run = subprocess.run(["unshare", "-m", "sh", "-c", script, FULL], capture_output=True, text=True, timeout=60)
    if "unshare" in run.stderr or "mount" in run.stderr:
        pytest.skip(f"no private mounts here: {run.stderr}")
    assert run.stdout == "done\n", run.stderr
