"""The parts that need no server: the pauses, and what an attempt says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlalchemy_holdfast.transactions import Attempt, Commit, Reason
from sqlalchemy_holdfast.transactions.attempts import Pace


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@given(st.floats(0, 1), st.floats(0.01, 100))
def test_pauses_grow_have_a_limit_and_end_with_the_deadline(jitter: float, deadline: float) -> None:
    clock = Clock()
    pace = Pace(deadline, clock=clock, sleep=clock.sleep, jitter=lambda: jitter)
    number = 0
    while pace.pause(number + 1) and number < 200:
        number += 1
    assert clock.now <= 100 + deadline + 1e-6
    slept = 0.0
    for index, seconds in enumerate(clock.slept):
        wanted = jitter * min(Pace.LONGEST, Pace.FIRST * 2**index)
        assert seconds == pytest.approx(min(wanted, deadline - slept), abs=1e-9)
        slept += seconds


def test_a_pace_whose_time_is_up_does_not_sleep() -> None:
    clock = Clock()
    pace = Pace(1, clock=clock, sleep=clock.sleep, jitter=lambda: 1)
    clock.now += 2
    assert not pace.pause(1)
    assert clock.slept == []
    assert pace.grace(3).left() == 3


def test_an_attempt_says_what_happened() -> None:
    attempt = Attempt(2, 0.5, 0.25, ValueError("words"), Reason.DEADLOCK, Commit.NOT_SENT)
    assert str(attempt) == "attempt 2, after 0.50 s and for 0.25 s: deadlock, COMMIT not sent: words"
