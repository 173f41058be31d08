"""Where a password comes from: each source with each driver, and what is said when it gives none."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Password, PasswordUnavailable
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.credentials import command, sources
from tests.conftest import read
from tests.credentials.conftest import Account, Make

PRINTS = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read(), end='')"]


def test_a_file(driver: str, logs_in: Make, account: Account, secret: Path) -> None:
    engine = logs_in(driver, holdfast_password_file=secret)
    assert read(engine, 7) == 7
    secret.with_suffix(".new").write_text(account.change() + "\r\n")
    secret.with_suffix(".new").replace(secret)
    engine.dispose()
    assert read(engine, 8) == 8, "read anew"


def test_a_command(driver: str, logs_in: Make, account: Account, secret: Path) -> None:
    engine = logs_in(driver, holdfast_password_command=[*PRINTS, str(secret)])
    assert read(engine, 7) == 7
    secret.write_text(account.change())
    engine.dispose()
    assert read(engine, 8) == 8, "run anew"


def test_a_function(driver: str, logs_in: Make, account: Account) -> None:
    engine = logs_in(driver, holdfast_password=lambda: account.password)
    assert read(engine, 7) == 7
    account.change()
    engine.dispose()
    assert read(engine, 8) == 8, "called anew"


def test_a_character_that_the_driver_cannot_send(driver: str, logs_in: Make) -> None:
    """The error of Python's that says so has the whole password."""
    for password in ("S3cret\u20ac", "S3cret\ud800"):
        engine = logs_in(driver, holdfast_password=lambda password=password: password)
        with pytest.raises((PasswordUnavailable, DBAPIError)) as caught:
            engine.connect()
        if isinstance(caught.value, PasswordUnavailable):
            assert "a character that the driver cannot send" in str(caught.value)
        error: BaseException | None = caught.value
        while error is not None:
            assert "S3cret" not in repr(error)
            error = error.__context__


def test_a_file_and_a_command_in_a_url(logs_in: Make, account: Account, secret: Path) -> None:
    for name, value in (("file", str(secret)), ("command", f"cat '{secret}'")):
        url = logs_in().url.update_query_dict({"plugin": "holdfast", f"holdfast_password_{name}": value})
        engine = holdfast.create_engine(url)
        assert read(engine, 7) == 7
        again = holdfast.create_engine(engine.url)  # as a library does
        assert read(again, 8) == 8
        engine.dispose()
        again.dispose()


def test_a_command_is_split_as_a_shell_does_and_run_by_none(tmp_path: Path) -> None:
    path = tmp_path / "a b$HOME"
    path.write_text("pw")
    assert command.from_command(f"cat '{path}'").value == "pw"
    assert command.from_command(f"sh -c 'cat \"{tmp_path}\"/a* | tr p q'").value == "qw"


# -- what is said ------------------------------------------------------------------------------------------------


def said(engine: Engine, account: Account, setting: str, *words: str) -> PasswordUnavailable:
    """What a connect says that gets no password; and that nothing was tried again, or waited for."""
    with pytest.raises(PasswordUnavailable) as caught:
        read(engine)
    text = str(caught.value)
    assert text.startswith(f"There is no password to connect with. {setting}: ")
    assert [word for word in words if word not in text] == []
    assert page("errors/password-unavailable") in text
    assert not account.shows("".join(traceback.format_exception(caught.value)))
    counters = holdfast.status(engine).counters
    assert (counters.unanswered, counters.refused, counters.connects) == (0, 0, 0)
    return caught.value


def make_nothing(path: Path) -> None:
    path.unlink()


def make_empty(path: Path) -> None:
    path.write_text("\n")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_lines(path: Path) -> None:
    path.write_text(path.read_text() + "second\n")


def make_latin(path: Path) -> None:
    path.write_bytes(path.read_bytes().strip() + b"\xe9\n")


def make_huge(path: Path) -> None:
    path.write_text("x" * 100_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_nothing, "there is no file"),
        (make_empty, "is empty"),
        (make_directory, "is not a file"),
        (make_pipe, "is not a file"),
        (make_lines, "has more than one line"),
        (make_latin, "is not UTF-8"),
        (make_huge, "is larger than"),
    ],
)
def test_a_file_without_a_password(
    make: Callable[[Path], None], words: str, logs_in: Make, account: Account, secret: Path
) -> None:
    make(secret)
    said(logs_in(holdfast_password_file=secret), account, "holdfast_password_file", words, str(secret))


def test_a_file_that_may_not_be_read(logs_in: Make, account: Account, secret: Path) -> None:
    above = secret.parent / "file"
    above.write_text("")
    said(logs_in(holdfast_password_file=above / "secret"), account, "holdfast_password_file", "Not a directory")


def test_a_file_that_is_being_replaced_is_waited_for(secret: Path, account: Account) -> None:
    secret.unlink()
    looked = threading.Event()

    def write(seconds: float) -> None:
        looked.set()
        secret.write_text(account.password)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "sleep", write)
        assert sources.from_file(str(secret)).value == account.password
    assert looked.is_set()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "ended with status 3 and said nothing"),
        ("echo no such vault >&2; cat {}; exit 2", "ended with status 2 and said: no such vault"),
        ("true", "printed nothing"),
        ("cat {}; cat {}", "has more than one line"),
        ("cat {}; printf '\\351'", "is not UTF-8"),
        ("kill -9 $$", "was ended by signal 9"),
    ],
)
def test_a_command_without_a_password(script: str, words: str, logs_in: Make, account: Account, secret: Path) -> None:
    engine = logs_in(holdfast_password_command=["sh", "-c", script.replace("{}", str(secret))])
    said(engine, account, "holdfast_password_command", words, "the command sh")


def test_a_command_that_is_not_there(logs_in: Make, account: Account) -> None:
    engine = logs_in(holdfast_password_command="/nowhere/vault read zyxwvq")
    error = said(engine, account, "holdfast_password_command", "the command vault could not be run", "No such file")
    assert "zyxwvq" not in str(error), "its arguments may be secret"


def test_a_command_that_does_not_end_is_ended_with_what_it_has_started(
    logs_in: Make, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SECONDS", 0.3)
    pid = tmp_path / "pid"
    engine = logs_in(holdfast_password_command=["sh", "-c", f"sleep 1000 & echo $! > {pid}; wait"])
    said(engine, account, "holdfast_password_command", "was still running after 0.3 s")
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":  # nobody here is its parent
            return
        threading.Event().wait(0.01)
    pytest.fail("it goes on")


def fails() -> str:
    raise RuntimeError("the vault is sealed")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (fails, "the function fails raised RuntimeError"),
        (lambda: None, "returned None"),
        (lambda: b"zyxwvq", "returned an object of type bytes"),
        (lambda: 5, "returned an object of type int"),
        (lambda: "", "returned an empty password"),
        (lambda: Password(b"zyxwvq"), "returned an object of type bytes"),  # type: ignore[arg-type]
        (lambda: Password("zyxwvq", "soon"), "expires_in is not a number"),  # type: ignore[arg-type]
        (lambda: "zyx\0wvq", "has a NUL character"),
        (functools.partial(fails), "the function fails raised"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_function_without_a_password(
    function: Callable[[], Any], words: str, logs_in: Make, account: Account
) -> None:
    error = said(logs_in(holdfast_password=function), account, "holdfast_password", words)
    assert "zyxwvq" not in "".join(traceback.format_exception(error))
    if "RuntimeError" in words:
        assert isinstance(error.__cause__, RuntimeError), "what it raised is shown, too"


def test_what_a_signals_handler_raises_in_the_function_reaches_the_program(logs_in: Make) -> None:
    class TimeLimit(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise TimeLimit

    def slow() -> str:
        signal.raise_signal(signal.SIGUSR1)
        return "never"

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeLimit):
            read(logs_in(holdfast_password=slow))
    finally:
        signal.signal(signal.SIGUSR1, before)
