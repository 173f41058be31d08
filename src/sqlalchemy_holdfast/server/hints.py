"""What to do about an error while connecting, added to the error's own text.

The exception keeps its type and its driver's message; a line is added with
:meth:`sqlalchemy.exc.StatementError.add_detail`.
"""

from __future__ import annotations

from sqlalchemy.engine import ExceptionContext

from .faults import error_number
from .refusals import classify, names_no_host

__all__ = ["explain_connect_error"]

_SILENT = (
    "something accepts connections there, and then says nothing or hangs up. Is the server overloaded or stopped, or "
    "is there something in between that swallows packets? How long an attempt may take is the driver's connect_timeout."
)

_HINTS: dict[int, str] = {
    1045: (
        "the server refused the account or its password. In a URL, each of @ : / ? # % in a password must be written "
        "as %40 %3A %2F %3F %23 %25; sqlalchemy.URL.create(password=...) takes it as it is."
    ),
    1044: "the account may not use this database. Is the database's name complete (username$name on some hosts)?",
    1049: "there is no database of that name. Is it complete (username$name on some hosts)?",
    1040: (
        "the server has as many connections as it accepts (max_connections), and none became free within pool_timeout. "
        "Who holds them? SHOW PROCESSLIST tells. Use fewer processes or threads, or raise max_connections."
    ),
    1203: (
        "the account has as many connections as max_user_connections allows, and none became free within pool_timeout. "
        "Processes of this machine share them out (holdfast_budget); other machines and programs use them, too."
    ),
    1226: (
        "the account has as many connections as its max_user_connections allows, and none became free within "
        "pool_timeout. Processes of this machine share them out (holdfast_budget); other machines and programs use "
        "them, too."
    ),
    2002: "nothing answers there. Is the server running, and are host, port or unix_socket right?",
    2003: "nothing answers there. Is the server running, and are host and port right?",
    2013: _SILENT,
    2055: _SILENT,
    3024: _SILENT,  # mysql-connector's number for a timeout of its own; there is no query yet that could have one
    2005: "this host name cannot be resolved. Is it spelt right? An unescaped @ in a password ends up here, too.",
}


_USED_UP = (
    "the account has used up what it may do within an hour. SHOW CREATE USER tells its limits; it can be used again "
    "when the hour is over."
)


def explain_connect_error(context: ExceptionContext, where: str) -> None:
    """Add a hint to an error that was raised while connecting, when there is one for its number."""
    number = error_number(context.original_exception)
    if number == 2003 and names_no_host(context.original_exception):
        number = 2005  # PyMySQL's number for everything that goes wrong before it is connected
    hint = _HINTS.get(number) if number is not None else None
    if number == 1226 and classify(context.original_exception) is None:
        hint = _USED_UP
    if hint is not None and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.add_detail(f"holdfast, connecting to {where}: {hint}")
