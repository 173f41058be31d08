"""A peer that goes silent while the connection is idle, as when a firewall forgets it: how long does a request wait?

The first connection of each engine goes through a proxy that falls silent. New ones go straight to the server, as
they would through a firewall that forgets old connections and lets new ones pass.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event, text

from sqlalchemy_holdfast import Settings
from sqlalchemy_holdfast.cli.tables import Cell, Table
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, PRE_PING, STOCK, Contender
from sqlalchemy_holdfast.experiments.stage import Stage
from sqlalchemy_holdfast.lab import Proxy, Server

from .section import Result, Section

__all__ = ["SECTION"]

_DEFAULTS = Settings()
_CAP = 15.0
_QUICK_CAP = 3.0
_PROBE_AFTER = 0.5
_PROBE_TIMEOUT = 1.0
_NAME = f"{HOLDFAST.name}, probe after {_PROBE_AFTER:g} s"
_PROBING = Contender(
    _NAME,
    query={
        **HOLDFAST.query,
        "holdfast_probe_after_idle": str(_PROBE_AFTER),
        "holdfast_probe_timeout": str(_PROBE_TIMEOUT),
    },
)


@dataclass
class _Site:
    engine: Engine
    proxy: Proxy
    seconds: float | None = None
    error: str = ""
    thread: threading.Thread = field(default_factory=threading.Thread)

    def request(self) -> None:
        start = time.monotonic()
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1")).scalar_one()
        except Exception as error:
            self.error = type(getattr(error, "orig", None) or error).__name__
        self.seconds = time.monotonic() - start


def run(stage: Stage) -> Result:
    """Let all sites wait at the same time."""
    cap = _QUICK_CAP if stage.quick else _CAP
    contenders = (STOCK, PRE_PING, _PROBING)
    table = Table("Time of the first request on the silent connection", ("driver", *(c.name for c in contenders)))
    stage.say(f"everybody waits, {cap:g} s at the most")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server())
        sites = {
            (driver, contender.name): _site(stack, server, driver, contender)
            for driver in stage.drivers
            for contender in contenders
        }
        for site in sites.values():
            site.request()
            site.proxy.blackhole()
            site.seconds = None
        time.sleep(2 * _PROBE_AFTER)
        for site in sites.values():
            site.thread = threading.Thread(target=site.request, daemon=True)
            site.thread.start()
        deadline = time.monotonic() + cap
        for site in sites.values():
            site.thread.join(max(0.0, deadline - time.monotonic()))
        for driver in stage.drivers:
            table.add(driver, *(_cell(sites[driver, contender.name], cap) for contender in contenders))
        for site in sites.values():
            site.proxy.restore()
            site.thread.join()
    table.notes += [
        f"the run gave up after {cap:g} s; a request that waits for a reply has no limit of its own",
        f"holdfast with holdfast_probe_after_idle={_PROBE_AFTER:g} and holdfast_probe_timeout={_PROBE_TIMEOUT:g}; by "
        f"default {_DEFAULTS.probe_after_idle:g} s and {_DEFAULTS.probe_timeout:g} s: what was idle for a shorter time "
        "is not probed",
    ]
    return Result([table])


def _site(stack: contextlib.ExitStack, server: Server, driver: str, contender: Contender) -> _Site:
    proxy = stack.enter_context(Proxy.for_server(server))
    engine = contender.engine(server.url(driver, host=proxy.host, port=proxy.port))
    stack.callback(engine.dispose)
    connects = 0

    @event.listens_for(engine, "do_connect")
    def pass_by(dialect: Any, record: Any, positional: list[Any], arguments: dict[str, Any]) -> None:
        nonlocal connects
        connects += 1
        if connects > 1:
            arguments["port"] = server.port

    return _Site(engine, proxy)


def _cell(site: _Site, cap: float) -> Cell:
    if site.seconds is None:
        return Cell(f"> {cap:g} s", "bad")
    if site.error:
        return Cell(f"{site.seconds:.1f} s, {site.error}", "bad")
    return Cell(f"{site.seconds:.1f} s", "good")


SECTION = Section(
    "silence",
    "Silent peers",
    "The network between the site and the server goes silent while a connection is idle; new ones get through.",
    run,
)
