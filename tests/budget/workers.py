"""Real processes that do with a budget what a test tells them."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy_holdfast.budget import Budget, Slot
from sqlalchemy_holdfast.budget.slot_file import SLOTS

KEY = "user@server"


class Site:
    """What happens inside a worker. Each public method can be asked for by its name."""

    def __init__(self, directory: Path | None, limit: int | None, headroom: int) -> None:
        self.budget = Budget.shared(KEY, directory)
        if limit is not None:
            self.budget.set_limit(limit, headroom)
        self.slots: list[Slot] = []

    def _keep(self, slot: Slot | None) -> int | None:
        if slot is None:
            return None
        self.slots.append(slot)
        return slot.index

    def try_take(self) -> int | None:
        return self._keep(self.budget.try_take())

    def take(self, seconds: float = 5) -> int | None:
        return self._keep(self.budget.take(time.monotonic() + seconds))

    def adopt(self) -> int | None:
        return self._keep(self.budget.adopt())

    def release(self, number: int = -1) -> None:
        self.budget.release(self.slots.pop(number))

    def hand_back(self, own_waiting: bool = False, number: int = -1) -> bool:
        kept = self.budget.keeps(self.slots[number], own_waiting=own_waiting)
        if not kept:
            self.release(number)
        return kept

    def indices(self) -> list[int]:
        return [slot.index for slot in self.slots]

    def snapshot(self) -> Any:
        return self.budget.snapshot()

    def fork_a_child(self, release: bool = False) -> int:
        """Fork a child that does nothing with the budget but, if asked, release what it inherited; return its id."""
        ready, say = os.pipe()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                if release:
                    for slot in self.slots:
                        self.budget.release(slot)
                    self.slots.clear()
                    gc.collect()
                os.write(say, b"x")
                time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(say)
        return child

    def close_descriptors(self, reuse: bool = False) -> None:
        """Close the slot file's descriptor, as a program does that makes itself a daemon."""
        descriptor = self.budget._file._fd
        os.close(descriptor)
        if reuse:
            other = os.open(os.devnull, os.O_RDWR)
            if other != descriptor:
                os.dup2(other, descriptor)

    def churn(self, seconds: float, threads: int, hold: float) -> int:
        """Take and release in some threads; return how often that succeeded."""
        import threading

        end, served = time.monotonic() + seconds, [0]

        def run() -> None:
            while time.monotonic() < end:
                slot = self.budget.take(end + 5)
                if slot is None:
                    continue
                assert slot.index < (self.budget.limit or 0)
                served[0] += time.monotonic() < end
                time.sleep(hold)
                self.budget.release(slot)

        running = [threading.Thread(target=run) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return served[0]


class Worker:
    """A forked process with a :class:`Site`."""

    def __init__(self, directory: Path | None, limit: int | None = None, headroom: int = 1) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                self._pipe.close()
                self._serve(theirs, lambda: Site(directory, limit, headroom))
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        self.alive, self.stopped = True, False
        self.result()

    @staticmethod
    def _serve(pipe: Any, make: Callable[[], Site]) -> None:
        gc.freeze()
        try:
            site = make()
            answer: Any = None
        except Exception as error:
            answer = error
        while True:
            pipe.send(answer)
            try:
                name, arguments, options = pipe.recv()
            except EOFError:
                return
            try:
                answer = getattr(site, name)(*arguments, **options)
            except Exception as error:
                answer = error

    def start(self, name: str, *arguments: Any, **options: Any) -> None:
        """Ask, without waiting for the answer."""
        self._pipe.send((name, arguments, options))

    def result(self, seconds: float = 60) -> Any:
        assert self._pipe.poll(seconds), f"process {self.pid} does not answer"
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.start(name, *arguments, **options)
        return self.result()

    def sees_waiting(self, number: int) -> None:
        """Return when so many processes are in line."""
        end = time.monotonic() + 60
        while (seen := self.do("snapshot").waiting) != number:
            assert time.monotonic() < end, f"{seen} in line, not {number}"

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)
        self.stopped = True

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self.stopped = False

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._pipe.close()
            self.alive = False


class Workers:
    """Makes workers in one directory, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[Worker] = []

    def __call__(self, limit: int | None = None, headroom: int = 1) -> Worker:
        self.all.append(Worker(self.directory, limit, headroom))
        return self.all[-1]

    @property
    def file(self) -> Path:
        [file] = self.directory.glob("*.slots")
        return file

    def locked(self) -> dict[int, int]:
        """The locked slots and their processes, as the kernel tells."""
        return locks(self.file)

    def close(self) -> None:
        for worker in self.all:
            worker.kill()


def locks(file: Path) -> dict[int, int]:
    """Read the locked slots of a file, and who has them, from the kernel's own list."""
    inode = file.stat().st_ino
    found: dict[int, int] = {}
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "POSIX" and int(words[5].rsplit(":", 1)[1]) == inode:
            for byte in range(int(words[6]), int(words[7]) + 1) if words[7] != "EOF" else ():
                if byte in SLOTS:
                    assert byte - SLOTS.start not in found, "one slot, two processes"
                    found[byte - SLOTS.start] = int(words[4])
                elif byte > SLOTS.stop:
                    break
    return found


@contextlib.contextmanager
def ended(pid: int) -> Iterator[None]:
    """End a process afterwards."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
