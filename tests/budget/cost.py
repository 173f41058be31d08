"""What sharing costs where nobody waits: system calls and CPU time of a checkout and its return.

Run as a program (``python -m tests.budget.cost URL COUNT``) this checks a connection out and returns it so many times,
between two marks that stand out in strace's record.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from sqlalchemy import URL, Engine, create_engine

from tests.budget.crowd import Crowd
from tests.budget.host import Host, limited

TOP = Path(__file__).resolve().parents[2]
_BEGIN, _END = "/checkouts-begin", "/checkouts-end"
_WARM = 100

CONTENDERS: Mapping[str, tuple[bool, Mapping[str, str]]] = {
    "stock": (False, {}),
    "budget off": (True, {"holdfast_budget": "off"}),
    "budget on": (True, {}),
}
"""Name: whether it is held, and its settings."""


def check_out(engine: Engine, count: int) -> None:
    for _ in range(count):
        with engine.connect():
            pass


def system_calls(url: URL, count: int) -> Counter[str]:
    """Return the system calls that so many checkouts and returns make, by name, all threads together."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory, "strace")
        arguments = [sys.executable, "-m", "tests.budget.cost", url.render_as_string(hide_password=False), str(count)]
        subprocess.run(["strace", "-f", "-o", str(record), *arguments], cwd=TOP, check=True, timeout=100)
        text = record.read_text(errors="replace")
    between = text.partition(_BEGIN)[2].partition(_END)[0]
    calls = re.findall(r"^\d+ +(\w+)\(", between, re.MULTILINE)
    return Counter(calls[:-1])  # the last is the second mark


def system_calls_of(host: Host, driver: str, count: int = 1000) -> dict[str, Counter[str]]:
    """Return the system calls of each contender, one after the other on one server."""
    return {
        name: system_calls(host.url(driver, held=held, **settings), count)
        for name, (held, settings) in CONTENDERS.items()
    }


def microseconds(driver: str, *, rounds: int = 30, count: int = 300) -> dict[str, float]:
    """Return the CPU time of a checkout and its return, medians of rounds in which the contenders take turns.

    "borrowing" is a process above its share: four share eight connections, and it has two out already.
    """
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name, (held, settings) in CONTENDERS.items():
            host = stack.enter_context(limited("account", 5))
            engines[name] = create_engine(host.url(driver, held=held, **settings))
        host = stack.enter_context(limited("account", 9))
        crowd = stack.enter_context(Crowd(host.url(driver, held=True), processes=3, threads=1))
        crowd.ask(host.numbers(100))
        engines["borrowing"] = create_engine(host.url(driver, held=True))
        for engine in engines.values():
            stack.callback(engine.dispose)
        for _ in range(2):
            stack.enter_context(engines["borrowing"].connect())
        for engine in engines.values():
            check_out(engine, _WARM)
        spent: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(rounds):
            for name in sorted(engines, reverse=bool(turn % 2)):
                begun = time.thread_time()
                check_out(engines[name], count)
                spent[name].append(1e6 * (time.thread_time() - begun) / count)
        return {name: median(each) for name, each in spent.items()}


def main() -> None:
    engine = create_engine(sys.argv[1])
    check_out(engine, _WARM)
    for mark, count in ((_BEGIN, int(sys.argv[2])), (_END, 0)):
        try:
            os.stat(mark)
        except FileNotFoundError:
            pass
        check_out(engine, count)
    engine.dispose()


if __name__ == "__main__":
    main()
