"""What each experiment's row calls bad: the demonstration's exit status is 1 when a row of holdfast's has any."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sqlalchemy_holdfast.experiments.lost import Lost
from sqlalchemy_holdfast.experiments.out_of_sync import Answer
from sqlalchemy_holdfast.experiments.prefork import Answers
from sqlalchemy_holdfast.experiments.waits import Waits

SERVED = Lost("pymysql", "idle", "stock", requests=5, later_requests=3, signed=9, entries=9)
ANSWERED = Answers("pymysql", "uwsgi", "session_open", "stock", sent=7, right=7)


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, 0),
        ({"failed": 2}, 2),
        ({"wrong": 2}, 2),
        ({"later_failed": 3}, 3),
        ({"entries": 8}, 1),
        ({"entries": 11}, 2),
        ({"failed": 1, "wrong": 1, "later_failed": 1, "signed": 8}, 4),
    ],
)
def test_a_failed_request_a_wrong_answer_and_an_entry_too_few_or_too_many(change: dict[str, int], bad: int) -> None:
    assert replace(SERVED, **change).bad == bad  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["wrong", "errors", "hangs", "lost", "doubled", "import_committed"])
def test_whatever_a_forked_worker_did_wrong(name: str) -> None:
    assert ANSWERED.bad == 0
    assert replace(ANSWERED, **{name: 2}).bad == 2  # type: ignore[arg-type]


def test_any_answer_that_is_not_right() -> None:
    answer = Answer("book", 1, "stock", "seat 41", "booked", "booked", "right")
    assert answer.bad == 0
    assert replace(answer, told="already taken", outcome="wrong").bad == 1
    assert replace(answer, told="error: InternalError", outcome="error").bad == 1


def test_waiting_is_not_failing() -> None:
    assert Waits("pymysql", "core_read", "stock", commands=2, waits=3.1).bad == 0
