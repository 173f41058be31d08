"""The parts of the attack: scripts, sequences, the grammar, the ledger, shrinking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import DBAPIError

from tests.attack.actions import connect, number_of, statement
from tests.attack.closing import compare, finish
from tests.attack.ends import close
from tests.attack.fuzz import Pair
from tests.attack.generate import choices, sequence
from tests.attack.grammar import DRESSES, STATEMENTS, dressed
from tests.attack.lab import Lab
from tests.attack.ledger import Fate, Ledger, Told, Tx
from tests.attack.registry import ACTIONS
from tests.attack.script import Script, Step, format_steps, numbered, parse, walk
from tests.attack.shrink import shrunk
from tests.attack.themes import THEMES

GRAMMAR = [name for name, found in STATEMENTS.items() if found.family not in ("completion",)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab(None) as lab:
        yield Pair(lab, "pymysql")


def test_a_script_is_what_its_text_says() -> None:
    for theme in THEMES:
        for number in range(30):
            steps = sequence(f"{number}", theme, "mariadb")
            assert parse(format_steps(steps)) == steps


def test_each_word_of_a_theme_is_a_step_that_can_be_done() -> None:
    for theme in THEMES.values():
        for words in (theme.visit, theme.unit, theme.behind, theme.opens):
            for step in walk(choices(words)[0]):
                assert step.name in ACTIONS or step.name in ("@unit", "@visit", "@behind", "then"), step
        assert {step.name for step in choices(theme.env)[0]} == {"env"}


@pytest.mark.parametrize("text", ["a.", "run(engine){", "run)", "a connect", "run{a}}"])
def test_what_is_no_script_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_the_same_seed_gives_the_same_sequence() -> None:
    for theme in (*THEMES, "everything"):
        assert sequence("7", theme, "mysql") == sequence("7", theme, "mysql")
        assert len({sequence(str(number), theme, "mysql") for number in range(9)}) > 1


def test_each_step_has_numbers_of_its_own() -> None:
    steps = numbered(parse("a.connect; run(engine){do(insert); try{do(note)}}; a.commit"))
    assert [step.number for step in walk(steps)] == [2, 4, 6, 8, 10, 12]


def test_a_failing_sequence_becomes_as_short_as_it_can_be() -> None:
    steps = parse(
        "env(one); a.connect; a.do(note); in(thread){run(maker){add; fails; kill}}; a.commit; b.session; b.close"
    )

    def fails(candidate: Script) -> bool:
        names = [step.name for step in walk(candidate)]
        return "run" in names and "kill" in names[names.index("run") :]

    assert format_steps(shrunk(steps, fails)) == "run(engine){kill}"


def test_a_ledger_tells_lost_doubled_and_refused_numbers() -> None:
    ledger, tx = Ledger(), Tx()
    for number in (1, 2):
        ledger.wrote(tx, number, at_once=False)
    ledger.committed(tx)
    ledger.wrote(tx, 3, at_once=False)
    ledger.gone(tx, "rolled back")
    ledger.wrote(tx, 4, at_once=False)
    ledger.failed(tx, 5, Told.SERVER, ValueError(), at_once=False)
    ledger.commit_failed(tx, Told.LOST, ValueError(), sent=True, refused=False)
    assert ledger.fates[4][0] is Fate.MAYBE
    assert ledger.compare({1: 1, 2: 1}) == ledger.compare({1: 1, 2: 1, 4: 1}) == []
    wrong = [(rule, number) for rule, number, _ in ledger.compare({2: 2, 3: 1, 4: 2, 5: 1})]
    assert wrong == [("lost", 1), ("doubled", 2), ("refused and there", 3), ("doubled", 4), ("refused and there", 5)]


@pytest.mark.parametrize("name", GRAMMAR)
def test_a_statement_does_what_the_grammar_says(pair: Pair, name: str) -> None:
    """By a server's own account: stock SQLAlchemy and nothing in between."""
    what = STATEMENTS[name]
    side = pair.stock
    side.begin(frozenset())
    connect(side, Step("connect", "a"))
    hand = side.hands["a"]
    try:
        statement(side, hand, STATEMENTS["insert"], 20)
        try:
            statement(side, hand, what, 22)
            refused = 0
        except DBAPIError as error:
            refused = number_of(error) or -1
        locked = not side.lab.row_is_free(side.name, hand.row)
    finally:
        close(side, Step("close", "a"))
        finish(side, 30)
        compare(side)
    assert refused == what.fails
    assert locked is what.locks
    assert not side.violations
    if not what.perhaps and not what.lasting:
        assert (22 in side.rows) is (what.writes and what.commits), "written, and committed"
        assert (20 in side.rows) is what.commits, "what came before is committed"


@pytest.mark.parametrize("dress", DRESSES)
def test_dressing_a_statement_changes_nothing(pair: Pair, dress: str) -> None:
    for name in ("insert", "read_table", "commit_text", "alter", "call_commits", "note"):
        text = dressed(STATEMENTS[name], dress).sql[-1]
        steps = f"a.connect; a.do(insert); a.do({name},{dress}); a.rollback; a.do({name}); a.commit"
        assert text != STATEMENTS[name].sql[-1]
        assert not [finding for finding in pair.run(parse(steps)) if finding.side == "stock"]
