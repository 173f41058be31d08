"""Failed requests after each fault: the demonstration's experiment, with pool_pre_ping and more rounds."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy_holdfast.cli.demo import shown
from sqlalchemy_holdfast.experiments import lost
from sqlalchemy_holdfast.experiments.contenders import HOLDFAST, PRE_PING, STOCK
from sqlalchemy_holdfast.experiments.stage import IDLE_LIMIT, PAUSE, Stage
from sqlalchemy_holdfast.lab import Server

from .section import Result, Section

__all__ = ["SECTION"]

_ROUNDS = 8


def run(stage: Stage) -> Result:
    """Measure."""
    rounds = None if stage.quick else {cause.key: _ROUNDS for cause in lost.CAUSES}
    with Server(options={"wait_timeout": IDLE_LIMIT}) as server:  # each restart comes back to the option
        rows = lost.run(replace(stage, server=server), (STOCK, PRE_PING, HOLDFAST), rounds=rounds)
    return Result(shown.lost_tables(rows))


SECTION = Section(
    "recovery",
    "Recovery",
    f"Requests of a guestbook, each after a fault on its idle connection. wait_timeout is {IDLE_LIMIT} s, with a "
    f"request every {PAUSE:g} s.",
    run,
)
