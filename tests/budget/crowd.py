"""Plain processes, each with an engine and some threads, that serve requests from one pipe.

Whoever is free takes the next number from the pipe, so how many a process serves says how well it is doing. A process
may be killed at any moment: what it had taken and not answered is lost, and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import logging
import multiprocessing
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import URL, create_engine

import sqlalchemy_holdfast as holdfast
from tests.budget.request import Outcome, serve

_NUMBER = struct.Struct("q")
_AHEAD = 64
"""How many questions lie in the pipe: enough for every thread, and few enough to be read soon after the last."""
_SILENT_SECONDS = 60.0

# Each process is a fork of a small server that has imported what they need, and not of this one, which has threads.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.budget.preload"])


class Stuck(AssertionError):
    """No process has answered for a long time."""


class Crowd:
    """So many processes of so many threads.

    :param url: the database; ``?plugin=holdfast`` and settings in it or not.
    :param options: more for ``create_engine``.
    :param repeat: entries are made by ``holdfast.run``.
    """

    def __init__(
        self,
        url: URL,
        *,
        processes: int = 4,
        threads: int = 5,
        options: Mapping[str, Any] | None = None,
        repeat: bool = False,
    ) -> None:
        self._task = (url.render_as_string(hide_password=False), dict(options or {}), threads, repeat)
        self._wanted = processes
        self._take, self._give = _processes.Pipe(duplex=False)
        self._answered, self._answer = _processes.Pipe(duplex=False)
        self._rest = b""
        self.asked = 0
        """How many requests were put into the pipe so far."""
        self.counters: dict[int, dict[str, int]] = {}
        """holdfast's, by process, of those that ended in order."""
        self.alive: list[Any] = []

    def __enter__(self) -> Crowd:
        for _ in range(self._wanted):
            self.add()
        return self

    def add(self) -> None:
        """Start one more process."""
        process = _processes.Process(
            target=_work, args=(self._take, self._give, self._answer, *self._task), daemon=True
        )
        process.start()
        self.alive.append(process)

    def kill(self, index: int) -> int:
        """Kill a process (SIGKILL), wait for its end, and return its process id."""
        process = self.alive.pop(index)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return int(process.pid)

    def ask(
        self, numbers: Iterable[int], *, meanwhile: Callable[[], None] | None = None, may_lose: bool = False
    ) -> list[Outcome]:
        """Have requests served, and return what came of them.

        :param numbers: the requests; a generator may stop by a clock.
        :param meanwhile: called often, in this thread.
        :param may_lose: processes are being killed; what they do not answer is not waited for.
        :raises Stuck: nothing was answered for a minute.
        """
        outcomes: list[Outcome] = []
        more, asked, heard = iter(numbers), 0, time.monotonic()
        ended = False
        while True:
            if not ended and (room := _AHEAD - self._unread()) > 0:
                chosen = list(islice(more, room))
                ended = len(chosen) < room
                os.write(self._give.fileno(), b"".join(map(_NUMBER.pack, chosen)))
                asked += len(chosen)
            answers = self._answers(0.01)
            outcomes += answers
            if meanwhile is not None:
                meanwhile()
            if ended and (len(outcomes) >= asked or (may_lose and not self._unread())):
                self.asked += asked
                return outcomes
            if answers:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_SECONDS:
                raise Stuck(f"{len(outcomes)} of {asked} were answered, and none for {_SILENT_SECONDS:g} s")

    def finish(self) -> list[Outcome]:
        """Let every process end in order; return what was answered since."""
        self._give.close()
        outcomes: list[Outcome] = []
        deadline = time.monotonic() + _SILENT_SECONDS
        while any(process.is_alive() for process in self.alive) and time.monotonic() < deadline:
            outcomes += self._answers(0.01)
        outcomes += self._answers(0)
        left = [process for process in self.alive if process.is_alive()]
        for process in left:
            process.kill()
        for process in self.alive:
            process.join()
        self.alive.clear()
        if left:
            raise Stuck(f"{len(left)} processes did not end")
        return outcomes

    def __exit__(self, *about: object) -> None:
        for process in self.alive:
            process.kill()
        for process in self.alive:
            process.join()
        for end in (self._take, self._give, self._answered, self._answer):
            if not end.closed:
                end.close()

    def _unread(self) -> int:
        waiting = fcntl.ioctl(self._take.fileno(), termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", waiting)[0]) // _NUMBER.size

    def _answers(self, seconds: float) -> list[Outcome]:
        outcomes = []
        while select.select([self._answered], [], [], seconds)[0]:
            seconds = 0
            *lines, self._rest = (self._rest + os.read(self._answered.fileno(), 1 << 16)).split(b"\n")
            for line in lines:
                if line.startswith(b'{"counters"'):
                    found = json.loads(line)
                    self.counters[found["pid"]] = found["counters"]
                else:
                    outcomes.append(Outcome.of_line(line))
        return outcomes


def _work(
    take: Connection,
    give: Connection,
    answer: Connection,
    url: str,
    options: dict[str, Any],
    threads: int,
    repeat: bool,
) -> None:
    """Be one of the processes, until the pipe of questions ends."""
    give.close()  # the other end, or the questions would never end
    for name in ("sqlalchemy.pool", "holdfast"):  # that servers are gone, and what could not be rolled back then
        logging.getLogger(name).setLevel(logging.CRITICAL)
    engine = create_engine(url, **options)

    def run() -> None:
        # Numbers are written whole, and read whole: a pipe's reader holds its lock.
        while question := os.read(take.fileno(), _NUMBER.size):
            (number,) = _NUMBER.unpack(question)
            os.write(answer.fileno(), serve(engine, number, repeat=repeat).line())

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    engine.dispose()
    counters = dict(holdfast.status(engine).counters.as_dict())
    os.write(answer.fileno(), json.dumps({"counters": counters, "pid": os.getpid()}).encode() + b"\n")
