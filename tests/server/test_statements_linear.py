"""However long and odd a text is, it is judged in a time in proportion to its length."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sqlalchemy_holdfast.server.statements import is_plain_read, may_commit, may_follow_rollback, only_reads, shortened
from tests._long import LONG

MEGABYTE = 1_000_000
SECONDS = 0.05
HEADS = ["SELECT ", "SELECT '\\';' "]
OTHER_HEADS = ["", "SELECT '", "SELECT ';', ", "INSERT INTO t VALUES ('", "SET ", "WITH a(", "(", "/*", "-- ", ";"]
PARTS = [
    *("'", "''", '"', "`", "''\"\"", "\\", "\\'", "'\\'", "'a', ", "'a;', ", "'\"`", "'日\\'', ", "¥'", "é", "\xa0"),
    *("\0", ";", "; ", ";'", "(", ")", "((", "a(", "f (", "x, ", "a . ", "a(b) AS (", "ANY (SELECT ", ") AGAINST ("),
    *("AS a (", "--", "-- ", "-- \n", "--\x01", "#", "#\n", "/*", "*/", "/**/", "/*/", "/*! ", "/*! */", "/*+ */"),
    *("/*+ ' */", " ", "\n", "\v", "1", "1e5, ", ".5", "0x1", "a", "A ", "AND ", "for", "FOR ", "INTO ", "FOR UPDATE "),
    *("LOCK", "(SEL", "@", "@@a ", ":=", "$", "?", "%s, ", "{", "_utf8'a' ", "CREATE TEMPORARY "),
]
QUESTIONS: list[Callable[[Any], object]] = [
    is_plain_read,
    lambda text: may_follow_rollback(text[: MEGABYTE - 1]),
    only_reads,
    lambda text: only_reads(text[:100_000]),  # longer ones are not looked at
    lambda text: only_reads(text[:100_000], backslash_escapes=True),
    may_commit,
    lambda text: may_commit(text, backslash_escapes=False),
    shortened,
]


def seconds(question: Callable[[Any], object], text: Any) -> float:
    """The least of a few tries, of this thread's own time: others may be busy."""
    least = float("inf")
    for _ in range(5):
        before = time.thread_time()
        question(text)
        least = min(least, time.thread_time() - before)
        if least < SECONDS / 2:
            break
    return least


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, str.encode])
@pytest.mark.parametrize("head", HEADS + OTHER_HEADS * LONG)
def test_a_megabyte_of_anything_is_judged_in_little_time(head: str, kind: Callable[[str], Any]) -> None:
    took: dict[tuple[str, int], float] = {}
    for part in PARTS:
        text = kind(head + part * (MEGABYTE // len(part.encode())))
        took |= {(part, number): seconds(question, text) for number, question in enumerate(QUESTIONS)}
    assert {what: time for what, time in took.items() if time >= SECONDS} == {}


@pytest.mark.slow
def test_an_ordinary_insert_of_a_megabyte_is_one_statement() -> None:
    row = "(12345, 'some words; and \\'more\\' of them', NULL, '2030-01-02 03:04:05', 'x')"
    text = "INSERT INTO guests (`id`, name, note, at, kind) VALUES " + ", ".join([row] * (MEGABYTE // len(row)))
    assert not may_commit(text, backslash_escapes=True)
    assert not may_commit(text.encode(), backslash_escapes=True)
    assert may_commit(text + "; COMMIT", backslash_escapes=True)
    assert seconds(lambda text: may_commit(text, backslash_escapes=True), text) < SECONDS


def test_an_insert_without_a_semicolon_costs_next_to_nothing_whatever_its_length() -> None:
    text = b"INSERT INTO guests VALUES " + b", ".join([b"(1, 'x')"] * 1_000_000)
    assert not may_commit(text)
    assert seconds(may_commit, text) < SECONDS / 2
