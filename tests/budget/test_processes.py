"""What processes may rely on when they share slots: exact counts, through death, fork, standstill and lost files."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from sqlalchemy_holdfast.budget import sharing
from sqlalchemy_holdfast.budget.sharing import UNPLACED
from tests.budget.workers import Worker, Workers, ended


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes another process for one that cannot run, however busy this machine is. For workers made later."""
    monkeypatch.setattr(sharing, "STALL", 60)


def test_slots_are_exact_between_processes(workers: Workers) -> None:
    one, other = workers(4), workers(4)
    taken = [one.do("try_take"), other.do("try_take"), one.do("try_take"), other.do("try_take")]
    assert sorted(index for index in taken if index is not None) == [0, 1, 2]
    assert taken[3] is None, "the fourth is the owner's own"
    other.do("release")
    assert one.do("try_take") == 1
    seen = one.do("snapshot")
    assert (seen.limit, seen.usable, seen.taken, seen.held, seen.processes) == (4, 3, 3, 3, 1)


@pytest.mark.parametrize("state", ["holds", "waits", "stopped", "forked"])
def test_a_killed_process_frees_its_slots_at_once(workers: Workers, state: str) -> None:
    victim, other = workers(3), workers(3)
    assert victim.do("try_take") == 0
    child = os.getpid()
    if state == "waits":
        assert other.do("try_take") == 1
        victim.start("take", 60)
        other.sees_waiting(1)
    elif state == "stopped":
        victim.stop()
    elif state == "forked":
        child = victim.do("fork_a_child")
    victim.kill()
    try:
        assert 0 not in workers.locked()
        if state == "waits":
            other.do("release")
        assert [other.do("try_take"), other.do("try_take")] == [0, 1], "nobody waits, and both are free"
    finally:
        if child != os.getpid():
            os.kill(child, signal.SIGKILL)


def test_a_child_owns_nothing_and_frees_nothing(workers: Workers) -> None:
    parent, other = workers(3), workers(3)
    assert parent.do("try_take") == 0
    with ended(parent.do("fork_a_child", release=True)):
        assert workers.locked() == {0: parent.pid}
        assert other.do("try_take") == 1


@pytest.mark.parametrize(("kind", "outlives"), [("POSIX", False), ("open file description", True)])
def test_which_locks_outlive_their_process_in_its_children(directory: Path, kind: str, outlives: bool) -> None:
    """The reason for POSIX locks: the others would keep a killed worker's slots while a child of it lives."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        pytest.skip("this system has no open-file-description locks")
    command = fcntl.F_SETLK if kind == "POSIX" else fcntl.F_OFD_SETLK
    file = os.open(directory / "file", os.O_RDWR | os.O_CREAT)
    lock = b"\x01\x00\x00\x00\x00\x00\x00\x00" + bytes(8) + (1).to_bytes(8, "little") + bytes(8)
    ready, say = os.pipe()
    parent = os.fork()
    if not parent:
        own = os.open(directory / "file", os.O_RDWR)
        fcntl.fcntl(own, command, lock)
        child = os.fork()
        if child:
            os.write(say, child.to_bytes(4, "little"))
        time.sleep(60)
        os._exit(0)
    child = int.from_bytes(os.read(ready, 4), "little")
    with ended(child):
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        try:
            fcntl.fcntl(file, command, lock)
            free = True
        except OSError:
            free = False
    for descriptor in (file, ready, say):
        os.close(descriptor)
    assert free is not outlives


def test_a_stopped_process_does_not_hold_up_the_line(workers: Workers) -> None:
    holder, first, second = workers(2), workers(2), workers(2)
    assert holder.do("try_take") == 0
    first.start("take", 60)
    holder.sees_waiting(1)
    second.start("take", 60)
    holder.sees_waiting(2)
    first.stop()
    holder.do("release")
    assert second.result() == 0
    first.go_on()
    second.do("release")
    assert first.result() == 0


def test_the_line_is_served_in_order(workers: Workers, patient: None) -> None:
    holder = workers(1, headroom=0)
    holder.do("try_take")
    waiting: list[Worker] = []
    for _ in range(4):
        waiting.append(workers(1, headroom=0))
        waiting[-1].start("take", 60)
        holder.sees_waiting(len(waiting))
    for one in waiting:
        holder.do("release")
        assert one.result() == 0
        holder = one


def test_a_process_below_its_share_is_served_before_one_that_borrows(workers: Workers, patient: None) -> None:
    holder, borrower, newcomer = (workers(4, headroom=0) for _ in range(3))
    for one in (holder, holder, borrower, borrower):
        one.do("try_take")
    borrower.start("take", 60)
    holder.sees_waiting(1)
    newcomer.start("take", 60)
    holder.sees_waiting(2)
    holder.do("release")
    assert newcomer.result() == 1
    holder.do("release")
    assert borrower.result() == 0


def test_a_newcomer_gets_a_spare_slot_when_idle_processes_sit_on_all_others(workers: Workers) -> None:
    idle = [workers(3), workers(3)]
    for one in idle:
        assert one.do("try_take") is not None
        assert one.do("hand_back") is True
    newcomer = workers(3)
    began = time.monotonic()
    assert newcomer.do("take", 60) == 2
    assert time.monotonic() - began > 0.24
    assert newcomer.do("hand_back", own_waiting=True), "nobody else waits"
    other = workers(3)
    other.start("take", 60)
    newcomer.sees_waiting(1)
    assert not newcomer.do("hand_back", own_waiting=True)
    assert other.result() == 2


def test_an_owner_of_nothing_has_no_part(workers: Workers) -> None:
    busy, done = workers(9), workers(9)
    done.do("try_take")
    busy.do("try_take")
    assert busy.do("snapshot").share == 4
    done.do("release")
    assert busy.do("snapshot").share == 8


def test_a_borrower_gives_back_to_who_waits(workers: Workers) -> None:
    borrower, newcomer = workers(5), workers(5)
    for _ in range(4):
        borrower.do("try_take")
    time.sleep(0.11)  # longer than the lease, and than the share is believed
    newcomer.start("take", 60)
    borrower.sees_waiting(1)
    assert borrower.do("hand_back", own_waiting=True) is False
    assert newcomer.result() == 3


def test_eight_processes_with_two_slots_are_all_served_alike(workers: Workers) -> None:
    everyone = [workers(2, headroom=0) for _ in range(8)]
    for one in everyone:
        one.start("churn", 3.0, 2, 0.005)
    most = 0
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        most = max(most, len(workers.locked()))
        time.sleep(0.01)
    served = [one.result() for one in everyone]
    assert most <= 2
    assert max(served) <= 2 * min(served), served
    assert sum(served) > 100, served
    assert workers.locked() == {}


def test_a_deleted_file_is_made_again_with_what_is_held(workers: Workers) -> None:
    one, other = workers(4), workers(4)
    assert [one.do("try_take"), other.do("try_take")] == [0, 1]
    before = workers.file.stat().st_ino
    workers.file.unlink()
    assert one.do("try_take") == 1, "the other process has not noticed yet"
    assert workers.file.stat().st_ino != before
    assert other.do("snapshot").taken == 3
    assert other.do("indices") == [2], "somebody else had its slot by then"
    assert workers.locked() == {0: one.pid, 1: one.pid, 2: other.pid}


def test_what_finds_no_place_in_the_new_file_is_given_back_on_return(workers: Workers) -> None:
    one, other = workers(2, headroom=0), workers(2, headroom=0)
    assert [one.do("try_take"), other.do("try_take")] == [0, 1]
    workers.file.unlink()
    assert one.do("try_take") == 1
    assert other.do("try_take") is None
    assert other.do("indices") == [UNPLACED]
    assert other.do("hand_back") is False


@pytest.mark.parametrize("reuse", [False, True])
def test_a_closed_descriptor_is_noticed_and_the_slots_are_locked_again(workers: Workers, reuse: bool) -> None:
    one = workers(4)
    assert one.do("try_take") == 0
    one.do("close_descriptors", reuse=reuse)
    assert workers.locked() == {}
    assert one.do("try_take") == 1
    assert workers.locked() == {0: one.pid, 1: one.pid}


def test_a_directory_that_goes_away_fails_no_request(workers: Workers) -> None:
    one = workers(2)
    workers.file.unlink()
    workers.directory.chmod(0o770)
    assert one.do("try_take") == UNPLACED
    assert one.do("hand_back") is True, "it is not counted, so nothing tells against it"
    workers.directory.chmod(0o700)
    assert one.do("try_take") is None, "the limit is 1, and it is counted again"
    assert one.do("indices") == [0]
