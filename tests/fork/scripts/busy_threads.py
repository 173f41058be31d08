"""A process with eight busy threads on one engine, that forks: ``busy_threads FORKS``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from sqlalchemy import create_engine, text

import sqlalchemy_holdfast as holdfast
from tests.fork.children import in_child
from tests.fork.scripts.running import THREADS_TABLE as TABLE

THREADS = 8
UNITS = 3

CHILDS = 1_000_000_000
"""Children's rows start here, and the parent's end."""

engine = create_engine(os.environ["FORK_TEST_URL"], plugins=["holdfast"], pool_size=4, max_overflow=2)


class Busy:
    """What the parent's threads do, and what came of it."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.wrong: list[str] = []
        self.errors: list[str] = []
        self.written: list[int] = []
        self.ids: set[int] = set()
        self.units = 0

    def work(self, number: int) -> None:
        unit = 0
        while not self.stop.is_set():
            unit += 1
            mine = number * 10_000_000 + unit
            try:
                answer, connection = read(mine)
                self.ids.add(connection)
                if answer != mine:
                    self.wrong.append(f"{mine} read {answer}")
                if unit % 3 == 0:
                    write(mine, connection)
                    self.written.append(mine)
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}"[:300])
            self.units += 1


def read(number: int) -> tuple[int, int]:
    with engine.connect() as connection:
        answer, server_id = connection.execute(text(f"SELECT {number}, CONNECTION_ID()")).one()
        return int(answer), int(server_id)


def write(number: int, connection_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {TABLE} (number, pid) VALUES ({number}, {os.getpid()})"))


def child(number: int) -> Callable[[], tuple[int, list[int], list[int], int]]:
    def work() -> tuple[int, list[int], list[int], int]:
        before = len(os.listdir("/proc/self/fd"))
        ids, rows = set(), []
        for unit in range(UNITS):
            mine = CHILDS + number * 10 + unit
            answer, server_id = read(mine)
            assert answer == mine
            ids.add(server_id)
            write(mine, server_id)
            rows.append(mine)
        engine.dispose()
        return os.getpid(), sorted(ids), rows, len(os.listdir("/proc/self/fd")) - before

    return work


def main(forks: int) -> dict[str, object]:
    busy = Busy()
    threads = [threading.Thread(target=busy.work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while len(busy.ids) < 2 and not busy.errors:
        time.sleep(0.01)
    owners: dict[int, set[int]] = {}
    grown, rows, failed = 0, [], []
    for number in range(forks):
        try:
            pid, ids, wrote, descriptors = in_child(child(number), 20)
        except AssertionError as error:
            failed.append(str(error)[-1500:])
            continue
        for server_id in ids:
            owners.setdefault(server_id, set()).add(pid)
        rows += wrote
        grown = max(grown, descriptors)
    busy.stop.set()
    for thread in threads:
        thread.join()
    for server_id in busy.ids:
        owners.setdefault(server_id, set()).add(os.getpid())
    with engine.connect() as connection:
        found = sorted(connection.execute(text(f"SELECT number FROM {TABLE}")).scalars())
    return {
        "children_failed": failed,
        "ids_in_two_processes": {server_id: sorted(pids) for server_id, pids in owners.items() if len(pids) > 1},
        "wrong": busy.wrong[:5],
        "errors": busy.errors[:5],
        "rows_are_right": found == sorted([*busy.written, *rows]),
        "replaced": dict(holdfast.status(engine).counters.replaced),
        "descriptors_grown_in_a_child": grown,
        "ids_of_children": len(owners) - len(busy.ids),
        "units": busy.units,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
