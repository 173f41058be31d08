"""Real processes in any order of events; after each one the kernel's own list of locks must be what the model says."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests._long import LONG
from tests.budget.workers import Worker, Workers

LIMIT = 3


class ManyProcesses(RuleBasedStateMachine):
    """Three slots, none of them spare."""

    processes = Bundle("processes")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="slots-")
        self.workers = Workers(Path(self.folder.name))
        self.held: dict[Worker, list[int]] = {}
        self.waiting: set[Worker] = set()
        self.children: list[int] = []

    def idle(self, worker: Worker) -> bool:
        return worker in self.held and worker not in self.waiting and not worker.stopped

    def free(self) -> list[int]:
        taken = {index for indices in self.held.values() for index in indices}
        return [index for index in range(LIMIT) if index not in taken]

    @rule(target=processes)
    def start(self) -> object:
        if len(self.held) == 5:
            return multiple()
        worker = self.workers(LIMIT, headroom=0)
        self.held[worker] = []
        return worker

    @rule(worker=processes)
    def try_take(self, worker: Worker) -> None:
        if self.idle(worker):
            index = worker.do("try_take")
            expected = None if self.waiting else next(iter(self.free()), None)
            assert index == expected
            if index is not None:
                self.held[worker].append(index)

    @rule(worker=processes)
    def take(self, worker: Worker) -> None:
        if self.idle(worker):
            worker.start("take", 3600)
            self.waiting.add(worker)

    @rule(worker=processes)
    def release(self, worker: Worker) -> None:
        if self.idle(worker) and self.held[worker]:
            worker.do("release")
            self.held[worker].pop()

    @rule(worker=processes, own_waiting=st.booleans())
    def hand_back(self, worker: Worker, own_waiting: bool) -> None:
        if self.idle(worker) and self.held[worker] and not worker.do("hand_back", own_waiting):
            self.held[worker].pop()

    @rule(worker=processes, release=st.booleans())
    def fork(self, worker: Worker, release: bool) -> None:
        if self.idle(worker):
            self.children.append(worker.do("fork_a_child", release))

    @rule(worker=processes)
    def kill(self, worker: Worker) -> None:
        if worker in self.held:
            worker.kill()
            del self.held[worker]
            self.waiting.discard(worker)

    @rule(worker=processes)
    def stop(self, worker: Worker) -> None:
        if worker in self.held and not worker.stopped:
            worker.stop()

    @rule(worker=processes)
    def go_on(self, worker: Worker) -> None:
        if worker.stopped and worker in self.held:
            worker.go_on()

    @rule()
    def delete(self) -> None:
        """A process that runs no code does not notice, so this is only done while all do."""
        if self.held and all(map(self.idle, self.held)):
            self.workers.file.unlink()
            for worker in self.held:
                worker.do("snapshot")

    @rule(garbage=st.binary(max_size=300))
    def overwrite(self, garbage: bytes) -> None:
        if self.held:
            self.workers.file.write_bytes(garbage)

    def serve_who_waits(self) -> None:
        while self.free() and any(not worker.stopped for worker in self.waiting):
            ready = wait([worker._pipe for worker in self.waiting if not worker.stopped], 60)
            assert ready, f"{self.free()} free, and nobody takes it"
            [worker] = (worker for worker in self.waiting if worker._pipe is ready[0])
            index = worker.result()
            assert index in self.free()
            self.held[worker].append(index)
            self.waiting.remove(worker)

    @invariant()
    def the_kernel_agrees(self) -> None:
        if getattr(self, "held", None):
            self.serve_who_waits()
            model = {index: worker.pid for worker, indices in self.held.items() for index in indices}
            assert self.workers.locked() == model
            assert all(index < LIMIT for index in model)

    def teardown(self) -> None:
        if hasattr(self, "workers"):
            self.workers.close()
            for child in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.folder.cleanup()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_processes_in_any_order() -> None:
    run_state_machine_as_test(
        ManyProcesses,
        settings=settings(
            max_examples=400 if LONG else 40,
            stateful_step_count=60 if LONG else 25,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
