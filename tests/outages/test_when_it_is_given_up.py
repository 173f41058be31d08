"""For how long a server that is away is waited for, and when it is asked again as if it were new."""

from __future__ import annotations

import pytest

from sqlalchemy_holdfast.pool import outage
from sqlalchemy_holdfast.pool.outage import Asker, Outages
from sqlalchemy_holdfast.reporting import Reporter
from sqlalchemy_holdfast.settings import Settings


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float) -> float:
        self.now += seconds
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock) -> Outages:
    return Outages(Settings(), Reporter("somewhere"), clock)


REFUSED = ConnectionRefusedError(111, "Connection refused")


def test_it_is_waited_for_once_in_an_outage_however_long_that_is(clock: Clock, outages: Outages) -> None:
    asker = outages.asker(0)
    outages.not_answered(asker, REFUSED)
    assert outages.gives_up_at(clock.now, asker) == 1010
    for _ in range(10):
        clock.later(30)
        assert outages.gives_up_at(clock.now, asker) < clock.now, "it has been waited for"
        outages.given_up()


def test_a_refusal_a_minute_after_the_last_one_begins_another_outage(clock: Clock, outages: Outages) -> None:
    asker = outages.asker(0)
    outages.not_answered(asker, REFUSED)
    clock.later(61)
    assert outages.gives_up_at(clock.now, asker) == clock.now + 10


def test_an_answer_ends_it(clock: Clock, outages: Outages) -> None:
    asker = outages.asker(0)
    outages.not_answered(asker, REFUSED)
    clock.later(20)
    outages.connected()
    assert outages.gives_up_at(clock.now, asker) == clock.now + 10


@pytest.mark.parametrize(
    ("threads", "limit", "patience"), [(1, 1, 3), (2, 1, 10), (4, 3, 10), (8, 6, 10), (40, 30, 10), (None, None, 10)]
)
def test_a_quarter_of_a_web_servers_threads_stays_free(
    outages: Outages, monkeypatch: pytest.MonkeyPatch, threads: int | None, limit: int | None, patience: float
) -> None:
    monkeypatch.setattr(outage, "web_threads", lambda: threads)
    asker = outages.asker(0)
    assert (asker.limit, asker.patience) == (limit, patience)


def asking(outages: Outages, number: int, since: float, thread: int) -> Asker:
    asker = Asker(number, 1, 10)
    asker.since, asker.sent, asker.thread = since, since, thread
    return asker


def test_a_slow_attempt_to_connect_is_no_outage_while_connections_come_back(clock: Clock, outages: Outages) -> None:
    slow, own = asking(outages, 0, clock.now, thread=1), Asker(1, 1, 10)
    clock.later(0.5)
    assert outages.turns_away(own, [slow], None) is None, "it may only take its time"
    outages.last_heard = clock.now
    clock.later(5)
    assert outages.turns_away(own, [slow], None) is None, "somebody had an answer meanwhile"


def test_a_second_without_any_answer_is_one(clock: Clock, outages: Outages) -> None:
    silent, own = asking(outages, 0, clock.now, thread=1), Asker(1, 1, 10)
    clock.later(1.2)
    error = outages.turns_away(own, [silent], None)
    assert error is not None
    assert error.away_for == pytest.approx(1.2)
    assert error.retry_after == 2
    assert outages.stands_back(own, [silent], clock.now, last=False)


def test_who_came_first_waits(clock: Clock, outages: Outages) -> None:
    first, second = Asker(0, 1, 10), Asker(1, 1, 10)
    second.thread += 1
    outages.not_answered(first, REFUSED)
    assert outages.turns_away(first, [second], REFUSED) is None
    assert outages.turns_away(second, [first], REFUSED) is not None
