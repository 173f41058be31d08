"""What happens when the server refuses the password: what is asked for again, and how often the server is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Password
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.credentials import passwords
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, inside, read
from tests.credentials.conftest import Account, Make, account_on, events


class Source:
    """A function that returns what it is told to, and counts."""

    def __init__(self, password: str, life: float | None = None) -> None:
        self.password = password
        self.life = life
        self.asked = 0
        self.then: Callable[[], object] = lambda: None
        """Called at each asking, before it is answered."""

    def __call__(self) -> Password:
        self.asked += 1
        self.then()
        return Password(self.password, self.life)


def refused(engine: Any) -> int:
    """The number of the error that a new connection gets."""
    with pytest.raises(DBAPIError) as caught:
        read(engine)
    original: Any = caught.value.orig
    return int(getattr(original, "errno", None) or original.args[0])


def test_a_kept_password_that_the_server_refuses_is_asked_for_again(
    driver: str, logs_in: Make, account: Account
) -> None:
    source = Source(account.password, life=3600)
    engine = logs_in(driver, holdfast_password=source)
    found = events(engine)
    for _ in range(3):
        read(engine)
        engine.dispose()
    assert source.asked == 1, "it is kept"
    source.password = account.change()
    before = account.refused()
    assert read(engine, 7) == 7
    assert (source.asked, account.refused() - before) == (2, 1)
    assert found.count("password_changed") == 1


def test_a_refused_password_is_not_kept_while_the_source_fails(
    logs_in: Make, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "GAP", 0.0)
    source = Source(account.password, life=3600)
    engine = logs_in(holdfast_password=source)
    read(engine)
    engine.dispose()
    source.password = account.change()

    def sealed() -> None:
        raise RuntimeError("sealed")

    source.then = sealed
    before = account.refused()
    for _ in range(3):
        with pytest.raises(holdfast.PasswordUnavailable):
            read(engine)
    assert account.refused() - before == 1, "the server is not asked with a password that it has refused"
    source.then = lambda: None
    assert read(engine, 7) == 7


def test_a_wrong_password_is_tried_once(driver: str, logs_in: Make, account: Account) -> None:
    """Nothing was ever accepted, so nothing has changed: the error comes at once."""
    source = Source("wrong")
    engine = logs_in(driver, holdfast_password=source)
    before = account.refused()
    for number in (1, 2):
        assert refused(engine) == 1045
        assert (source.asked, account.refused() - before) == (2 * number, number), "asked again, and not tried again"
    assert holdfast.status(engine).counters.unanswered == 0, "the server is not away"


def test_the_error_says_where_the_password_came_from(logs_in: Make, account: Account, secret: Path) -> None:
    secret.write_text("wrong")
    with pytest.raises(DBAPIError) as caught:
        read(logs_in(holdfast_password_file=secret))
    assert "the password came from holdfast_password_file, which was asked once more" in caught.value.detail[0]
    assert page("passwords") in caught.value.detail[0]
    assert "space" not in caught.value.detail[0]


def test_a_space_around_the_password_is_named(logs_in: Make, account: Account, secret: Path) -> None:
    secret.write_text("wrong \n")
    with pytest.raises(DBAPIError) as caught:
        read(logs_in(holdfast_password_file=secret))
    assert "begins or ends with a space" in caught.value.detail[0]
    assert "wrong" not in caught.value.detail[0]


def test_a_wrong_password_that_was_corrected_meanwhile_is_tried(logs_in: Make, account: Account) -> None:
    source = Source("wrong", life=3600)
    engine = logs_in(holdfast_password=source)
    assert refused(engine) == 1045
    source.password = account.password
    assert read(engine, 7) == 7


def test_the_source_is_asked_until_it_has_the_new_password_and_the_server_is_not(
    driver: str, logs_in: Make, account: Account
) -> None:
    source = Source(account.password)
    engine = logs_in(driver, holdfast_password=source)
    found = events(engine)
    read(engine)
    engine.dispose()
    new, before, asked = account.change(), account.refused(), source.asked

    def late() -> None:
        if source.asked - asked == 4:
            source.password = new

    source.then = late
    assert read(engine, 7) == 7
    assert account.refused() - before == 1
    assert found.index("password_not_changed") < found.index("password_changed")


def test_it_is_asked_for_some_seconds_and_not_for_ever(
    logs_in: Make, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "GAP", 0.3)
    source = Source(account.password)
    engine = logs_in(holdfast_password=source)
    read(engine)
    engine.dispose()
    account.change()
    before = account.refused()
    assert refused(engine) == 1045
    assert account.refused() - before == 1
    asked, began = source.asked, time.monotonic()
    assert refused(engine) == 1045
    assert source.asked - asked == 2, "the time is up: it is asked again as ever"
    assert account.refused() - before == 2
    assert time.monotonic() - began < 30
    source.password = account.password
    assert read(engine, 7) == 7


def test_no_longer_than_a_checkout_may_wait(logs_in: Make, account: Account) -> None:
    engine = logs_in(holdfast_password=Source(account.password), pool_timeout=0.1)
    read(engine)
    engine.dispose()
    account.change()
    began = time.monotonic()
    assert refused(engine) == 1045
    assert time.monotonic() - began < passwords.GAP


def test_a_new_password_that_the_server_does_not_have_yet(driver: str, logs_in: Make, account: Account) -> None:
    """The one that it accepted last is tried, and the new one when it is refused."""
    source = Source(account.password)
    engine = logs_in(driver, holdfast_password=source)
    found = events(engine)
    read(engine)
    engine.dispose()
    source.password = account.new_password()
    before = account.refused()
    for _ in range(3):
        assert read(engine, 7) == 7
        engine.dispose()
    assert account.refused() - before == 1, "it is not tried again at once"
    assert "previous_password_used" in found
    account.change(source.password)
    assert read(engine, 8) == 8
    assert account.refused() - before == 2
    engine.dispose()
    assert read(engine, 9) == 9
    assert account.refused() - before == 2, "the new one is the one to use now"


def test_a_password_whose_time_is_over_is_not_tried_again(
    logs_in: Make, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "GAP", 0.0)
    source = Source(account.password, life=0.01)
    engine = logs_in(holdfast_password=source)
    read(engine)
    engine.dispose()
    time.sleep(0.02)
    source.password = account.new_password()
    before = account.refused()
    assert refused(engine) == 1045, "the one before would have been accepted"
    assert account.refused() - before == 1


def test_a_source_that_always_gives_another_one_is_no_loop(logs_in: Make, account: Account) -> None:
    """Two attempts before the server has accepted any, a token that it does not want; four after that."""
    source = Source(account.password)
    engine = logs_in(holdfast_password=source)
    read(engine)
    engine.dispose()
    account.change()

    def another() -> None:
        source.password = account.new_password()

    source.then = another
    for each, most in ((engine, 4), (logs_in(holdfast_password=source), 2)):
        before = account.refused()
        assert refused(each) == 1045
        assert account.refused() - before == most


def test_a_refusal_that_comes_after_somebody_was_let_in_is_tried_again(logs_in: Make, account: Account) -> None:
    """The server changed between two attempts, and their answers came in another order: the password is right."""
    engine = logs_in(holdfast_password=Source(account.password))
    read(engine)
    engine.dispose()
    attempts = []
    inner: Any = inside(engine)._passwords

    def connect(password: str) -> str:
        attempts.append(password)
        if len(attempts) == 1:
            assert read(engine, 7) == 7
            raise pymysql.err.OperationalError(1045, "Access denied")
        return password

    assert inner.connecting(connect)() == account.password
    assert len(attempts) == 2
    assert read(engine, 8) == 8
    assert inner._refused == {}


def test_a_login_that_takes_longer_than_the_password_lasts_goes_on(logs_in: Make, account: Account) -> None:
    """As long as the server lets others in meanwhile, and not for ever."""
    source = Source(account.password)
    engine = logs_in(holdfast_password=source)
    read(engine)
    attempts: list[str] = []
    inner: Any = inside(engine)._passwords

    def connect(password: str) -> str:
        attempts.append(password)
        source.password = account.change()  # while this login is on its way
        engine.dispose()
        assert read(engine, 7) == 7
        if len(attempts) < enough:
            raise pymysql.err.OperationalError(1045, "Access denied")
        return password

    enough = 8
    assert inner.connecting(connect)() == attempts[-1]
    assert len(attempts) == 8
    enough = 1000
    attempts.clear()
    with pytest.raises(pymysql.err.OperationalError):
        inner.connecting(connect)()
    assert len(attempts) == 10


def test_the_slot_of_a_refused_connection_is_given_back(logs_in: Make, account: Account) -> None:
    account.server.execute(f"ALTER USER {account.name} WITH MAX_USER_CONNECTIONS 2")
    source = Source(account.password)
    engine = logs_in(holdfast_password=source)
    with engine.connect(), pytest.MonkeyPatch.context() as patch:
        source.password = "wrong"
        patch.setattr(passwords, "GAP", 0.0)
        account.change()
        assert refused(engine) == 1045
        budget = inside(engine).budget
        assert budget is not None
        assert budget.taken == 1
        source.password = account.password
        assert read(engine, 7) == 7


def test_other_errors_are_not_the_passwords(driver: str, held: EngineFactory, account: Account) -> None:
    source = Source(account.password)
    url = account.server.url(driver, user=account.name, password="", database="nowhere")
    assert refused(held(url, holdfast_password=source)) in (1044, 1049)
    assert source.asked == 1


@pytest.mark.mysql
def test_an_account_that_mysql_locks_after_three_attempts_is_not_locked(
    mysql_server: Server, held: EngineFactory
) -> None:
    """Not by a change in either order, nor with both passwords valid, nor by a source that is late."""
    for account in account_on(mysql_server):
        mysql_server.execute(f"ALTER USER {account.name} FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED")
        source = Source(account.password)
        url = mysql_server.url("mysqldb", user=account.name, password="")  # it needs no TLS for a password not in cache
        engine = held(url, holdfast_password=source)
        read(engine)
        for order in ("source first", "server first", "both", "late") * 2:
            engine.dispose()
            new = account.new_password()
            if order == "source first":
                source.password = new
                read(engine)
                engine.dispose()
                account.change(new)
            elif order == "both":
                mysql_server.execute(f"ALTER USER {account.name} IDENTIFIED BY %s RETAIN CURRENT PASSWORD", (new,))
                read(engine)
                source.password = new
            elif order == "late":
                account.change(new)
                threading.Timer(0.2, setattr, (source, "password", new)).start()
            else:
                account.change(new)
                source.password = new
            engine.dispose()
            assert read(engine, 7) == 7, order
