"""How checks are registered, chosen and run: one that fails does not end the examination."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.doctor import Check, Examined, NotSeen, Seen, Severity, choose, examine, seen
from sqlalchemy_holdfast.doctor.check import check
from sqlalchemy_holdfast.doctor.checks import CHECKS
from sqlalchemy_holdfast.doctor.examination import look
from sqlalchemy_holdfast.urls import Finding


def made(function: object, needs: str = "url") -> Check:
    return Check("HF199", "connect", "Title", Severity.WARNING, frozenset({needs}), "Cure.", "Why.", function)  # type: ignore[arg-type]


def fails(examined: Examined) -> Iterator[str | Seen]:
    raise ZeroDivisionError("with a secret in it")
    yield ""


def cannot_see(examined: Examined) -> Iterator[str | Seen]:
    yield "This is not kept."
    seen(None, "the moon")


def finds(examined: Examined) -> Iterator[str | Seen]:
    yield "It is so."
    yield Seen("It is worse.", severity=Severity.ERROR, cure="Do more.")


SOMETHING = Examined(url_findings=(Finding("a mistake"),))


def test_a_check_that_fails_is_reported_and_the_others_run() -> None:
    report = look(SOMETHING, [made(fails), made(finds)])
    assert [skipped.reason for skipped in report.skipped] == ["it could not run (ZeroDivisionError)"]
    assert [(f.severity, f.evidence, f.cure) for f in report.findings] == [
        (Severity.ERROR, "It is worse.", "Do more."),
        (Severity.WARNING, "It is so.", "Cure."),
    ]
    assert len(report.checks) == 1
    assert len(report.at_least(Severity.ERROR)) == 1
    assert len(report.at_least(Severity.NOTE)) == 2


def test_a_check_that_cannot_see_what_it_needs_finds_nothing() -> None:
    report = look(SOMETHING, [made(cannot_see), made(finds, "server"), made(finds, "application")])
    assert report.findings == ()
    assert [skipped.reason for skipped in report.skipped] == [
        "not seen: the moon",
        "there is no connection to a server",
        "no application was given (--app)",
    ]
    assert [skipped.not_given for skipped in report.skipped] == [False, False, True]
    with pytest.raises(NotSeen, match="the moon"):
        seen(None, "the moon")


@pytest.mark.parametrize(
    ("id", "group", "needs"),
    [
        ("HF401", "session", {"url"}),
        ("HF499", "server", {"url"}),
        ("XY499", "session", {"url"}),
        ("HF499", "session", ()),
    ],
)
def test_a_check_that_does_not_fit_is_refused(id: str, group: str, needs: set[str]) -> None:
    with pytest.raises(ValueError, match=id):
        check(id, group=group, title="T", severity=Severity.NOTE, needs=needs, cure="C", explanation="E")(finds)
    assert "HF499" not in [known.id for known in CHECKS]


def test_checks_are_chosen_by_id_and_group() -> None:
    assert choose() == CHECKS
    assert choose(["hf401"], ["LIMITS"]) == choose(["HF401"], ["limits"])
    assert [found.id for found in choose(["HF401"], [])] == ["HF401"]
    assert choose(["session"], ["session"]) == ()
    with pytest.raises(ValueError, match="no check or group called nobody"):
        examine(None, only=["nobody"])


def test_without_anything_to_look_at_nothing_is_found() -> None:
    report = examine(None)
    assert (report.findings, report.checks, report.statements) == ((), (), 0)
    assert len(report.skipped) == len(CHECKS)
