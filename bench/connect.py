"""What connecting costs: commands, time, and CPU with and without TLS."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from statistics import median

from sqlalchemy import URL, Engine
from sqlalchemy.pool import NullPool

from sqlalchemy_holdfast.cli.tables import Cell, Table
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, STOCK, Contender
from sqlalchemy_holdfast.experiments.stage import Stage
from sqlalchemy_holdfast.lab import Proxy, Server

from .rounds import cpu_in_turn, spread
from .section import Result, Section

__all__ = ["SECTION"]

_TLS_DRIVER = "pymysql"


def run(stage: Stage) -> Result:
    """Count and time."""
    tables = [_counted(stage)]
    if _TLS_DRIVER in stage.drivers:
        tables.append(_cpu(stage))
    return Result(tables)


def _counted(stage: Stage) -> Table:
    columns = ("driver", "connect", f"{STOCK.name}: commands", "ms", f"{HOLDFAST.name}: commands", "ms")
    table = Table("Commands after the login, and time on loopback", columns, labels=2)
    tries = stage.rounds(15, 3)
    with Proxy.for_server(stage.server) as proxy:
        for driver in stage.drivers:
            stage.say(driver)
            through = stage.server.url(driver, host=proxy.host, port=proxy.port)
            direct = stage.server.url(driver)
            figures: dict[bool, list[Cell | str]] = {True: [], False: []}
            for contender in (STOCK, HOLDFAST):
                first, later = _commands(proxy, contender, through)
                seconds = [_seconds(contender, direct) for _ in range(tries)]
                figures[True] += [str(first), f"{1000 * median(one for one, _ in seconds):.1f}"]
                figures[False] += [str(later), f"{1000 * median(two for _, two in seconds):.1f}"]
            table.add(driver, "first of an engine", *figures[True])
            table.add(driver, "later ones", *figures[False])
    return table


def _commands(proxy: Proxy, contender: Contender, url: URL) -> tuple[int, int]:
    engine = contender.engine(url)
    try:
        with proxy.measure() as first, engine.connect():
            pass
        with engine.connect(), proxy.measure() as later, engine.connect():
            pass
    finally:
        engine.dispose()
    return first.commands.total(), later.commands.total()


def _seconds(contender: Contender, url: URL) -> tuple[float, float]:
    engine = contender.engine(url)
    try:
        start = time.perf_counter()
        with engine.connect():
            first = time.perf_counter() - start
            start = time.perf_counter()
            with engine.connect():
                later = time.perf_counter() - start
    finally:
        engine.dispose()
    return first, later


def _cpu(stage: Stage) -> Table:
    columns = ("driver", "transport", STOCK.name, HOLDFAST.name, "ratio", "8 of 10 rounds within")
    table = Table("CPU of a connect, in microseconds", columns, labels=2)
    with Server(tls=True) as server:
        urls = {
            "no TLS": stage.server.url(_TLS_DRIVER),
            "TLS, ssl_ca": server.url(_TLS_DRIVER, query={"ssl_ca": str(server.tls_ca)}),
        }
        for transport, url in urls.items():
            stage.say(f"{_TLS_DRIVER} over {transport}")
            with contextlib.ExitStack() as stack:
                work: dict[str, Callable[[], object]] = {}
                for contender in (STOCK, HOLDFAST):
                    engine = contender.engine(url, poolclass=NullPool)
                    stack.callback(engine.dispose)
                    work[contender.name] = _connecting(engine)
                cpu_in_turn(work, rounds=1, units=3)
                cpu = cpu_in_turn(work, rounds=stage.rounds(15, 2), units=10)
            ratios = [mine / theirs for mine, theirs in zip(cpu[HOLDFAST.name], cpu[STOCK.name], strict=True)]
            mean, low, high = spread(ratios)
            micro = [f"{1e6 * median(cpu[name]):.0f}" for name in (STOCK.name, HOLDFAST.name)]
            table.add(_TLS_DRIVER, transport, *micro, f"{mean:.2f}", f"{low:.2f} to {high:.2f}")
    table.notes.append(
        "Without ssl_ca this driver reads the system's certificate authorities at every connect, be there TLS or not; "
        "holdfast reads them once."
    )
    return table


def _connecting(engine: Engine) -> Callable[[], None]:
    def connect() -> None:
        with engine.connect():
            pass

    return connect


SECTION = Section("connect", "Connecting", "What the first connection of an engine costs, and every later one.", run)
