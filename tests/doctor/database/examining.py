"""Examining a server in a test, and changing it for a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Engine

from sqlalchemy_holdfast.doctor import Finding, Hosting, Report, Severity, examine
from sqlalchemy_holdfast.doctor.checks import CHECKS
from sqlalchemy_holdfast.doctor.connecting import gather
from sqlalchemy_holdfast.doctor.examination import look
from sqlalchemy_holdfast.doctor.examined import Examined
from sqlalchemy_holdfast.lab import Server

OURS = ("connect", "limits", "session", "server", "middlebox")
"""The groups of checks that look at a database and at what connects to it."""
IDS = tuple(check.id for check in CHECKS if check.group in OURS)


def held_url(server: Server, driver: str = "pymysql", **more: Any) -> URL:
    query = {"plugin": "holdfast", **more.pop("query", {})}
    if driver == "mysqlconnector":
        query["use_pure"] = "1"
    return server.url(driver, query=query, **more)


def facts_of(target: URL | Engine, **hosting: Any) -> Examined:
    return gather(target, application=None, hosting=Hosting(**hosting))[0]


def found(id: str, report: Report, *words: str, severity: Severity | None = None) -> Finding:
    """What a check has found, which must be there, once, and have these words in its evidence."""
    findings = [finding for finding in report.findings if finding.id == id]
    assert len(findings) == 1, (findings, report.skipped, report.unseen)
    for word in words:
        assert word in findings[0].evidence, findings[0]
    assert severity is None or findings[0].severity is severity, findings[0]
    return findings[0]


def silent(id: str, report: Report) -> None:
    """Assert that a check has run and found nothing."""
    assert id in [check.id for check in report.checks], [
        skipped for skipped in report.skipped if skipped.check.id == id
    ]
    assert id not in [finding.id for finding in report.findings], report.findings


def look_at(examined: Examined, **server: Any) -> Report:
    """Let the checks look at what was gathered, with some of the server's facts in the place of the real ones."""
    assert examined.server is not None
    return look(dataclasses.replace(examined, server=dataclasses.replace(examined.server, **server)), CHECKS)


def with_connect(examined: Examined, **connect: Any) -> Report:
    """The same for facts of the connection."""
    assert examined.connect is not None
    return look(dataclasses.replace(examined, connect=dataclasses.replace(examined.connect, **connect)), CHECKS)


@contextmanager
def set_global(server: Server, **values: str | int) -> Iterator[None]:
    """Set variables of a server, and set them back."""
    before = {name: server.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in values}
    try:
        for name, value in values.items():
            server.execute(f"SET GLOBAL {name} = %s", (value,))
        yield
    finally:
        for name, value in before.items():
            server.execute(f"SET GLOBAL {name} = %s", (value,))


@contextmanager
def database(server: Server, *statements: str, name: str = "examined") -> Iterator[URL]:
    """A database of its own, made by these statements; the URL of it."""
    server.create_database(name)
    try:
        for statement in statements:
            server.execute(statement, database=name)
        yield held_url(server, database=name)
    finally:
        server.execute(f"DROP DATABASE {name}")


@contextmanager
def account(server: Server, *, name: str = "patient", **options: Any) -> Iterator[URL]:
    """An account of its own; the URL of it."""
    server.create_account(name, "s3cret-Pw", **options)
    try:
        yield held_url(server, user=name, password="s3cret-Pw")
    finally:
        server.execute("DROP USER %s@%s", (name, options.get("host", "%")))


__all__ = [
    "IDS",
    "OURS",
    "account",
    "database",
    "examine",
    "facts_of",
    "found",
    "held_url",
    "look_at",
    "set_global",
    "silent",
    "with_connect",
]
