"""Each check of an application finds what it is for in a site that has it, and nothing in a site that has not."""

from __future__ import annotations

import dataclasses

import pytest

from sqlalchemy_holdfast.doctor.application.facts import EngineFacts, OpenConnection, from_plain, to_plain
from sqlalchemy_holdfast.doctor.checks import CHECKS
from tests.doctor.application_findings import evidence, found, severities
from tests.doctor.conftest import Watched

CASES: dict[str, dict[str, str]] = {
    "held": {},
    "stock": {"HF702": "warning"},
    "left_open": {"HF720": "warning"},
    "threaded": {},
    "rebuilt": {"HF703": "warning"},
    "several": {"HF709": "warning"},
    "pools": {
        "HF705": "note",
        "HF710": "note",
        "HF711": "note",
        "HF712": "note",
        "HF713": "warning",
        "HF714": "warning",
        "HF715": "warning",
        "HF717": "warning",
    },
    "own_choices": {},
    "flask_stock": {"HF706": "warning", "HF707": "warning"},
    "flask_held": {},
    "scoped": {"HF721": "warning"},
    "scoped_removed": {},
    "traced": {"HF716": "note"},
    "empty": {"HF708": "note"},
    "failing": {"HF701": "error"},
}
"""All that is found in a site. Whatever stands in one line is silent in every other."""


@pytest.mark.slow
@pytest.mark.parametrize("site", CASES)
def test_a_site_has_these_findings_and_no_other(watched: Watched, site: str) -> None:
    assert severities(found(watched(site))) == CASES[site], [finding.evidence for finding in found(watched(site))]


def test_each_check_has_a_site_in_which_it_finds_something() -> None:
    from tests.doctor.test_prefork_checks import CASES as PREFORK

    seen = {id for ids in CASES.values() for id in ids} | {id for _, _, ids in PREFORK for id in ids}
    own = {check.id for check in CHECKS if check.group in ("prefork", "application")}
    assert own - seen == {"HF704"}, "HF704 has a test of its own: no asyncio driver is installed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "check", "says"),
    [
        ("stock", "HF702", "(stock.py line 9)"),
        ("rebuilt", "HF703", "(rebuilt.py line 15, in reports())"),
        ("several", "HF709", "2 engines"),
        ("several", "HF709", "(several.py line 9 and several.py line 10)"),
        ("several", "HF709", "30 connections together"),
        ("left_open", "HF720", "An ORM session"),
        ("left_open", "HF720", "at left_open.py line 14,"),
        ("pools", "HF712", "pool_recycle=280"),
        ("traced", "HF716", "opentelemetry"),
        ("flask_stock", "HF707", "SQLALCHEMY_POOL_RECYCLE"),
    ],
)
def test_the_evidence_names_the_line_and_the_figure(watched: Watched, site: str, check: str, says: str) -> None:
    assert says in evidence(watched(site), check)


@pytest.mark.slow
def test_a_site_with_flask_sqlalchemy_gets_one_advice(watched: Watched) -> None:
    facts = watched("flask_stock")
    (engine,) = facts.engines
    opened = dataclasses.replace(engine, open=(OpenConnection(None, out=False),), connects=1)
    findings = found(dataclasses.replace(facts, engines=(opened,)))
    assert severities(findings) == {"HF301": "warning", "HF706": "warning", "HF707": "warning"}
    for finding in findings:
        assert "sqlalchemy_holdfast.flask" in finding.cure
        assert "plugin=holdfast" not in finding.cure
    cure = next(finding.cure for finding in findings if finding.id == "HF707")
    assert "{'pool_recycle': ...}" in cure


@pytest.mark.slow
def test_the_advice_fits_why_an_engine_is_not_held(watched: Watched) -> None:
    facts = watched("touched")
    for change, words in (
        ({}, "Add ?plugin=holdfast"),
        ({"why_not": "the driver oursql is not one that holdfast knows"}, "Use a driver that holdfast knows"),
        ({"switched_off": True}, "Remove holdfast_enabled=false"),
        ({"asyncio": True}, "Connect in each worker"),
    ):
        engines = tuple(dataclasses.replace(engine, **change) for engine in facts.engines)
        findings = found(dataclasses.replace(facts, engines=engines))
        assert next(one.cure for one in findings if one.id == "HF301").startswith(words)


@pytest.mark.slow
def test_no_finding_shows_the_password(watched: Watched) -> None:
    for site in ("stock", "pools", "rebuilt"):
        facts = watched(site)
        assert all(":app@" not in repr(finding) for finding in found(facts))
        assert all(engine.where.startswith("mysql+pymysql://127.0.0.1:") for engine in facts.engines)


@pytest.mark.slow
def test_an_asyncio_engine_is_a_note_and_not_a_warning(watched: Watched) -> None:
    facts = watched("stock")
    engines = tuple(dataclasses.replace(engine, asyncio=True, driver="mysql+asyncmy") for engine in facts.engines)
    assert severities(found(dataclasses.replace(facts, engines=engines))) == {"HF704": "note"}


@pytest.mark.slow
def test_a_pool_recycle_of_flask_sqlalchemys_own_is_nobodys_mistake(watched: Watched) -> None:
    (engine,) = watched("flask_held").engines
    assert (engine.held, engine.pool.recycle, engine.recycle_by_flask) == (True, 7200, True)


@pytest.mark.slow
def test_an_engine_says_how_it_is_pooled_and_when_it_was_made(watched: Watched) -> None:
    (held,) = watched("held").engines
    assert (held.pool.kind, held.pool.size, held.pool.most, held.connects) == ("QueuePool", 3, 13, 1)
    assert [(one.out, str(one.opened)) for one in held.open] == [(False, "held.py line 11")]
    (made,) = watched("flask_held").engines
    assert (str(made.made), made.moment) == ("flask_held.py line 23, in create_app()", "factory")


@pytest.mark.slow
def test_facts_survive_the_way_through_json(watched: Watched) -> None:
    for engine in watched("held").engines:
        assert from_plain(EngineFacts, to_plain(engine)) == engine
