"""A password that a command prints: ``holdfast_password_command``.

The command is run without a shell. What it prints on its standard output is the password and is never shown. What it
says on its standard error is part of the error message when it fails.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess

from .._outside import raised_by_signal_handler
from .checking import checked, decoded, unavailable
from .password import Password

__all__ = ["SECONDS", "from_command"]

SECONDS = 10.0
"""How long the command may take."""
_SAID = 300
"""How many characters of what it says on its standard error are shown."""
_SETTING = "holdfast_password_command"


def from_command(command: str) -> Password:
    """Run a command and return what it prints.

    :param command: a command line, split as a shell would split it, and not run by one.
    :raises PasswordUnavailable: when it cannot be run, fails, takes too long, or prints no password.
    """
    arguments = shlex.split(command)
    program = os.path.basename(arguments[0])
    try:
        status, printed, said = _run(arguments)
    except subprocess.TimeoutExpired:
        raise unavailable(
            _SETTING,
            f"the command {program} was still running after {SECONDS:g} s and was ended",
            "Run it by hand, as the user of this process. Does it ask for something, or wait for a network?",
        ) from None
    except OSError as error:
        if raised_by_signal_handler(error):
            raise
        raise unavailable(
            _SETTING,
            f"the command {program} could not be run: {error.strerror or type(error).__name__}",
            "Is the program installed here, and may the user of this process run it? Its full path helps where PATH is "
            "another one than in your shell.",
        ) from None
    if status != 0:
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise unavailable(
            _SETTING,
            f"the command {program} {ended}{_words(said)}",
            "Run it by hand, as the user of this process and with its environment.",
        )
    text = decoded(printed, _SETTING, f"what the command {program} printed")
    if not text.strip("\r\n"):
        raise unavailable(
            _SETTING,
            f"the command {program} printed nothing on its standard output{_words(said)}",
            "It has to print the password there, and nothing else.",
        )
    return Password(checked(text, _SETTING, f"what the command {program} printed"))


def _run(arguments: list[str]) -> tuple[int, bytes, bytes]:
    """Run a program to its end, which comes after :data:`SECONDS` at the latest.

    It gets a session of its own, so that what it has started itself ends with it.
    """
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=hasattr(os, "killpg"),
    )
    try:
        printed, said = process.communicate(timeout=SECONDS)
        return process.returncode, printed, said
    except BaseException:  # the time limit, or an exception from outside
        _end(process)
        raise
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _words(said: bytes) -> str:
    """Return the end of what a command has said on its standard error, in one line."""
    text = " ".join(said.decode("utf-8", "replace").split())
    if not text:
        return " and said nothing on its standard error"
    return f" and said: {text if len(text) <= _SAID else '...' + text[-_SAID:]}"
