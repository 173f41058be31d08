"""What happened is told once: counted, logged, and passed on to whoever listens."""

from __future__ import annotations

import ast
import inspect
import logging
from pathlib import Path

import pytest
from sqlalchemy import text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.reporting import Event, Reporter
from tests.conftest import EngineFactory, connection_id, read

SOURCE = Path(holdfast.__file__).parent
NOT_THE_CORE = ("lab", "cli", "experiments")
COUNTED_IN_PLACE = {
    *("checkouts", "connects", "rollbacks_deferred", "rollbacks_skipped", "statements_pipelined", "probes"),
}
"""Totals that change with each statement or checkout, where a call for each would cost more than the work itself."""

CORE = [
    path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).parts[0] not in NOT_THE_CORE and path.name != "reporting.py"
]


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_else_writes_to_the_log(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("logging.getLogger", "getLogger", "warnings.warn") or (
                path.parent.name == "flask" and ast.unparse(node.func) == "warnings.warn"
            )


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_else_counts_what_happens_now_and_then(path: Path) -> None:
    counted = {
        node.target.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AugAssign)
        and isinstance(node.target, ast.Attribute)
        and ast.unparse(node.target.value).endswith("counters")
    }
    assert counted <= COUNTED_IN_PLACE


def test_whoever_listens_is_told_of_what_happened(server: Server, held: EngineFactory) -> None:
    engine = held(server.url(), pool_size=1, max_overflow=0)
    events: list[Event] = []
    holdfast.status(engine).listen(events.append)
    server.kill_connection(connection_id(engine))
    read(engine)
    event = next(event for event in events if event.name == "replaced_before_use")
    assert event.where == holdfast.status(engine).where
    assert event.facts["cause"] is holdfast.Cause.CLOSED
    assert event.facts["seconds"] >= 0
    assert "app" not in str(event), "no account"


def test_a_unit_that_is_begun_again_is_an_event(server: Server, held: EngineFactory) -> None:
    engine = held(server.url(), pool_size=1, max_overflow=0)
    events: list[Event] = []
    holdfast.status(engine).listen(events.append)
    lost: list[int] = []

    def unit(connection: object) -> None:
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()  # type: ignore[attr-defined]
        if not lost:
            lost.append(number)
            connection.execute(text("DO 1"))  # type: ignore[attr-defined]
            server.kill_connection(number)
        connection.execute(text("SELECT 2"))  # type: ignore[attr-defined]

    holdfast.run(engine, unit)
    names = [event.name for event in events]
    assert names.count("unit_repeated") == 1
    assert names.index("lost_in_use") < names.index("unit_repeated") < names.index("unit_committed")


def test_a_listener_that_fails_is_logged_and_harms_nobody(
    server: Server, held: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    engine = held(server.url(), pool_size=1, max_overflow=0)

    def fails(event: Event) -> None:
        raise RuntimeError(f"cannot take {event.name}")

    holdfast.status(engine).listen(fails)
    server.kill_connection(connection_id(engine))
    assert read(engine, 7) == 7
    assert {record.name for record in caplog.records if record.levelno == logging.ERROR} == {"holdfast"}
    assert "cannot take replaced_before_use" in caplog.text


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(Reporter, inspect.isfunction) if name[0] != "_"]
)
def test_every_event_is_named_like_its_method(name: str) -> None:
    if name in ("listen", "start_anew", "tell_what_waits"):
        return
    source = ast.unparse(ast.parse(inspect.getsource(Reporter)))
    assert f"event='{name}'" in source or f"_note('{name}'" in source
