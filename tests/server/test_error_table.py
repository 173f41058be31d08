"""The table of errors: each row is produced by a case, says where it comes from, and hides no other."""

from __future__ import annotations

import pytest

from sqlalchemy_holdfast.server import faults
from sqlalchemy_holdfast.server.error_table import RULES, Effect, ErrorRule
from tests.server.error_cases import LOST, RETIRED, ROWS


def test_every_row_is_produced_by_a_case_that_needs_no_mysql() -> None:
    produced = {row for case in [*LOST, *RETIRED] if case.through != "mysql_server" for row in case.rows[:1]}
    assert produced == set(ROWS)


def test_every_case_has_the_effect_that_its_list_says() -> None:
    assert {row.effect for case in LOST for row in case.rows} == {Effect.LOST}
    assert {row.effect for case in RETIRED for row in case.rows} == {Effect.EVICT}


def test_every_row_says_where_it_comes_from() -> None:
    for each in ROWS:
        assert len(each.source) > 30
        assert each.meaning == each.meaning.strip(" .")
        assert all(part == part.lower() for part in each.texts), "compared with the message in lower case"
        assert each.number is not None or each.texts, "or it would match everything"


def an_error_of(rule: ErrorRule) -> Exception:
    name = (rule.classes or ("OperationalError",))[0]
    text = (rule.texts or ("error 149 (-3)" if rule.pattern else "",))[0]
    return type(name, (Exception,), {})(rule.number, text)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.number is None or rule.number >= 0], ids=repr)
def test_no_row_hides_another(rule: ErrorRule) -> None:
    """The first that matches wins; each row is found by the error that it describes."""
    if rule.number is not None:
        assert faults.judge(an_error_of(rule), connected=rule.while_connected).rule is rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.number} {rule.meaning}")
def test_every_row_says_where_it_comes_from_and_what_it_changes(rule: ErrorRule) -> None:
    assert len(rule.source) > 10
    answers = (
        rule.effect,
        rule.refusal,
        rule.retry,
        rule.rolls_back,
        rule.may_roll_back,
        rule.refuses_commit,
        rule.proves_connecting,
    )
    before_another = any(other is not rule and other.number == rule.number for other in RULES)  # whose answer is wrong
    assert any(answers) or before_another, "a row that answers nothing"
    assert not (rule.refusal and not rule.while_connecting)
