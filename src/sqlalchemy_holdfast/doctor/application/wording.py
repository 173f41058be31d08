"""What an import has raised, in plain words."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from ...errors import DatabaseURLError, HoldfastError
from ...server.faults import error_number
from .ending import entries
from .facts import Failure
from .importing import NotThere
from .places import application_frame, shown

__all__ = ["failure_of"]

_LONGEST_TEXT = 300
_REPAIR = "Repair this first: with the same environment, the application does not start under a web server either."
_CURES: dict[type[BaseException], str] = {
    DatabaseURLError: "Correct the database URL in the application's settings; holdfast url builds one, and takes the "
    "password as it is.",
}


def failure_of(error: BaseException, directory: Path) -> Failure:
    """Say in words what an import has raised."""
    place = _raised_at(error, directory)
    where = f" ({place})" if place else ""
    if isinstance(error, NotThere):
        return Failure(error.happened, error.cure, not_there=True)
    if isinstance(error, SystemExit):
        return Failure(
            f"The import ends the process: it calls sys.exit(){where}, with {_exit_code(error)}.",
            "The lines below are what it wrote before. A module that a web server imports must not exit.",
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "uwsgi":
        return Failure(
            f"The application imports uwsgi{where}, a module that exists only inside of a running uWSGI.",
            "Import it under: try: ... except ImportError: ...; the application then also runs elsewhere.",
        )
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            f"The application imports {error.name}{where}, which is not installed here.",
            "Run the command with the Python, and in the environment, that your web server uses.",
        )
    if isinstance(error, DBAPIError):
        return Failure(
            f"The import uses the database{where}, and that failed: {_database_error(error)}",
            "Run holdfast doctor with the database URL: it says what is wrong with the connection.",
        )
    if isinstance(error, HoldfastError):  # its text says what to do, and ends with a page's address: nothing is cut
        words = " ".join(str(error).split())
        return Failure(f"The import failed{where}: {type(error).__name__}: {words}", _CURES.get(type(error), _REPAIR))
    return Failure(f"The import failed: {_described(error)}{where}.", _REPAIR)


def _exit_code(error: SystemExit) -> str:
    return f"code {error.code or 0}" if isinstance(error.code, (int, type(None))) else "a message"


def _database_error(error: DBAPIError) -> str:
    orig = error.orig
    number = error_number(orig) if orig is not None else None
    if error.statement is None:  # connecting: the text has no values in it
        return _described(orig or error)
    return f"{type(orig).__name__}{f' {number}' if number else ''} in a statement."


def _described(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {Path(error.filename or '?').name} line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raised_at(error: BaseException, directory: Path) -> str:
    """Name the last line of the application's own that an error went through."""
    found = ""
    for entry in entries(error):
        frame = entry.tb_frame
        if application_frame(frame) is frame:
            found = f"{shown(frame.f_code.co_filename, directory)} line {entry.tb_lineno}"
    return found
